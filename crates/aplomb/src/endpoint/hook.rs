//! What is done to a request just before it is sent.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{BoxError, InMemory};
use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderMap, Method, Uri};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

/// Changes the head of each attempt just before it is sent, after all waiting: for tokens that live shortly,
/// and for signing.
///
/// A closure `Fn(Outgoing) -> impl Future<Output = Result<Outgoing, BoxError>>` is one, see
/// [`EndpointLayer::request_hook`](crate::EndpointLayer::request_hook). Every retry is a new attempt, with the
/// head as the caller made it. The body is there to be read where it is in memory; it can not be changed.
///
/// **Errors** end the call with [`HookFailed`], without a retry: nothing was sent, nothing is charged, and
/// the circuit does not count it. So does a hook that takes longer than the policy's
/// [`head_timeout`](crate::Policy::head_timeout). **Dropping** the call drops the hook's future.
pub trait RequestHook: Send + Sync {
    /// Makes of what is about to be sent what is sent.
    fn before_send(&self, outgoing: Outgoing) -> HookFuture;
}

/// What a [`RequestHook`] returns.
pub type HookFuture = Pin<Box<dyn Future<Output = Result<Outgoing, BoxError>> + Send>>;

impl<F, T> RequestHook for F
where
    F: Fn(Outgoing) -> T + Send + Sync,
    T: Future<Output = Result<Outgoing, BoxError>> + Send + 'static,
{
    fn before_send(&self, outgoing: Outgoing) -> HookFuture {
        Box::pin(self(outgoing))
    }
}

/// The head of a request that is about to be sent.
///
/// `Debug` shows the method and the path, and no header.
pub struct Outgoing {
    parts: Parts,
    body: Option<Bytes>,
    attempt: u32,
}

impl Outgoing {
    /// Which attempt it is; the first is 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.parts.method
    }

    /// The address.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.parts.uri
    }

    /// The address, to be changed.
    pub const fn uri_mut(&mut self) -> &mut Uri {
        &mut self.parts.uri
    }

    /// The headers.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The headers, to be changed.
    pub const fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.parts.headers
    }

    /// The extensions.
    #[must_use]
    pub const fn extensions(&self) -> &Extensions {
        &self.parts.extensions
    }

    /// The extensions, to be changed.
    pub const fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.parts.extensions
    }

    /// The body, where it is in memory; `None` where it is a stream.
    #[must_use]
    pub const fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("method", &self.parts.method)
            .field("path", &self.parts.uri.path())
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// A request in the hands of a hook; then the service is readied that sends it.
    pub(super) struct Hooked<S, A> {
        hook: HookFuture,
        #[pin]
        patience: Sleep,
        longest: Duration,
        body: Option<A>,
        service: Option<S>,
        changed: Option<http::Request<A>>,
    }
}

impl<S: Clone, A: Body + Clone> Hooked<S, A> {
    pub(super) fn new(
        hook: &dyn RequestHook,
        request: http::Request<A>,
        attempt: u32,
        longest: Duration,
        service: &S,
    ) -> Self {
        let bytes = request.body_bytes();
        let (parts, body) = request.into_parts();
        Self {
            hook: hook.before_send(Outgoing { parts, body: bytes, attempt }),
            patience: sleep(longest),
            longest,
            body: Some(body),
            service: Some(service.clone()),
            changed: None,
        }
    }
}

impl<S, A> Future for Hooked<S, A>
where
    S: Service<http::Request<A>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<(S, http::Request<A>), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(body) = this.body.take() {
            let Poll::Ready(done) = this.hook.as_mut().poll(cx) else {
                *this.body = Some(body);
                ready!(this.patience.as_mut().poll(cx));
                return Poll::Ready(Err(HookFailed::took_longer(*this.longest).into()));
            };
            let outgoing = done.map_err(HookFailed::returned)?;
            *this.changed = Some(http::Request::from_parts(outgoing.parts, body));
        }
        let Some(service) = this.service else {
            panic!("polled after it was ready");
        };
        ready!(service.poll_ready(cx)).map_err(Into::into)?;
        match (this.service.take(), this.changed.take()) {
            (Some(service), Some(request)) => Poll::Ready(Ok((service, request))),
            _ => panic!("polled after it was ready"),
        }
    }
}

/// A [`RequestHook`] failed, or took too long: nothing was sent.
///
/// Its `source()` is what the hook returned.
#[derive(Debug)]
pub struct HookFailed(Why);

#[derive(Debug)]
enum Why {
    Returned(BoxError),
    TookLonger(Duration),
}

impl HookFailed {
    pub(super) fn returned(error: BoxError) -> Self {
        Self(Why::Returned(error))
    }

    pub(super) const fn took_longer(than: Duration) -> Self {
        Self(Why::TookLonger(than))
    }
}

impl fmt::Display for HookFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Returned(_) => f.write_str("the request hook failed, nothing was sent"),
            Why::TookLonger(than) => {
                write!(f, "the request hook did not end within {than:?}, nothing was sent")
            }
        }
    }
}

impl Error for HookFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Why::Returned(error) => Some(&**error),
            Why::TookLonger(_) => None,
        }
    }
}
