//! The mock as a service, in process.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::time::Instant;
use tower_service::Service;

use crate::api::Origin;
use crate::clock::Clock;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::line::Line;
use crate::{Body, Builder, PromptStats, Stats, draw, serve};

/// An AI provider in process: a [`Service`] from HTTP requests to HTTP responses.
///
/// Clones share everything. It is always ready, and all its time is tokio's, so it runs in paused time. What would happen to
/// a connection happens to the call: a reset is an [`io::Error`] of kind `ConnectionReset`, a hang never resolves, a
/// truncated body fails in mid-body. Dropping a call or a body is a client going away.
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

/// What the clones of a mock share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) line: Option<Arc<Line>>,
    clock: Clock,
    replies: AtomicU64,
    ledger: Mutex<Ledger>,
}

impl Shared {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing in the ledger is left half-done by a panic.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn origin(&self) -> Origin {
        let id = self.replies.fetch_add(1, Ordering::Relaxed);
        Origin { id, date: self.clock.date(Instant::now()) }
    }
}

impl Mock {
    /// Starts setting up a mock.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(config: Config) -> Self {
        let shared = Shared {
            line: config.capacity.map(Line::new),
            clock: Clock::new(),
            replies: AtomicU64::new(1),
            ledger: Mutex::new(Ledger::new(&config)),
            config,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Returns what it has seen so far.
    pub fn stats(&self) -> Stats {
        self.shared.ledger().stats()
    }

    /// Returns what it has seen of one prompt so far: zeros for one it does not know.
    pub fn prompt(&self, prompt: &str) -> PromptStats {
        self.shared.ledger().prompt(draw::key(prompt))
    }

    /// Forgets what it has seen, fills the limits and starts time anew; what is in flight stays so.
    pub fn reset(&self) {
        self.shared.ledger().reset(&self.shared.config);
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

/// The future of a [`Mock`]'s answer.
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
