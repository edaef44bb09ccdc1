//! Retries inside retries, and behind the retries of a client: promise 16.

use std::sync::{Arc, Mutex};

use aplomb_core::{BoxError, CallOptions, EventKind, Once, Outcome, RequestHead, StopReason};
use aplomb_retry::{Budget, EveryError, Retried, RetryLayer};
use http::{HeaderName, Request, Response};
use tokio_util::sync::CancellationToken;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_layer::Layer;

use crate::peer::{Log, Noted, Peer, request, respond, secs};

fn retry(retries: u32) -> RetryLayer {
    RetryLayer::new().max_retries(retries).backoff(secs(1))
}

#[tokio::test(start_paused = true)]
async fn promise_16_a_retry_layer_inside_another_stands_down() {
    let (outside, inside) = (Log::default(), Log::default());
    let peer = Peer::failing(9, 503);
    let inner = retry(4).observer(inside.clone()).layer(peer.clone());
    let service = retry(2).observer(outside.clone()).layer(inner);
    let response = service.oneshot(request()).await.unwrap();
    assert_eq!((response.status().as_u16(), peer.calls()), (503, 3));
    let gave_up = |log: &Log| {
        let stopped = |event: &EventKind| match event {
            EventKind::GaveUp { why, .. } => Some(*why),
            _ => None,
        };
        log.events().iter().filter_map(stopped).collect::<Vec<_>>()
    };
    assert_eq!(gave_up(&inside), [StopReason::Nested; 3]);
    assert_eq!(gave_up(&outside), [StopReason::MaxRetries]);
    assert_eq!(response.extensions().get::<Retried>().unwrap().attempts(), 3, "those of the outer layer");
}

#[tokio::test(start_paused = true)]
async fn promise_16_inside_a_closure_that_is_retried_as_well() {
    let peer = Peer::failing(9, 503);
    let service = retry(4).layer(peer.clone());
    let outside =
        RetryLayer::new()
            .max_retries(2)
            .classifier(|result: Result<&Response<Noted>, &BoxError>| {
                if result.is_ok_and(|response| response.status() == 200) {
                    Outcome::success()
                } else {
                    Outcome::transient()
                }
            });
    let response = outside.run(|| service.clone().oneshot(request())).await.unwrap();
    assert_eq!((response.status().as_u16(), peer.calls()), (503, 3));
}

