//! The contract of tower: promises 1 to 8.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::SystemTime;

use aplomb_core::{BoxError, EventKind, HttpClassifier, Kind, StopReason, WallClock};
use aplomb_retry::{Retry, RetryLayer};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tokio_util::sync::CancellationToken;
use tower::limit::ConcurrencyLimit;
use tower::{Service, ServiceExt};
use tower_layer::Layer;
use tower_test::{assert_request_eq, mock};

use crate::peer::{Answer, Log, Peer, millis, request, respond, secs};

#[tokio::test(start_paused = true)]
async fn promise_1_every_attempt_readies_the_instance_it_calls() {
    // The server panics if it is called without having been ready.
    let peer = Peer::failing(3, 503);
    let response = RetryLayer::new().layer(peer.clone()).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(peer.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn promise_2_a_finished_inner_service_shows_in_the_calls_future_and_is_not_retried() {
    let log = Log::default();
    let layer = RetryLayer::new().observer(log.clone());
    let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer);
    // The inner service is not ready and then fails; the retry is ready anyway.
    handle.allow(0);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call("a"));
    assert_pending!(call.poll());
    handle.send_error("finished");
    assert_ready_ok!(service.poll_ready());
    let error = assert_ready_err!(call.poll());
    assert_eq!(error.to_string(), "finished");
    assert!(matches!(
        log.events()[..],
        [EventKind::GaveUp { attempts: 0, why: StopReason::NotReady, .. }]
    ));
}

#[tokio::test(start_paused = true)]
async fn promise_2_finished_between_attempts() {
    let log = Log::default();
    let layer = RetryLayer::new().backoff(secs(1)).observer(log.clone());
    let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call("a"));
    assert_pending!(call.poll());
    assert_request_eq!(handle, "a").send_error("lost");
    assert_pending!(call.poll());
    handle.send_error("finished");
    advance(millis(1_001)).await;
    assert!(call.is_woken());
    assert_eq!(assert_ready_err!(call.poll()).to_string(), "finished");
    // The event describes the attempt that was made.
    let last = log.events().last().cloned();
    let Some(EventKind::GaveUp { attempts: 1, failed, why: StopReason::NotReady, .. }) = last else {
        panic!("{last:?}")
    };
    assert_eq!(failed.outcome().kind(), Kind::Transient);
}

#[tokio::test(start_paused = true)]
async fn promise_3_a_waiting_task_is_polled_a_handful_of_times() {
    let peer = Peer::failing(1, 503);
    let service = RetryLayer::new().backoff(secs(1)).layer(peer.clone());
    let mut polls = 0;
    let mut call = pin!(service.oneshot(request()));
    let response = std::future::poll_fn(|cx| {
        polls += 1;
        call.as_mut().poll(cx)
    })
    .await;
    assert_eq!(response.unwrap().status(), 200);
    assert!(polls <= 4, "{polls} polls");
}

