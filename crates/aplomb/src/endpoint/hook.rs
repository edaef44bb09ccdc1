//! The hook that changes each request just before it is sent.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{BoxError, CallOptions, CurrentCall, InMemory};
use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderMap, Method, Uri};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use super::attempt_request::AttemptRequest;
use crate::context::CallContext;

/// Changes the head of each attempt just before it is sent, after all waiting: for short-lived tokens and for
/// signing.
///
/// A closure `Fn(OutgoingRequest) -> impl Future<Output = Result<OutgoingRequest, BoxError>>` is one, see
/// [`EndpointLayer::request_hook`](crate::EndpointLayer::request_hook). Each retry starts again with the head
/// that the caller made. The body can be read if it is in memory; it cannot be changed.
///
/// An **error** ends the call with [`HookFailed`], without a retry: nothing was sent, nothing is charged, and the
/// circuit does not count it. So does a hook that takes longer than the policy's
/// [`head_timeout`](crate::Policy::head_timeout). **Dropping** the call drops the hook's future.
pub trait RequestHook: Send + Sync {
    /// Returns the request head that will be sent.
    fn before_send(&self, outgoing: OutgoingRequest) -> HookFuture;
}

type HookFuture = Pin<Box<dyn Future<Output = Result<OutgoingRequest, BoxError>> + Send>>;

impl<F, T> RequestHook for F
where
    F: Fn(OutgoingRequest) -> T + Send + Sync,
    T: Future<Output = Result<OutgoingRequest, BoxError>> + Send + 'static,
{
    fn before_send(&self, outgoing: OutgoingRequest) -> HookFuture {
        Box::pin(self(outgoing))
    }
}

/// The head of a request that is about to be sent.
///
/// `Debug` shows the method and the path, but no headers.
pub struct OutgoingRequest {
    parts: Parts,
    body: Option<Bytes>,
    attempt: u32,
}

impl OutgoingRequest {
    /// The number of the attempt; the first is 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.parts.method
    }

    /// The URI.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.parts.uri
    }

    /// The URI, mutable.
    pub const fn uri_mut(&mut self) -> &mut Uri {
        &mut self.parts.uri
    }

    /// The headers.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The headers, mutable.
    pub const fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.parts.headers
    }

    /// The extensions.
    #[must_use]
    pub const fn extensions(&self) -> &Extensions {
        &self.parts.extensions
    }

    /// The extensions, mutable.
    pub const fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.parts.extensions
    }

    /// The body if it is in memory; `None` if it is a stream.
    #[must_use]
    pub const fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }
}

impl fmt::Debug for OutgoingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingRequest")
            .field("method", &self.parts.method)
            .field("path", &self.parts.uri.path())
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// Runs a hook, before anything of the client is held for the request.
    pub(crate) struct Hooking<A> {
        hook: HookFuture,
        #[pin]
        timeout: Sleep,
        longest: Duration,
        // The hook does not get these.
        rest: Option<Rest<A>>,
    }
}

struct Rest<A> {
    body: A,
    call: CallContext,
}

impl<A: Body + Clone> Hooking<A> {
    pub(super) fn new(hook: &dyn RequestHook, longest: Duration, attempt: AttemptRequest<A>) -> Self {
        let number = CallOptions::of(&attempt).attempts().saturating_add(1);
        let AttemptRequest { request, call } = attempt;
        let bytes = request.body_bytes();
        let (parts, body) = request.into_parts();
        let outgoing = OutgoingRequest { parts, body: bytes, attempt: number };
        Self {
            hook: apart(|| hook.before_send(outgoing)),
            timeout: sleep(longest),
            longest,
            rest: Some(Rest { body, call }),
        }
    }
}

impl<A> Future for Hooking<A> {
    type Output = Result<AttemptRequest<A>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Poll::Ready(done) = apart(|| this.hook.as_mut().poll(cx)) else {
            ready!(this.timeout.poll(cx));
            return Poll::Ready(Err(HookFailed::timed_out(*this.longest).into()));
        };
        let outgoing = done.map_err(HookFailed::returned)?;
        let Some(Rest { body, call }) = this.rest.take() else {
            panic!("polled after it was ready");
        };
        let request = http::Request::from_parts(outgoing.parts, body);
        Poll::Ready(Ok(AttemptRequest { request, call }))
    }
}

/// Calls that a hook makes are not part of the call it is run for: they have their own retries and options.
fn apart<T>(step: impl FnOnce() -> T) -> T {
    let _cleared = CurrentCall::none();
    CallOptions::new().sync_scope(step)
}

/// A [`RequestHook`] failed or took too long. Nothing was sent.
///
/// Its `source()` is the error that the hook returned.
#[derive(Debug)]
pub struct HookFailed(HookFailure);

#[derive(Debug)]
enum HookFailure {
    Returned(BoxError),
    TimedOut(Duration),
}

impl HookFailed {
    pub(super) fn returned(error: BoxError) -> Self {
        Self(HookFailure::Returned(error))
    }

    pub(super) const fn timed_out(after: Duration) -> Self {
        Self(HookFailure::TimedOut(after))
    }
}

impl fmt::Display for HookFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HookFailure::Returned(_) => f.write_str("request hook failed, nothing was sent"),
            HookFailure::TimedOut(after) => {
                write!(f, "request hook timed out after {after:?}, nothing was sent")
            }
        }
    }
}

impl Error for HookFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            HookFailure::Returned(error) => Some(&**error),
            HookFailure::TimedOut(_) => None,
        }
    }
}
