//! Calls that are dropped, at every point, and calls that panic.

use std::io;

use aplomb_concurrency::{Adaptive, ConcurrencyLimitLayer, Limit};
use aplomb_core::BoxError;
use http::Request;
use http_body_util::BodyExt;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_ok};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{SECOND, Stage, response, stream};

/// As if the call had never been made: its slot is free.
async fn as_before(mut stage: Stage) {
    assert_eq!(stage.counts(), (0, 0, 0));
    let (mut call, send) = stage.sent().await;
    send.send_response(response(200));
    assert_ready_ok!(call.poll());
}

#[tokio::test(start_paused = true)]
async fn dropped_before_its_first_poll() {
    let stage = Stage::new(1);
    drop(stage.call());
    as_before(stage).await;
}

#[tokio::test(start_paused = true)]
async fn dropped_while_it_waits_or_when_it_was_let_through_unnoticed() {
    for let_through in [false, true] {
        let mut stage = Stage::new(1);
        let (mut first, send) = stage.sent().await;
        let mut waits = stage.call();
        assert_pending!(waits.poll());
        if let_through {
            send.send_response(response(200));
            assert_ready_ok!(first.poll());
            assert!(waits.is_woken());
            assert_eq!(stage.counts(), (1, 0, 0));
            drop(waits);
        } else {
            drop(waits);
            send.send_response(response(200));
            assert_ready_ok!(first.poll());
        }
        as_before(stage).await;
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_while_the_inner_service_is_not_ready() {
    let mut stage = Stage::new(Adaptive::new().initial(1));
    stage.peer.allow(0);
    let mut call = stage.call();
    assert_pending!(call.poll());
    assert_eq!(stage.counts(), (1, 0, 0));
    advance(SECOND).await;
    drop(call);
    stage.peer.allow(1);
    as_before(stage).await;
}

#[tokio::test(start_paused = true)]
async fn dropped_before_its_head_or_before_its_first_byte_or_amid_its_body() {
    for (limit, lasts) in [
        (Limit::from(1), false),
        (Adaptive::new().initial(1).max(1).into(), true),
    ] {
        // Before its head.
        let mut stage = Stage::new(limit);
        let (call, _send) = stage.sent().await;
        advance(3 * SECOND).await;
        drop(call);
        assert_eq!(stage.counts(), (0, usize::from(lasts), 0));
        as_abandoned(stage, lasts).await;

        // Before the first byte of its body.
        let mut stage = Stage::new(limit);
        let (mut call, send) = stage.sent().await;
        advance(3 * SECOND).await;
        let (_body, answer) = stream();
        send.send_response(answer);
        drop(assert_ready_ok!(call.poll()));
        as_abandoned(stage, lasts).await;

        // In the middle of its body: a peer that writes notices that its client is gone.
        let mut stage = Stage::new(limit);
        let (mut call, send) = stage.sent().await;
        advance(3 * SECOND).await;
        let (body, answer) = stream();
        send.send_response(answer);
        let mut answer = assert_ready_ok!(call.poll()).into_body();
        body.send(Ok("data: once")).unwrap();
        assert!(answer.frame().await.unwrap().is_ok());
        drop(answer);
        as_before(stage).await;
    }
}

/// The slot of a call that was dropped after three seconds stays taken for three more, if at all; then a waiting call
/// gets it, without being polled.
async fn as_abandoned(stage: Stage, lasts: bool) {
    if lasts {
        let mut waits = stage.call();
        assert_pending!(waits.poll());
        assert_eq!(stage.counts(), (0, 1, 1));
        advance(2_999 * SECOND / 1_000).await;
        assert!(!waits.is_woken());
        advance(2 * SECOND / 1_000).await;
        assert!(waits.is_woken());
        drop(waits);
    }
    as_before(stage).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_timed_out_inside_counts_as_in_flight_for_a_while() {
    let layer = ConcurrencyLimitLayer::new(Adaptive::new().initial(1).max(1));
    let limiter = layer.limiter();
    let timeout = tower::timeout::TimeoutLayer::new(5 * SECOND);
    let hangs = service_fn(async |fails: Request<bool>| {
        if *fails.body() {
            return Err::<http::Response<http_body_util::Empty<&[u8]>>, BoxError>("no".into());
        }
        std::future::pending().await
    });
    let service = layer.layer(timeout.layer(hangs));
    assert!(service.clone().oneshot(Request::new(false)).await.is_err());
    assert_eq!((limiter.snapshot().in_flight(), limiter.snapshot().abandoned()), (0, 1));
    advance(5 * SECOND).await;
    assert_eq!(limiter.snapshot().abandoned(), 0);
    // A call that fails at once counts only briefly.
    assert!(service.clone().oneshot(Request::new(true)).await.is_err());
    assert_eq!(limiter.snapshot().abandoned(), 0);
    // And not at all if that is disabled.
    limiter.set_abandoned(std::time::Duration::ZERO);
    assert!(service.oneshot(Request::new(false)).await.is_err());
    assert_eq!(limiter.snapshot().abandoned(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_gives_its_place_back() {
    let mut stage = Stage::new(1);
    let (mut call, send) = stage.sent().await;
    let (body, answer) = stream();
    send.send_response(answer);
    let mut answer = assert_ready_ok!(call.poll()).into_body();
    body.send(Err(io::Error::other("cut"))).unwrap();
    assert!(answer.frame().await.unwrap().is_err());
    as_before(stage).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_inner_call_leaves_no_place_taken() {
    for in_call in [true, false] {
        let layer = ConcurrencyLimitLayer::new(1);
        let service = layer.layer(service_fn(move |request: Request<&'static str>| {
            assert!(!(in_call && *request.body() == "panic"), "asked to");
            async move {
                assert_ne!(*request.body(), "panic", "asked to");
                Ok::<_, io::Error>(response(200))
            }
        }));
        let ask = |body| tokio::spawn(service.clone().oneshot(Request::new(body)));
        assert!(ask("panic").await.unwrap_err().is_panic());
        assert_eq!(layer.limiter().snapshot().in_flight(), 0);
        assert!(ask("fine").await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_not_fetched_is_handed_on() {
    let mut stage = Stage::new(1);
    let (mut first, send) = stage.sent().await;
    let mut waits = stage.call();
    let mut behind = stage.call();
    assert_pending!(waits.poll());
    assert_pending!(behind.poll());
    send.send_response(response(200));
    assert_ready_ok!(first.poll());
    // It holds the slot without being polled; dropping it passes the slot on.
    assert!(waits.is_woken() && !behind.is_woken());
    drop(waits);
    assert!(behind.is_woken());
    assert_pending!(behind.poll());
    assert_eq!(stage.counts(), (1, 0, 0));
}
