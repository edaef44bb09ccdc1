//! Stop conditions, cancellation, and which requests may be sent again.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{BoxError, EventKind, FailedAttempt, RequestHead, StopReason, backoff_fn};
use aplomb_retry::{After, Repeatable, Retried, RetryLayer, Stop, Upcoming};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, PollSemaphore};
use tower::{Service, ServiceExt};
use tower_layer::Layer;

use crate::peer::{Answer, Log, Noted, Peer, request, respond, response, secs};

async fn stopped(layer: RetryLayer, peer: Peer) -> (u32, Option<StopReason>, Duration) {
    let began = Instant::now();
    let response = layer.layer(peer).oneshot(request()).await.unwrap();
    let retried = *response.extensions().get::<Retried>().unwrap();
    (retried.attempts(), retried.stopped(), began.elapsed())
}

fn every(seconds: u64) -> RetryLayer {
    RetryLayer::new().backoff(secs(seconds))
}

#[tokio::test(start_paused = true)]
async fn conditions_take_the_place_of_the_number_of_retries() {
    let down = || Peer::failing(usize::MAX, 500);
    let any = every(2).stop(After::Retries(9).or(After::Delay(secs(7))));
    assert_eq!(stopped(any, down()).await, (4, Some(StopReason::Deadline), secs(6)));
    let all = every(2).stop(After::Retries(9).and(After::Delay(secs(7))));
    assert_eq!(stopped(all, down()).await, (10, Some(StopReason::Deadline), secs(18)));
    let both = every(2).stop(After::Delay(secs(7))).max_retries(1);
    assert_eq!(stopped(both, down()).await, (2, Some(StopReason::MaxRetries), secs(2)));
}

#[tokio::test(start_paused = true)]
async fn a_predicate_sees_the_response_the_retry_and_the_times() {
    let peer = Peer::new(|call| respond(503, &[("x-number", ["0", "1", "2", "3"][call])]));
    let layer = every(3).stop(|upcoming: &Upcoming<'_>| {
        let number = upcoming.failed().response().unwrap().headers().unwrap()["x-number"].to_str().unwrap();
        assert_eq!(number, upcoming.failed().retry().to_string());
        assert_eq!(upcoming.elapsed(), secs(3) * upcoming.failed().retry());
        assert_eq!(upcoming.delay(), secs(3));
        number == "2"
    });
    assert_eq!(stopped(layer, peer).await, (3, Some(StopReason::Condition), secs(6)));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_used_up_ends_it() {
    let layer = RetryLayer::new().backoff([secs(5), secs(1)]);
    let (attempts, why, took) = stopped(layer, Peer::failing(9, 500)).await;
    assert_eq!((attempts, why, took), (3, Some(StopReason::BackoffEnded), secs(6)));
}

#[tokio::test(start_paused = true)]
async fn a_custom_backoff_sees_the_head_of_the_response() {
    let peer = Peer::new(|call| respond(if call < 2 { 503 } else { 200 }, &[("x-busy-for", "9")]));
    let layer = RetryLayer::new().backoff(backoff_fn(|failed: &FailedAttempt<'_>, _: &mut dyn rand::Rng| {
        let headers = failed.response()?.headers()?;
        headers.get("x-busy-for")?.to_str().ok()?.parse().ok().map(Duration::from_secs)
    }));
    layer.layer(peer.clone()).oneshot(request()).await.unwrap();
    assert_eq!(peer.waits(), [secs(9), secs(9)]);
    // After an error there is no response, and this backoff has no delay.
    let peer = Peer::new(|_| Answer::Fail("lost"));
    assert!(layer.layer(peer.clone()).oneshot(request()).await.is_err());
    assert_eq!(peer.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_token_ends_a_delay_and_returns_the_failure() {
    let token = CancellationToken::new();
    let log = Log::default();
    let layer = every(60).cancellation(token.clone()).observer(log.clone());
    let body = Noted::slow(3, secs(1));
    let fate = body.fate();
    let first = std::sync::Mutex::new(Some(response(503, &[("x-number", "7")], body)));
    let peer = Peer::new(move |_| Answer::Respond(first.lock().unwrap().take().unwrap()));
    let service = layer.layer(peer.clone());
    let began = Instant::now();
    let call = tokio::spawn(service.clone().oneshot(request()));
    sleep(secs(10)).await;
    assert_eq!(fate.dropped(), None, "kept for the caller");
    token.cancel();
    let response = call.await.unwrap().unwrap();
    assert_eq!((began.elapsed(), peer.calls()), (secs(10), 1));
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-number"]),
        (503, &"7".parse().unwrap())
    );
    let retried = response.extensions().get::<Retried>().unwrap();
    assert_eq!((retried.attempts(), retried.stopped()), (1, Some(StopReason::Cancelled)));
    assert_eq!(retried.waited(), secs(10), "not the delay that was planned");
    assert!(matches!(log.events().last(), Some(EventKind::GaveUp { why: StopReason::Cancelled, .. })));
}

#[tokio::test(start_paused = true)]
async fn with_a_token_that_is_never_cancelled_it_retries_as_usual() {
    let token = CancellationToken::new();
    let peer = Peer::new(|call| {
        if call == 0 {
            Answer::Fail("lost")
        } else {
            respond([503, 200][call - 1], &[])
        }
    });
    let response = every(5).cancellation(token.clone()).layer(peer.clone()).oneshot(request()).await.unwrap();
    assert_eq!((response.status().as_u16(), peer.waits()), (200, vec![secs(5), secs(5)]));
    // If it is cancelled already, the first attempt is made, and no retry.
    token.cancel();
    let peer = Peer::new(|_| Answer::Fail("lost"));
    let error = every(5).cancellation(token).layer(peer.clone()).oneshot(request()).await.unwrap_err();
    assert_eq!((error.to_string(), peer.calls()), ("lost".to_owned(), 1));
}