#[tokio::test(start_paused = true)]
async fn promise_3_retries_without_a_wait_do_not_keep_the_thread() {
    let peer = Peer::failing(usize::MAX, 503);
    let service = RetryLayer::new().max_retries(10_000).backoff(millis(0)).layer(peer.clone());
    let call = tokio::spawn(service.oneshot(request()));
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let calls = peer.calls();
    assert!((10..10_000).contains(&calls), "{calls}");
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn promise_4_no_readiness_is_held_while_waiting() {
    let peer = Peer::failing(1, 503);
    let service = RetryLayer::new().backoff(secs(10)).layer(peer.clone());
    let call = tokio::spawn(service.oneshot(request()));
    sleep(secs(5)).await;
    assert_eq!((peer.calls(), peer.held(), peer.in_flight()), (1, 0, 0));
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn promise_4_others_use_the_only_slot_while_one_waits() {
    let peer = Peer::failing(1, 503);
    let limited = ConcurrencyLimit::new(peer.clone(), 1);
    let service = RetryLayer::new().backoff(secs(10)).layer(limited);
    let first = tokio::spawn(service.clone().oneshot(request()));
    sleep(secs(1)).await;
    let began = Instant::now();
    service.clone().oneshot(request()).await.unwrap();
    assert_eq!(began.elapsed(), secs(0));
    first.await.unwrap().unwrap();
}

/// The delays of the calls through `services`, one after another.
async fn waits(services: &[Retry<Peer>], peer: &Peer) -> Vec<std::time::Duration> {
    for service in services {
        service.clone().oneshot(request()).await.unwrap();
    }
    // Each call was two attempts: every other gap is between calls.
    peer.waits().into_iter().step_by(2).collect()
}

#[tokio::test(start_paused = true)]
async fn promise_5_services_of_one_layer_and_their_clones_share_its_state() {
    let run = async || {
        let peer = Peer::new(|call| respond(if call % 2 == 0 { 503 } else { 200 }, &[]));
        let layer = RetryLayer::new().random_seed(42);
        let one = layer.layer(peer.clone());
        let services = [
            one.clone(),
            one,
            layer.layer(peer.clone()),
            layer.clone().layer(peer.clone()),
        ];
        waits(&services, &peer).await
    };
    let waits = run().await;
    // With a counter each, they would all begin with the same delay.
    for (i, wait) in waits.iter().enumerate() {
        assert!(!waits[..i].contains(wait), "{waits:?}");
    }
    // Reproducible, to the tick of the timer.
    for (again, wait) in run().await.into_iter().zip(waits) {
        assert!(again.abs_diff(wait) <= millis(1));
    }
}

#[tokio::test(start_paused = true)]
async fn promise_5_layers_set_up_from_a_seeded_one_draw_on() {
    let seeded = RetryLayer::new().random_seed(42);
    let (two, three) = (Peer::failing(1, 503), Peer::failing(1, 503));
    seeded.clone().max_retries(2).layer(two.clone()).oneshot(request()).await.unwrap();
    seeded.max_retries(3).layer(three.clone()).oneshot(request()).await.unwrap();
    assert_ne!(two.waits(), three.waits());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_ended_sends_nothing_when_it_is_polled_again() {
    let token = CancellationToken::new();
    let peer = Peer::failing(9, 503);
    let layer = RetryLayer::new().backoff(secs(60)).cancellation(token.clone());
    let mut service = layer.layer(peer.clone());
    let mut call = task::spawn(service.call(request()));
    assert_pending!(call.poll());
    token.cancel();
    assert_ready_ok!(call.poll());
    sleep(secs(100)).await;
    assert!(
        std::panic::catch_unwind(AssertUnwindSafe(|| call.poll())).is_err(),
        "against the contract"
    );
    assert_eq!(peer.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn promise_7_a_panic_in_the_inner_call_leaves_nothing_stuck() {
    let peer = Peer::new(|call| match call {
        0 | 2 => Answer::Panic,
        1 => respond(503, &[]),
        _ => respond(200, &[]),
    });
    let service = RetryLayer::new().layer(ConcurrencyLimit::new(peer.clone(), 1));
    // In the first attempt of one call, in the second of another.
    for _ in 0..2 {
        let panicked = tokio::spawn(service.clone().oneshot(request())).await;
        assert!(panicked.unwrap_err().is_panic());
        assert_eq!((peer.held(), peer.in_flight()), (0, 0));
    }
    assert_eq!(service.oneshot(request()).await.unwrap().status(), 200);
}

#[test]
fn promise_7_a_panic_in_call_itself_leaves_nothing_stuck() {
    #[derive(Clone)]
    struct Panics(Arc<AtomicUsize>);
    impl Service<&'static str> for Panics {
        type Response = &'static str;
        type Error = BoxError;
        type Future = std::future::Ready<Result<&'static str, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: &'static str) -> Self::Future {
            assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "in call");
            std::future::ready(Ok(request))
        }
    }
    let service = RetryLayer::new().layer(Panics(Arc::default()));
    let mut first = task::spawn(service.clone().oneshot("a"));
    assert!(std::panic::catch_unwind(AssertUnwindSafe(|| first.poll())).is_err());
    drop(first);
    assert_eq!(assert_ready_ok!(task::spawn(service.oneshot("b")).poll()), "b");
}

#[tokio::test(start_paused = true)]
async fn promise_8_a_jumping_wall_clock_changes_nothing() {
    let jumps = AtomicUsize::new(0);
    let clock = WallClock::from_fn(move || {
        let hours = [0, 2, 1][jumps.fetch_add(1, Ordering::SeqCst) % 3];
        SystemTime::UNIX_EPOCH + secs(1_700_000_000 + hours * 3_600)
    });
    let peer = Peer::new(|call| match call {
        0 => respond(503, &[("retry-after", "10")]),
        1 => respond(
            503,
            &[
                ("date", "Fri, 29 Sep 2023 16:26:37 GMT"),
                ("retry-after", "Fri, 29 Sep 2023 16:26:47 GMT"),
            ],
        ),
        _ => respond(200, &[]),
    });
    let layer = RetryLayer::new().classifier(HttpClassifier::new().clock(clock));
    layer.layer(peer.clone()).oneshot(request()).await.unwrap();
    for wait in peer.waits() {
        assert!(wait >= secs(10) && wait <= millis(15_002), "{wait:?}");
    }
    assert_eq!(peer.calls(), 3);
}
