//! Options of a call, and how the layers inside see them.

use std::sync::{Arc, Mutex};

use aplomb_core::{
    BoxError, CallOptions, Copyable, Outcome, Priority, RequestHead, ResponseHead, StopReason,
};
use aplomb_retry::{Discard, Retried, RetryLayer};
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;

use crate::peer::{Peer, millis, request, secs, unavailable};

#[tokio::test(start_paused = true)]
async fn the_deadline_in_the_extensions_ends_the_retries() {
    let peer = Peer::failing(usize::MAX, 503);
    let service = RetryLayer::new().backoff(secs(4)).layer(peer.clone());
    let deadline = Instant::now() + secs(10);
    let mut request = request();
    request.extensions_mut().insert(CallOptions::new().with_deadline(deadline));
    let response = service.oneshot(request).await.unwrap();
    let retried = response.extensions().get::<Retried>().unwrap();
    assert_eq!((peer.calls(), retried.stopped()), (3, Some(StopReason::Deadline)));
    assert!(peer.seen().iter().all(|seen| seen.options.deadline() == Some(deadline)));
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_two_deadlines_applies_and_is_passed_on() {
    for (caller, layer, holds) in [(100, 6, 6), (6, 100, 6)] {
        let peer = Peer::failing(usize::MAX, 503);
        let layer = RetryLayer::new().backoff(secs(4)).max_elapsed(secs(layer));
        let began = Instant::now();
        let mut request = request();
        request.extensions_mut().insert(CallOptions::new().with_deadline(began + secs(caller)));
        layer.layer(peer.clone()).oneshot(request).await.unwrap();
        assert_eq!(peer.calls(), 2);
        for seen in peer.seen() {
            assert_eq!(seen.options.deadline(), Some(began + secs(holds)), "on the first attempt too");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_recorded_and_the_callers_options_kept() {
    let peer = Peer::failing(2, 503);
    let service = RetryLayer::new().backoff(secs(1)).layer(peer.clone());
    let began = Instant::now();
    let mut request = request();
    request.extensions_mut().insert(CallOptions::new().with_priority(Priority::HIGH));
    service.oneshot(request).await.unwrap();
    let options: Vec<_> = peer.seen().iter().map(|seen| seen.options).collect();
    assert_eq!(options[0], CallOptions::new().with_priority(Priority::HIGH));
    for (attempts, options) in (0_u32..).zip(options).skip(1) {
        let expected = CallOptions::new()
            .with_priority(Priority::HIGH)
            .with_arrival(began)
            .with_attempts(attempts, unavailable());
        assert_eq!(options, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_is_sent_unchanged() {
    let seen = Arc::new(Mutex::new(None));
    let service = {
        let seen = Arc::clone(&seen);
        service_fn(move |request: http::Request<String>| {
            *seen.lock().unwrap() = Some(request.extensions().is_empty());
            std::future::ready(Ok::<_, BoxError>(http::Response::new(String::new())))
        })
    };
    RetryLayer::new().layer(service).oneshot(request()).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_arrival_is_kept() {
    let peer = Peer::failing(1, 503);
    let arrived = Instant::now();
    sleep(secs(5)).await;
    let mut request = request();
    request.extensions_mut().insert(CallOptions::new().with_arrival(arrived));
    RetryLayer::new().layer(peer.clone()).oneshot(request).await.unwrap();
    assert_eq!(peer.seen()[1].options.arrived(), Some(arrived));
}

/// A request without extensions.
#[derive(Clone, Debug)]
struct Hidden;

impl RequestHead for Hidden {}

impl Copyable for Hidden {
    fn copy(&self) -> Option<Self> {
        Some(Self)
    }
}

/// A response without a head.
struct Answered;

impl ResponseHead for Answered {}

impl Discard for Answered {
    type Discarding = std::future::Ready<()>;

    fn discard(self) -> Self::Discarding {
        std::future::ready(())
    }
}

type Seen = Arc<Mutex<Vec<(CallOptions, CallOptions)>>>;

/// Fails `failures` times. Records the options that it finds when it is called and when it is polled.
fn hidden(
    failures: usize,
) -> (impl Service<Hidden, Response = Answered, Error = BoxError, Future: Send> + Clone, Seen) {
    let seen = Seen::default();
    let service = {
        let seen = Arc::clone(&seen);
        service_fn(move |request: Hidden| {
            let seen = Arc::clone(&seen);
            let called = CallOptions::of(&request);
            async move {
                sleep(millis(10)).await;
                let mut seen = seen.lock().unwrap();
                seen.push((called, CallOptions::of(&request)));
                if seen.len() > failures {
                    Ok(Answered)
                } else {
                    Err("lost".into())
                }
            }
        })
    };
    (service, seen)
}

#[tokio::test(start_paused = true)]
async fn without_extensions_options_travel_in_the_task_local() {
    let (service, seen) = hidden(2);
    let layer = RetryLayer::new().backoff(secs(1));
    let began = Instant::now();
    let options = CallOptions::new().with_priority(Priority::LOW).with_deadline(began + secs(60));
    let call = layer.layer(service).oneshot(Hidden);
    options.scope(call).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0], (options, options));
    for (attempts, seen) in (0_u32..).zip(&*seen).skip(1) {
        let expected = options
            .with_arrival(began)
            .with_attempts(attempts, Outcome::transient().mark_unanswered());
        assert_eq!(*seen, (expected, expected));
    }
    assert_eq!((seen.len(), CallOptions::current()), (3, None));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_and_a_single_attempt_from_the_task_local() {
    let (service, seen) = hidden(usize::MAX);
    let mut service = RetryLayer::new().backoff(secs(4)).layer(service);
    let in_time = CallOptions::new().with_deadline(Instant::now() + secs(10));
    // `call` runs before the scope is entered, and the options are found anyway.
    assert!(in_time.scope(service.call(Hidden)).await.is_err());
    assert_eq!(seen.lock().unwrap().len(), 3);
    assert!(CallOptions::new().without_retry().scope(service.call(Hidden)).await.is_err());
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_layers_own_deadline_reaches_hidden_requests() {
    let (service, seen) = hidden(0);
    let layer = RetryLayer::new().max_elapsed(secs(7));
    let expected = CallOptions::new().with_deadline(Instant::now() + secs(7));
    layer.layer(service).oneshot(Hidden).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [(expected, expected)]);
}
