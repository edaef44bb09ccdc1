//! The service at the other end: it answers as told, and watches how it is used.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use aplomb::BoxError;
use bytes::Bytes;
use http_body_util::Full;
use tower::Service;

pub(crate) type Request = http::Request<Full<Bytes>>;
pub(crate) type Response = http::Response<Full<Bytes>>;

/// How long the peer takes to answer.
pub(crate) const LATENCY: Duration = Duration::from_millis(20);

/// Counts how often it is ready and called, on each instance; panics when it is called without having
/// been ready on that very instance.
#[derive(Debug)]
pub(crate) struct Peer {
    seen: Arc<Seen>,
    ready: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    statuses: Mutex<VecDeque<u16>>,
    /// How many instances are ready and have not been called.
    pub(crate) held: AtomicUsize,
    pub(crate) called: AtomicUsize,
}

impl Peer {
    pub(crate) fn new(statuses: &[u16]) -> Self {
        let statuses = Mutex::new(statuses.iter().copied().collect());
        Self { seen: Arc::new(Seen { statuses, ..Seen::default() }), ready: false }
    }

    pub(crate) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }
}

impl Clone for Peer {
    /// Readiness is of an instance: a clone has none.
    fn clone(&self) -> Self {
        Self { seen: Arc::clone(&self.seen), ready: false }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.ready {
            self.seen.held.fetch_sub(1, Relaxed);
        }
    }
}

impl Service<Request> for Peer {
    type Response = Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !std::mem::replace(&mut self.ready, true) {
            self.seen.held.fetch_add(1, Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        assert!(self.ready, "called without having been ready");
        self.ready = false;
        self.seen.held.fetch_sub(1, Relaxed);
        self.seen.called.fetch_add(1, Relaxed);
        assert_ne!(request.uri().path(), "/panic", "told to panic");
        let status = self.seen.statuses.lock().unwrap().pop_front().unwrap_or(200);
        Box::pin(async move {
            tokio::time::sleep(LATENCY).await;
            let mut response = http::Response::new(Full::from("{}"));
            *response.status_mut() = http::StatusCode::from_u16(status)?;
            Ok(response)
        })
    }
}

/// A service that is finished: it will never be ready again.
#[derive(Clone, Debug)]
pub(crate) struct Finished;

impl Service<Request> for Finished {
    type Response = Response;
    type Error = BoxError;
    type Future = std::future::Pending<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Err("finished".into()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        unreachable!("it is never ready")
    }
}
