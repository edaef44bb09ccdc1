//! The mock as a service, in process.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use crate::body::Body;
use crate::config::Config;
use crate::shared::Shared;
use crate::stats::{PromptStats, Stats};
use crate::{draw, serve};

/// An AI provider in process: a [`Service`] from HTTP requests to HTTP responses.
///
/// Clones share everything. It is always ready, and goes by tokio's clock, so it works in paused time. Faults of a connection
/// become faults of the call: a reset is an [`io::Error`] of kind `ConnectionReset`, a hang never resolves, a truncated body
/// fails halfway. Dropping a call or a body means that the client goes away.
///
/// # Examples
///
/// ```
/// use aplomb_mock::{Fault, Mock, Plan};
/// use tower_service::Service;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let mut mock = Mock::builder().plan(Plan::default().attempt(1, Fault::Reset)).build();
/// let request = || {
///     let body = r#"{"model": "m", "messages": [{"role": "user", "content": "hello"}]}"#;
///     http::Request::post("/v1/chat/completions").body(body.to_owned()).unwrap()
/// };
/// let reset = mock.call(request()).await.unwrap_err();
/// assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
/// assert_eq!(mock.call(request()).await.unwrap().status(), 200);
/// assert_eq!(mock.stats().retries, 1);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Mock {
    shared: Arc<Shared>,
}

impl Mock {
    pub(crate) fn new(config: Config) -> Self {
        Self { shared: Arc::new(Shared::new(config)) }
    }

    /// Returns what the mock has seen so far.
    pub fn stats(&self) -> Stats {
        self.shared.ledger().stats()
    }

    /// Returns what the mock has seen of one prompt so far: zeros for an unknown one.
    pub fn prompt(&self, prompt: &str) -> PromptStats {
        self.shared.ledger().prompt(draw::key(prompt))
    }

    /// Clears the stats, fills the limits and restarts the mock's time. Requests in flight stay in flight.
    pub fn reset(&self) {
        self.shared.reset();
    }

    pub(crate) fn refusing(&self) -> (bool, impl Future<Output = ()> + Send) {
        self.shared.refusing()
    }

    pub(crate) fn count_connection(&self) {
        self.shared.ledger().count_connection();
    }
}

impl<B> Service<Request<B>> for Mock
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let shared = Arc::clone(&self.shared);
        ResponseFuture { inner: Box::pin(serve::respond(shared, request)) }
    }
}

/// The future of an answer of a [`Mock`].
#[expect(unnameable_types, reason = "callers name it as the service's `Future`")]
pub struct ResponseFuture {
    inner: Pin<Box<dyn Future<Output = io::Result<Response<Body>>> + Send>>,
}

impl Future for ResponseFuture {
    type Output = io::Result<Response<Body>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
