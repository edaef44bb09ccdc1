//! Calls through the layer: how long a slot is held, and which call gets the next one.

use std::sync::{Arc, Mutex};

use aplomb_concurrency::{Adaptive, ConcurrencyLimitLayer, ConcurrencyLimiter, Latency};
use aplomb_core::{CallOptions, ConcurrencyCause, Event, EventKind, Outcome, Priority};
use http::Request;
use http_body_util::BodyExt;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_ok};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{SECOND, Stage, response, stream};

#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_body_has_ended() {
    let mut stage = Stage::new(1);
    let (mut call, send) = stage.sent().await;
    let (body, answer) = stream();
    send.send_response(answer);
    let answer = assert_ready_ok!(call.poll());
    let mut next = stage.call();
    assert_pending!(next.poll());
    assert_eq!(stage.counts(), (1, 0, 1));

    body.send(Ok("data: 1")).unwrap();
    let mut answer = answer.into_body();
    assert!(answer.frame().await.unwrap().is_ok());
    assert!(!next.is_woken());
    drop(body);
    assert!(answer.frame().await.is_none());
    assert!(next.is_woken(), "the body has ended");
    assert_pending!(next.poll());
    assert_eq!(stage.counts(), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn calls_go_in_order_of_arrival_within_a_priority() {
    let mut stage = Stage::new(1);
    let (mut first, send) = stage.sent().await;
    let with = |priority| {
        let mut request = Request::new(());
        request.extensions_mut().insert(CallOptions::new().with_priority(priority));
        request
    };
    let mut waiting = [Priority::LOW, Priority::NORMAL, Priority::NORMAL, Priority::HIGH]
        .map(|priority| stage.call_with(with(priority)));
    for call in &mut waiting {
        assert_pending!(call.poll());
    }
    send.send_response(response(200));
    assert_ready_ok!(first.poll());
    for next in [3, 1, 2, 0] {
        let woken: Vec<_> = (0..4).filter(|n| waiting[*n].is_woken()).collect();
        assert_eq!(woken, [next]);
        assert_pending!(waiting[next].poll());
        let (_, send) = stage.peer.next_request().await.unwrap();
        send.send_response(response(200));
        assert_ready_ok!(waiting[next].poll());
    }
}

#[tokio::test(start_paused = true)]
async fn services_of_a_layer_and_clones_of_a_limiter_share_it() {
    let limiter = ConcurrencyLimiter::new(1);
    let layers = [limiter.clone(), limiter].map(ConcurrencyLimitLayer::with_limiter);
    let echo = service_fn(async |_: Request<()>| {
        tokio::time::sleep(SECOND).await;
        Ok::<_, std::io::Error>(response(200))
    });
    let start = tokio::time::Instant::now();
    let call = |n: usize| layers[n].layer(echo).oneshot(Request::new(()));
    let (a, b, c) = tokio::join!(call(0), call(0), call(1));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(start.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn responses_without_a_body_are_served_to_the_head() {
    let layer = ConcurrencyLimitLayer::new(1)
        .classifier(|result: Result<&u8, &std::io::Error>| {
            result.map_or(Outcome::transient(), |_| Outcome::success())
        })
        .until_head();
    let service =
        layer.layer(service_fn(async |number: &'static str| number.parse().map_err(std::io::Error::other)));
    assert_eq!(service.clone().oneshot("7").await.unwrap(), 7);
    assert!(service.oneshot("x").await.is_err());
    assert_eq!(layer.limiter().snapshot().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_limit_moves_with_what_the_peer_says_and_tells_why_outside_of_the_lock() {
    let told: Arc<Mutex<Vec<(ConcurrencyCause, usize)>>> = Arc::default();
    let limiter: Arc<Mutex<Option<ConcurrencyLimiter>>> = Arc::default();
    let (log, handle) = (Arc::clone(&told), Arc::clone(&limiter));
    let layer = ConcurrencyLimitLayer::new(Adaptive::new()).observer(move |event: &Event| {
        let EventKind::ConcurrencyChanged { to, cause, .. } = event.kind() else {
            panic!("{event}");
        };
        let handle = handle.lock().unwrap();
        // Using the limiter here would deadlock if the observer were called under the lock.
        let now = handle.as_ref().unwrap().snapshot();
        assert_eq!(now.last_change().map(|change| change.to()), Some(*to));
        log.lock().unwrap().push((*cause, *to));
    });
    *limiter.lock().unwrap() = Some(layer.limiter());
    let mut stage = Stage::with(&layer);

    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(stage.sent().await);
    }
    for status in [200, 429, 503, 400] {
        let (mut call, send) = calls.remove(0);
        send.send_response(response(status));
        assert_ready_ok!(call.poll());
    }
    // 429 without a hint lowers it; the failures of the same round trip do not lower it again.
    assert_eq!(
        *told.lock().unwrap(),
        [(ConcurrencyCause::SlowStart, 5), (ConcurrencyCause::Throttled, 3)]
    );
    let change = stage.now().last_change().unwrap();
    assert_eq!(change.to_string(), "limit 5 → 3: throttled");
    assert_eq!((change.from(), change.to()), (5, 3));
    stage.limiter.set_limit(7);
    assert_eq!(stage.now().limit(), 7);
    assert_eq!(told.lock().unwrap().last(), Some(&(ConcurrencyCause::Set, 7)));
}

#[tokio::test(start_paused = true)]
async fn waiting_in_line_is_no_slowness_of_the_peer() {
    let adaptive = Adaptive::new().initial(8).max(8).latency(Latency::first_byte());
    let mut stage = Stage::new(adaptive);
    // Each call waits longer than the one before; the peer always takes a second.
    let mut waiting: Vec<_> = (0..800).map(|_| stage.call()).collect();
    for call in &mut waiting {
        assert_pending!(call.poll());
    }
    while !waiting.is_empty() {
        let mut sent = Vec::new();
        for _ in 0..8 {
            sent.push(stage.peer.next_request().await.unwrap().1);
        }
        advance(SECOND).await;
        for send in sent {
            send.send_response(response(200));
        }
        for mut call in waiting.drain(..8) {
            assert_ready_ok!(call.poll());
        }
        for call in waiting.iter_mut().take(8) {
            assert_pending!(call.poll());
        }
    }
    assert_eq!((stage.now().limit(), stage.now().last_change()), (8, None));
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_in_place_of_a_fixed_one_begins_anew_and_keeps_the_calls_in_flight() {
    let mut stage = Stage::new(2);
    let (mut first, send) = stage.sent().await;
    let (mut second, send_second) = stage.sent().await;
    stage.limiter.set_limit(Adaptive::new().initial(3));
    assert_eq!(stage.counts(), (2, 0, 0));
    // It was sent under another limit, and neither raises nor lowers this one.
    send.send_response(response(503));
    assert_ready_ok!(first.poll());
    send_second.send_response(response(200));
    assert_ready_ok!(second.poll());
    assert_eq!((stage.now().limit(), stage.counts()), (3, (0, 0, 0)));
}
