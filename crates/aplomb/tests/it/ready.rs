//! Clients that are to be made ready, and those that never are.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aplomb::rate_limit::Quota;
use aplomb::route::{Route, Routes};
use aplomb::{OutgoingRequest, Policy, RouterLayer};
use bytes::Bytes;
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt};

use crate::calls::{chat, under};

const S: Duration = Duration::from_secs(1);

type Request = http::Request<Full<Bytes>>;
type Response = http::Response<Full<Bytes>>;

/// Is never ready, but broken.
#[derive(Clone)]
struct Unready(Arc<AtomicU32>);

impl Service<Request> for Unready {
    type Response = Response;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Err(io::Error::other("finished")))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        panic!("not ready")
    }
}

/// Is never ready, and does not say why.
#[derive(Clone)]
struct Connecting;

impl Service<Request> for Connecting {
    type Response = Response;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn call(&mut self, _: Request) -> Self::Future {
        panic!("not ready")
    }
}

/// Demands that the instance that is called has been ready.
struct Strict {
    ready: bool,
    calls: Arc<AtomicU32>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl Service<Request> for Strict {
    type Response = Response;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been ready");
        let status = if self.calls.fetch_add(1, Ordering::Relaxed) % 2 == 0 {
            503
        } else {
            200
        };
        std::future::ready(Ok(http::Response::builder().status(status).body(Full::from("{}")).unwrap()))
    }
}

// Each way a request can take makes its instance of the client ready before it calls it: with a hook, without, and past
// every policy.
#[tokio::test(start_paused = true)]
async fn promise_1_in_every_way() {
    let hooked = under(Policy::new()).request_hook(|outgoing: OutgoingRequest| async move { Ok(outgoing) });
    let routes = Routes::new()
        .route(Route::new().path("/v1/chat"), under(Policy::new()))
        .route(Route::new().path("/hooked"), hooked);
    let mut service = RouterLayer::new(routes).unwrap().layer(Strict { ready: false, calls: Arc::default() });
    for path in ["/v1/chat/completions", "/hooked", "/unknown"] {
        for _ in 0..3 {
            let mut request = chat("hello", false);
            *request.uri_mut() = path.parse().unwrap();
            service.ready().await.unwrap().call(request).await.unwrap();
        }
    }
}

// With a hook the client is readied later. The result is the same, since nothing was sent.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_not_ready_costs_the_same_with_and_without_a_hook() {
    let policy = Policy::new().quota(Quota::requests_per_hour(50).burst(50));
    let mut came_to = Vec::new();
    for hooked in [false, true] {
        let mut layer = under(policy.clone());
        if hooked {
            layer = layer.request_hook(|outgoing: OutgoingRequest| async move { Ok(outgoing) });
        }
        let handle = layer.handle();
        let asked = Arc::default();
        let error = layer.layer(Unready(Arc::clone(&asked))).oneshot(chat("hello", false)).await.unwrap_err();
        came_to.push((
            handle.available()[0].1,
            handle.circuit().unwrap().window().calls(),
            error.report().sent(),
            asked.load(Ordering::Relaxed),
        ));
    }
    assert_eq!(came_to[0], came_to[1]);
}

// Nothing was ever queued: a client that is not ready is tried again after a backoff.
#[tokio::test(start_paused = true)]
async fn the_waits_before_a_client_is_ready_are_no_time_in_the_queue() {
    let layer = under(Policy::new());
    let error = layer.layer(Unready(Arc::default())).oneshot(chat("hello", false)).await.unwrap_err();
    assert_eq!(error.report().queued(), Duration::ZERO, "{error}");
    assert_eq!(error.report().waited(), error.report().elapsed(), "{error}");
}

// A client that connects in `poll_ready` and never succeeds does not hold its slot and its quota forever: the
// first of the timeouts limits that too.
#[tokio::test(start_paused = true)]
async fn a_client_that_never_gets_ready_is_given_up() {
    let layer = under(Policy::new().concurrency(1).max_retries(0).head_timeout(10 * S));
    let call = layer.layer(Connecting).oneshot(chat("hello", false));
    assert!(tokio::time::timeout(100_000 * S, call).await.is_ok());
}

// The same if the client is readied after the hook.
#[tokio::test(start_paused = true)]
async fn a_client_that_never_gets_ready_after_the_hook_is_given_up() {
    let layer = under(Policy::new().concurrency(1).max_retries(0).head_timeout(10 * S))
        .request_hook(|outgoing: OutgoingRequest| async move { Ok(outgoing) });
    let call = layer.layer(Connecting).oneshot(chat("hello", false));
    assert!(tokio::time::timeout(100_000 * S, call).await.is_ok());
}