#[tokio::test(start_paused = true)]
async fn with_a_token_the_response_is_drained_when_the_wait_is_over() {
    let body = Noted::short("overloaded");
    let fate = body.fate();
    let first = std::sync::Mutex::new(Some(response(503, &[], body)));
    let peer = Peer::new(move |call| match call {
        0 => Answer::Respond(first.lock().unwrap().take().unwrap()),
        _ => respond(200, &[]),
    });
    let began = Instant::now();
    every(5)
        .cancellation(CancellationToken::new())
        .layer(peer)
        .oneshot(request())
        .await
        .unwrap();
    assert_eq!((fate.ended(), fate.dropped()), (Some(began + secs(5)), Some(began + secs(5))));
}

/// Is ready for a call when the body of the previous response is gone. Answers with a 503 at first.
struct OneAtATime {
    slots: PollSemaphore,
    slot: Option<OwnedSemaphorePermit>,
    calls: usize,
}

impl Clone for OneAtATime {
    fn clone(&self) -> Self {
        Self { slots: self.slots.clone(), slot: None, calls: self.calls }
    }
}

impl Service<Request<String>> for OneAtATime {
    type Response = Response<BoxBody<Bytes, Infallible>>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.slot.is_none() {
            self.slot = ready!(self.slots.poll_acquire(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        let slot = self.slot.take().unwrap();
        let body = Full::default().map_frame(move |frame| {
            let _held = &slot;
            frame
        });
        let status = if self.calls == 0 { 503 } else { 200 };
        self.calls += 1;
        std::future::ready(Ok(Response::builder().status(status).body(BodyExt::boxed(body)).unwrap()))
    }
}

#[tokio::test(start_paused = true)]
async fn the_response_is_gone_before_the_inner_service_gets_ready_even_with_a_token() {
    for layer in [every(1), every(1).cancellation(CancellationToken::new())] {
        let slots = PollSemaphore::new(Arc::new(Semaphore::new(1)));
        let service = layer.layer(OneAtATime { slots, slot: None, calls: 0 });
        let response = timeout(secs(60), service.oneshot(request())).await;
        assert_eq!(response.expect("no deadlock").unwrap().status(), 200);
    }
}

fn with_method(method: Method) -> Request<String> {
    let mut request = request();
    *request.method_mut() = method;
    request
}

#[tokio::test(start_paused = true)]
async fn by_default_a_post_is_retried_like_anything_else() {
    for method in [Method::GET, Method::POST, Method::PATCH] {
        let peer = Peer::failing(1, 500);
        every(1).layer(peer.clone()).oneshot(with_method(method)).await.unwrap();
        assert_eq!(peer.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn idempotent_only_repeats_a_post_if_the_server_has_not_begun() {
    // (method, status, calls)
    for (method, status, calls) in [
        (Method::GET, 500, 2),
        (Method::PUT, 504, 2),
        (Method::POST, 500, 1),
        (Method::POST, 502, 1),
        (Method::POST, 504, 1),
        (Method::POST, 408, 1),
        (Method::POST, 409, 1),
        (Method::POST, 429, 2),
        (Method::POST, 503, 2),
        (Method::POST, 529, 2),
    ] {
        let peer = Peer::failing(1, status);
        let service = every(1).idempotent_only().layer(peer.clone());
        let response = service.oneshot(with_method(method.clone())).await.unwrap();
        assert_eq!(peer.calls(), calls, "{method} {status}");
        let retried = response.extensions().get::<Retried>().unwrap();
        assert_eq!(retried.stopped(), (calls == 1).then_some(StopReason::NotRepeatable));
    }
    // A lost connection may have carried the request; a key makes a POST safe.
    let lost = || {
        Peer::new(|call| {
            if call == 0 {
                Answer::Fail("reset")
            } else {
                respond(200, &[])
            }
        })
    };
    let service = every(1).idempotent_only();
    assert!(service.layer(lost()).oneshot(with_method(Method::POST)).await.is_err());
    let keyed = service.clone().idempotency_key(http::HeaderName::from_static("idempotency-key"));
    assert!(keyed.layer(lost()).oneshot(with_method(Method::POST)).await.is_ok());
    let mut request = with_method(Method::POST);
    request.headers_mut().insert("idempotency-key", "1".parse().unwrap());
    assert!(service.layer(lost()).oneshot(request).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_predicate_on_the_request_decides_once_before_it_is_copied() {
    let asked = Arc::new(AtomicUsize::new(0));
    let layer = {
        let asked = Arc::clone(&asked);
        every(1).repeatable(move |request: &dyn RequestHead| {
            asked.fetch_add(1, Ordering::SeqCst);
            if request.path() == Some("/once") {
                Repeatable::Never
            } else {
                Repeatable::Always
            }
        })
    };
    for (path, calls) in [("/once", 1), ("/often", 3)] {
        let peer = Peer::failing(2, 503);
        let mut request = request();
        *request.uri_mut() = path.parse().unwrap();
        layer.layer(peer.clone()).oneshot(request).await.unwrap();
        assert_eq!(peer.calls(), calls);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
