//! Responses, drained or returned: promises 11, 12, 14 and 15.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aplomb_core::{
    BoxError, CallOptions, Copied, Event, EventKind, Exchange, LayerName, LogEvents, Once, Outcome, Recorded,
    Rejection, Replay, ReplayBody, StopReason,
};
use aplomb_retry::{Retried, RetryLayer};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::time::{Instant, sleep};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

use crate::peer::{Answer, Log, Noted, Peer, millis, request, respond, response, secs, unavailable};

/// A server whose first response is a 503 with `body`, and the fate of that body.
fn with_body(body: impl Fn() -> Noted) -> (Peer, crate::peer::Fate) {
    let body = body();
    let fate = body.fate();
    let first = std::sync::Mutex::new(Some(response(503, &[], body)));
    let peer = Peer::new(move |call| match call {
        0 => Answer::Respond(first.lock().unwrap().take().unwrap()),
        _ => respond(200, &[]),
    });
    (peer, fate)
}

#[tokio::test(start_paused = true)]
async fn promise_11_a_short_body_is_drained_and_dropped_before_the_wait() {
    let (peer, fate) = with_body(|| Noted::short("overloaded"));
    let began = Instant::now();
    let call = tokio::spawn(RetryLayer::new().backoff(secs(10)).layer(peer.clone()).oneshot(request()));
    sleep(secs(1)).await;
    assert_eq!((fate.ended(), fate.dropped()), (Some(began), Some(began)));
    assert_eq!(peer.calls(), 1);
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn promise_11_draining_counts_towards_the_wait() {
    let (peer, fate) = with_body(|| Noted::slow(4, millis(100)));
    let service = RetryLayer::new().backoff(secs(10)).layer(peer.clone());
    let began = Instant::now();
    service.oneshot(request()).await.unwrap();
    let ended = fate.ended().unwrap() - began;
    assert!(ended >= millis(500) && ended < millis(600), "{ended:?}");
    assert!(peer.waits()[0] >= secs(10) && peer.waits()[0] < millis(10_003));
}

#[tokio::test(start_paused = true)]
async fn promise_11_a_slow_body_is_dropped_after_a_second_or_when_time_is_short() {
    for (max_elapsed, most) in [(secs(1_000), secs(1)), (millis(600), millis(20))] {
        let (peer, fate) = with_body(|| Noted::slow(1_000, millis(100)));
        let layer = RetryLayer::new().max_elapsed(max_elapsed).backoff(millis(20));
        let began = Instant::now();
        layer.layer(peer.clone()).oneshot(request()).await.unwrap();
        assert_eq!(fate.ended(), None);
        let dropped = fate.dropped().unwrap() - began;
        assert!(dropped >= most && dropped <= most + millis(2), "{dropped:?}");
        assert!(peer.seen()[1].at - began < max_elapsed, "no attempt after the deadline");
    }
}

#[tokio::test(start_paused = true)]
async fn retried_includes_the_time_that_draining_took() {
    let (peer, _) = with_body(|| Noted::slow(1_000, millis(100)));
    let service = RetryLayer::new().backoff(millis(20)).layer(peer.clone());
    let response = service.oneshot(request()).await.unwrap();
    let retried = response.extensions().get::<Retried>().unwrap();
    assert!(retried.waited() >= secs(1));
    assert_eq!(retried.waited(), peer.waits()[0]);
}

#[tokio::test(start_paused = true)]
async fn promise_11_without_draining_the_body_is_not_read() {
    let (peer, fate) = with_body(|| Noted::slow(2, secs(1)));
    let layer = RetryLayer::new().drain(false).backoff(secs(10));
    let began = Instant::now();
    layer.layer(peer).oneshot(request()).await.unwrap();
    assert_eq!((fate.ended(), fate.dropped()), (None, Some(began)));
}

#[tokio::test(start_paused = true)]
async fn promise_12_the_last_response_comes_back_unchanged() {
    let peer = Peer::new(|call| {
        let number = call.to_string();
        let headers = [("x-number", number.as_str()), ("x-request-id", "req_1")];
        Answer::Respond(response(503, &headers, Noted::slow(3, secs(2))))
    });
    let log = Log::default();
    let layer = RetryLayer::new().max_retries(2).backoff(secs(3)).observer(log.clone());
    let response = layer.layer(peer).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!((&response.headers()["x-number"], response.headers().len()), (&"2".parse().unwrap(), 2));
    let retried = *response.extensions().get::<Retried>().unwrap();
    assert_eq!((retried.attempts(), retried.waited()), (3, secs(6)));
    assert_eq!(retried.stopped(), Some(StopReason::MaxRetries));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "frameframeframe");
    let events = log.events();
    let [.., EventKind::GaveUp { attempts: 3, failed, waited, why, .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((failed.outcome(), *waited, *why), (unavailable(), secs(6), StopReason::MaxRetries));
    assert_eq!(failed.to_string(), "503 Service Unavailable");
}

#[tokio::test(start_paused = true)]
async fn promise_12_the_last_error_comes_back_untouched() {
    let peer = Peer::new(|call| Answer::Fail(["reset", "refused", "closed"][call]));
    let layer = RetryLayer::new().max_retries(2);
    let error = layer.layer(peer.clone()).oneshot(request()).await.unwrap_err();
    assert_eq!((error.to_string(), peer.calls()), ("closed".to_owned(), 3));
}

#[tokio::test(start_paused = true)]
async fn promise_12_a_refusal_by_our_own_gates_is_returned_as_it_is() {
    let sent = Arc::new(AtomicUsize::new(0));
    let gate = {
        let sent = Arc::clone(&sent);
        service_fn(move |request: Request<String>| {
            let options = CallOptions::of(&request);
            let refuse = sent.fetch_add(1, Ordering::SeqCst) == 1;
            std::future::ready(if refuse {
                let refused = Rejection::by(LayerName::Other("gate"))
                    .with_retry_after(Some(secs(1)))
                    .with_attempts(options.attempts(), options.last());
                Err(BoxError::from(io::Error::other(refused)))
            } else {
                Ok(response(503, &[("retry-after", "2")], Noted::short("")))
            })
        })
    };
    let error = RetryLayer::new().layer(gate).oneshot(request()).await.unwrap_err();
    let refused = aplomb_core::find::<Rejection>(&*error).unwrap();
    assert_eq!(sent.load(Ordering::SeqCst), 2, "a refusal is not retried");
    let last = unavailable().with_retry_after(secs(2));
    assert_eq!((refused.attempts(), refused.last()), (1, Some(last)));
}

#[tokio::test(start_paused = true)]
async fn a_first_success_is_left_alone_and_a_later_one_has_retried() {
    let log = Log::default();
    let layer = RetryLayer::new().backoff(secs(1)).observer((log.clone(), LogEvents));
    let response = layer.layer(Peer::failing(0, 500)).oneshot(request()).await.unwrap();
    assert!(response.extensions().is_empty());
    assert!(matches!(
        log.events()[..],
        [
            EventKind::AttemptStarted { attempt: 1, .. },
            EventKind::AttemptEnded { attempt: 1, .. }
        ]
    ));

    let response = layer.layer(Peer::failing(2, 500)).oneshot(request()).await.unwrap();
    let retried = response.extensions().get::<Retried>().unwrap();
    assert_eq!((retried.attempts(), retried.waited(), retried.stopped()), (3, secs(2), None));
    assert!(matches!(
        log.events()[2..],
        [
            EventKind::AttemptStarted { attempt: 1, .. },
            EventKind::AttemptEnded { attempt: 1, .. },
            EventKind::Retrying { attempt: 1, .. },
            EventKind::AttemptStarted { attempt: 2, .. },
            EventKind::AttemptEnded { attempt: 2, .. },
            EventKind::Retrying { attempt: 2, .. },
            EventKind::AttemptStarted { attempt: 3, .. },
            EventKind::AttemptEnded { attempt: 3, .. },
            EventKind::Recovered { attempts: 3, .. },
        ]
    ));
}

#[tokio::test(start_paused = true)]
async fn events_say_in_plain_words_what_failed_and_what_follows() {
    let lines = Arc::new(std::sync::Mutex::new(Vec::new()));
    let observer = {
        let lines = Arc::clone(&lines);
        move |event: &Event| lines.lock().unwrap().push(event.to_string())
    };
    let peer = Peer::new(|call| match call {
        0 => respond(429, &[]),
        1 => Answer::Fail("connection reset by peer"),
        _ => respond(503, &[]),
    });
    let layer = RetryLayer::new().max_retries(2).backoff([secs(1), millis(1_250)]);
    layer.observer(observer).layer(peer).oneshot(request()).await.unwrap();
    assert_eq!(
        *lines.lock().unwrap(),
        [
            "attempt 1 started",
            "attempt 1 ended: 429 Too Many Requests",
            "retrying request in 1.0 s: 429 Too Many Requests",
            "attempt 2 started",
            "attempt 2 ended: connection reset by peer",
            "retrying request in 1.2 s: connection reset by peer",
            "attempt 3 started",
            "attempt 3 ended: 503 Service Unavailable",
            "gave up after 3 attempts, retries used up: 503 Service Unavailable",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_an_observer_does_not_end_the_call() {
    let layer = RetryLayer::new().observer(|event: &Event| panic!("{event}"));
    let response = layer.layer(Peer::failing(1, 503)).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn only_what_may_pass_is_sent_again() {
    for (status, calls) in [
        (200, 1),
        (304, 1),
        (400, 1),
        (401, 1),
        (404, 1),
        (413, 1),
        (501, 1),
        (408, 2),
    ] {
        let peer = Peer::failing(1, status);
        let response = RetryLayer::new().layer(peer.clone()).oneshot(request()).await.unwrap();
        assert_eq!(peer.calls(), calls, "{status}");
        let stopped = response.extensions().get::<Retried>().map(Retried::stopped);
        let expected = (status >= 400).then_some(if calls == 1 {
            Some(StopReason::NotRetryable)
        } else {
            None
        });
        assert_eq!(stopped, expected, "{status}");
    }
}

/// A body in two frames that cannot be copied.
fn stream() -> impl http_body::Body<Data = Bytes, Error = BoxError> + Unpin {
    let frames = ["first, ", "second"].map(|text| Ok(http_body::Frame::data(Bytes::from(text))));
    StreamBody::new(futures_util::stream::iter(frames))
}

#[tokio::test(start_paused = true)]
async fn promise_14_a_recorded_body_is_byte_identical_also_when_dropped_half_way() {
    let bodies = Arc::new(std::sync::Mutex::new(Vec::new()));
    let service = {
        let bodies = Arc::clone(&bodies);
        service_fn(move |request: Request<ReplayBody<_>>| {
            let bodies = Arc::clone(&bodies);
            async move {
                let attempt = CallOptions::of(&request).attempts();
                let mut body = request.into_body();
                let bytes = if attempt == 0 {
                    // Answers before the request has been read.
                    body.frame().await.unwrap()?.into_data().unwrap()
                } else {
                    body.collect().await?.to_bytes()
                };
                bodies.lock().unwrap().push(bytes);
                let status = if attempt < 2 { 503 } else { 200 };
                Ok::<_, BoxError>(response(status, &[], Noted::short("")))
            }
        })
    };
    let service = RetryLayer::new().replay(Recorded::new()).layer(service);
    let response = service.oneshot(Request::new(stream())).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(*bodies.lock().unwrap(), ["first, ", "first, second", "first, second"]);
}

#[tokio::test(start_paused = true)]
async fn promise_14_a_body_past_the_limit_goes_out_once_and_its_response_comes_back() {
    let service = service_fn(async |request: Request<ReplayBody<_>>| {
        let bytes = request.into_body().collect().await?.to_bytes();
        Ok::<_, BoxError>(Response::builder().status(503).body(Full::new(bytes)).unwrap())
    });
    let log = Log::default();
    let layer = RetryLayer::new().replay(Recorded::new().limit(8)).observer(log.clone());
    let response = layer.layer(service).oneshot(Request::new(stream())).await.unwrap();
    let retried = *response.extensions().get::<Retried>().unwrap();
    assert_eq!((retried.attempts(), retried.stopped()), (1, Some(StopReason::CannotReplay)));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "first, second");
    assert!(log.waits().is_empty());
}

#[tokio::test(start_paused = true)]
async fn promise_15_a_stream_that_breaks_later_is_not_retried() {
    let peer = Peer::new(|_| {
        let mut response = response(200, &[], Noted::short("first content"));
        response.extensions_mut().insert(Exchange::new(Outcome::success()));
        Answer::Respond(response)
    });
    let response = RetryLayer::new().layer(peer.clone()).oneshot(request()).await.unwrap();
    response.extensions().get::<Exchange>().unwrap().set_outcome(Outcome::transient());
    response.into_body().collect().await.unwrap();
    assert_eq!(peer.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn promise_15_a_stream_known_to_have_failed_before_its_first_content_is_retried() {
    let peer = Peer::new(|call| {
        let mut response = response(200, &[], Noted::short("event: error"));
        let outcome = if call == 0 {
            Outcome::throttled()
        } else {
            Outcome::success()
        };
        response.extensions_mut().insert(Exchange::new(outcome));
        Answer::Respond(response)
    });
    RetryLayer::new().layer(peer.clone()).oneshot(request()).await.unwrap();
    assert_eq!(peer.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn promise_15_what_breaks_after_its_first_content_is_the_callers() {
    /// One frame of content, then an error.
    struct Breaks(usize);
    impl http_body::Body for Breaks {
        type Data = bytes::Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, BoxError>>> {
            self.0 += 1;
            std::task::Poll::Ready(Some(match self.0 {
                1 => Ok(http_body::Frame::data("data: Hel".into())),
                _ => Err("reset".into()),
            }))
        }
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let service = {
        let calls = Arc::clone(&calls);
        service_fn(move |_: Request<String>| {
            calls.fetch_add(1, Ordering::SeqCst);
            // Nothing wrong has been read yet.
            let mut response = http::Response::new(Breaks(0));
            response.extensions_mut().insert(Exchange::new(Outcome::success()));
            std::future::ready(Ok::<_, BoxError>(response))
        })
    };
    let mut body = RetryLayer::new().layer(service).oneshot(request()).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: Hel");
    assert_eq!(body.frame().await.unwrap().unwrap_err().to_string(), "reset");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_sent_again_is_sent_once() {
    let peer = Peer::failing(usize::MAX, 503);
    let service = RetryLayer::new().replay(Once).layer(peer.clone());
    let response = service.oneshot(Request::new(stream())).await.unwrap();
    let retried = response.extensions().get::<Retried>().unwrap();
    assert_eq!((peer.calls(), retried.stopped()), (1, Some(StopReason::CannotReplay)));
}

/// Counts how often a request is copied.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicUsize>);

impl Replay<Request<String>> for Counted {
    type Sent = Request<String>;
    type Kept = Request<String>;

    fn keep(&self, request: Request<String>) -> Request<String> {
        request
    }

    fn again(&self, kept: &mut Request<String>) -> Option<Request<String>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Copied.again(kept)
    }

    fn once(&self, kept: Request<String>) -> Request<String> {
        kept
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_copied_only_if_it_may_be_sent_again() {
    let counted = Counted::default();
    let layer = RetryLayer::new().replay(counted.clone());
    let mut single = request();
    single.extensions_mut().insert(CallOptions::new().without_retry());
    let response = layer.layer(Peer::failing(1, 503)).oneshot(single).await.unwrap();
    assert_eq!(response.extensions().get::<Retried>().unwrap().stopped(), Some(StopReason::Disabled));
    let none = layer.clone().max_retries(0);
    let response = none.layer(Peer::failing(1, 503)).oneshot(request()).await.unwrap();
    assert_eq!(response.extensions().get::<Retried>().unwrap().stopped(), Some(StopReason::MaxRetries));
    assert_eq!(counted.0.load(Ordering::SeqCst), 0);
    layer.layer(Peer::failing(0, 503)).oneshot(request()).await.unwrap();
    assert_eq!(counted.0.load(Ordering::SeqCst), 1);
}