#[tokio::test(start_paused = true)]
async fn an_outer_layer_that_cannot_retry_leaves_it_to_the_inner() {
    for outer in [retry(0), retry(3).repeatable(|_: &dyn RequestHead| false)] {
        let peer = Peer::failing(2, 503);
        let response = outer.layer(retry(4).layer(peer.clone())).oneshot(request()).await.unwrap();
        assert_eq!((response.status().as_u16(), peer.calls()), (200, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn an_outer_layer_whose_request_cannot_be_copied_leaves_it_to_the_inner() {
    let peer = Peer::failing(2, 503);
    let service = retry(3).replay(Once).layer(retry(4).layer(peer.clone()));
    let response = service.oneshot(request()).await.unwrap();
    assert_eq!((response.status().as_u16(), peer.calls()), (200, 3));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_the_outer_layer_takes_for_a_success_has_no_retried() {
    let any_answer = |_: Result<&Response<Noted>, &BoxError>| Outcome::success();
    let service = retry(1).classifier(any_answer).layer(retry(1).layer(Peer::failing(9, 503)));
    let response = service.oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.extensions().get::<Retried>(), None);
}

#[tokio::test(start_paused = true)]
async fn with_stand_down_disabled_attempts_multiply() {
    let peer = Peer::failing(9, 503);
    let service = retry(1).layer(retry(4).stand_down(false).layer(peer.clone()));
    assert_eq!(service.oneshot(request()).await.unwrap().status(), 200);
    assert_eq!(peer.calls(), 10);
}

#[tokio::test(start_paused = true)]
async fn the_mark_does_not_outlive_the_attempt() {
    // Two calls polled by turns in one task: the second is not inside the first.
    let (first, second) = (Peer::failing(2, 503), Peer::failing(2, 503));
    let (one, two) = (retry(4).layer(first.clone()), retry(4).layer(second.clone()));
    let (one, two) = tokio::join!(one.oneshot(request()), two.oneshot(request()));
    assert_eq!((one.unwrap().status().as_u16(), two.unwrap().status().as_u16()), (200, 200));
    assert_eq!((first.calls(), second.calls()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn promise_16_behind_a_buffer_too() {
    // The buffer's task calls, but the outer attempt polls.
    let peer = Peer::failing(99, 503);
    let buffered = ServiceBuilder::new().buffer(4).layer(retry(4)).service(peer.clone());
    let response = retry(3).layer(buffered).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(peer.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn promise_16_in_a_task_of_its_own_the_retries_of_a_retry_stand_down() {
    // The first attempt crosses into another task without a mark; retries carry their number.
    let peer = Peer::failing(99, 503);
    let inner = retry(4).layer(peer.clone());
    let spawning = service_fn(move |request: Request<String>| {
        let call = inner.clone().oneshot(request);
        async move { tokio::spawn(call).await.unwrap() }
    });
    let response = retry(3).layer(spawning).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(peer.calls(), 5 + 3);
}

fn retried_outside(count: &str) -> Request<String> {
    let mut request = request();
    request.headers_mut().insert("x-stainless-retry-count", count.parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn promise_16_what_a_client_in_front_retries_draws_on_the_budget() {
    let budget = Budget::new().capacity(28).min_per_second(0.0);
    let service = retry(4).budget(budget.clone()).layer(Peer::failing(usize::MAX, 500));
    let stopped = async |count: &str| {
        let response = service.clone().oneshot(retried_outside(count)).await.unwrap();
        let retried = *response.extensions().get::<Retried>().unwrap();
        (retried.attempts(), retried.stopped().unwrap(), budget.snapshot().remaining)
    };
    // One for the client's retry, one for ours; then the budget is used up.
    assert_eq!(stopped("1").await, (2, StopReason::Budget, 0));
    assert_eq!(stopped("2").await, (1, StopReason::Budget, 0));
    assert_eq!(stopped("0").await, (1, StopReason::Budget, 0));
}

#[tokio::test(start_paused = true)]
async fn promise_16_a_final_failure_can_be_marked_for_the_client_in_front() {
    // (status, the server's header, the client's header)
    for (status, own, marked) in [
        (503, None, Some("false")),
        (429, Some("true"), Some("false")),
        (400, None, Some("false")),
        (200, None, None),
    ] {
        let peer = Peer::new(move |_| match own {
            None => respond(status, &[]),
            Some(own) => respond(status, &[("x-should-retry", own)]),
        });
        let response = retry(1).mark_final_failures().layer(peer).oneshot(request()).await.unwrap();
        let header = response.headers().get("x-should-retry").map(|value| value.to_str().unwrap());
        assert_eq!(header, marked, "{status}");
    }
    // By default, responses are unchanged; and so are those that were not retried, because the caller disabled
    // retries or an outer layer retries.
    let mut single = request();
    single.extensions_mut().insert(CallOptions::new().without_retry());
    let service = retry(1).mark_final_failures().layer(Peer::failing(9, 503));
    let response = service.oneshot(single).await.unwrap();
    assert!(!response.headers().contains_key("x-should-retry"));
    let response = retry(1).layer(Peer::failing(9, 503)).oneshot(request()).await.unwrap();
    assert!(!response.headers().contains_key("x-should-retry"));
    let inner = retry(1).mark_final_failures().layer(Peer::failing(9, 503));
    let response = retry(1).layer(inner).oneshot(request()).await.unwrap();
    assert!(!response.headers().contains_key("x-should-retry"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_whose_delay_was_cancelled_is_not_marked() {
    let token = CancellationToken::new();
    let service = retry(1).cancellation(token.clone()).mark_final_failures().layer(Peer::failing(9, 503));
    let call = tokio::spawn(service.oneshot(request()));
    tokio::task::yield_now().await;
    token.cancel();
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.extensions().get::<Retried>().unwrap().stopped(), Some(StopReason::Cancelled));
    assert!(!response.headers().contains_key("x-should-retry"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_could_not_be_retried_is_not_marked() {
    let marking = retry(1).mark_final_failures();
    let once = marking.clone().replay(Once).layer(Peer::failing(9, 503));
    let never = marking.repeatable(|_: &dyn RequestHead| false).layer(Peer::failing(9, 503));
    for (response, why) in [
        (once.oneshot(request()).await.unwrap(), StopReason::CannotReplay),
        (never.oneshot(request()).await.unwrap(), StopReason::NotRepeatable),
    ] {
        assert_eq!(response.extensions().get::<Retried>().unwrap().stopped(), Some(why));
        assert!(!response.headers().contains_key("x-should-retry"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_numbered_and_keyed_for_the_server() {
    let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let peer = {
        let seen = Arc::clone(&seen);
        service_fn(move |request: Request<String>| {
            let text = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
            let mut seen = seen.lock().unwrap();
            seen.push((text("x-retry-count"), text("idempotency-key")));
            let response = Response::builder().status(if seen.len().is_multiple_of(3) { 200 } else { 503 });
            std::future::ready(Ok::<_, BoxError>(response.body(String::new()).unwrap()))
        })
    };
    let service = retry(4)
        .retry_count(HeaderName::from_static("x-retry-count"))
        .idempotency_key(HeaderName::from_static("idempotency-key"))
        .random_seed(7)
        .layer(peer);
    for _ in 0..2 {
        service.clone().oneshot(request()).await.unwrap();
    }
    let mut own = request();
    own.headers_mut().insert("idempotency-key", "mine".parse().unwrap());
    service.oneshot(own).await.unwrap();
    let seen = seen.lock().unwrap();
    let counts: Vec<_> = seen.iter().map(|(count, _)| count.as_str()).collect();
    assert_eq!(counts, ["0", "1", "2", "0", "1", "2", "0", "1", "2"]);
    let keys: Vec<_> = seen
        .chunks(3)
        .map(|call| {
            assert!(call.iter().all(|(_, key)| *key == call[0].1), "the same for all attempts");
            call[0].1.as_str()
        })
        .collect();
    assert!(keys[0] != keys[1] && keys[0].len() == 36, "a different one for each call: {keys:?}");
    assert_eq!(keys[2], "mine");
}

#[tokio::test(start_paused = true)]
async fn a_panic_inside_leaves_no_mark() {
    let policy = RetryLayer::new().classifier(EveryError);
    let panics = tokio::spawn({
        let policy = policy.clone();
        async move { policy.run(async || -> Result<(), ()> { panic!("in the operation") }).await }
    });
    assert!(panics.await.unwrap_err().is_panic());
    // The same thread, no longer inside an attempt.
    let peer = Peer::failing(1, 503);
    assert_eq!(retry(1).layer(peer.clone()).oneshot(request()).await.unwrap().status(), 200);
    assert_eq!(peer.calls(), 2);
}
