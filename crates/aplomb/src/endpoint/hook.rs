//! What is done to a request just before it is sent.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{BoxError, CallOptions, InMemory, RetryMark};
use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderMap, Method, Uri};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use super::outbound::{Known, Outbound};

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
    /// A request in the hands of a hook, before anything of the client is held for it.
    pub(crate) struct Hooking<A> {
        hook: HookFuture,
        #[pin]
        patience: Sleep,
        longest: Duration,
        // What is not in the hands of the hook.
        rest: Option<(A, Known)>,
    }
}

impl<A: Body + Clone> Hooking<A> {
    pub(super) fn new(hook: &dyn RequestHook, outbound: Outbound<A>, longest: Duration) -> Self {
        let attempt = CallOptions::of(&outbound).attempts().saturating_add(1);
        let Outbound { request, known } = outbound;
        let bytes = request.body_bytes();
        let (parts, body) = request.into_parts();
        let outgoing = Outgoing { parts, body: bytes, attempt };
        Self {
            hook: apart(|| hook.before_send(outgoing)),
            patience: sleep(longest),
            longest,
            rest: Some((body, known)),
        }
    }
}

impl<A> Future for Hooking<A> {
    type Output = Result<Outbound<A>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Poll::Ready(done) = apart(|| this.hook.as_mut().poll(cx)) else {
            ready!(this.patience.poll(cx));
            return Poll::Ready(Err(HookFailed::took_longer(*this.longest).into()));
        };
        let outgoing = done.map_err(HookFailed::returned)?;
        let Some((body, known)) = this.rest.take() else {
            panic!("polled after it was ready");
        };
        let request = http::Request::from_parts(outgoing.parts, body);
        Poll::Ready(Ok(Outbound { request, known }))
    }
}

/// What a hook calls is no part of the call that it is run for: it is retried by itself, and has no options.
fn apart<T>(step: impl FnOnce() -> T) -> T {
    let _cleared = RetryMark::clear();
    CallOptions::new().sync_scope(step)
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
