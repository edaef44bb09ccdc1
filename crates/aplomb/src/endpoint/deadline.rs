//! The deadline of a call, waits and retries included.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{BoxError, CallOptions, Outcome, Refused, Replay, RequestHead};
use aplomb_retry::{Discard, ResponseFuture};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

/// Ends a call at its deadline: that of its [`CallOptions`], or a time after it began, whichever is
/// earlier.
///
/// The layers inside see the deadline in the call's options: what can not end in time is not begun.
/// A call without a deadline has no timer.
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
    after: Option<Duration>,
}

impl<S> Deadline<S> {
    pub(super) const fn new(inner: S, after: Option<Duration>) -> Self {
        Self { inner, after }
    }
}

impl<S, Req> Service<Req> for Deadline<S>
where
    S: Service<Req, Error = BoxError>,
    S::Future: Account,
    Req: RequestHead,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let mut options = CallOptions::of(&request);
        if self.after.is_none() && options.deadline().is_none() {
            return DeadlineFuture { call: self.inner.call(request), alarm: None };
        }
        let began = Instant::now();
        if let Some(deadline) = self.after.and_then(|after| began.checked_add(after)) {
            options = options.with_deadline(deadline);
        }
        if let Some(extensions) = request.extensions_mut() {
            extensions.insert(options);
            extensions.insert(Began(began));
        }
        let alarm = options.deadline().map(|deadline| Alarm { sleep: sleep_until(deadline), began });
        DeadlineFuture { call: self.inner.call(request), alarm }
    }
}

/// When a call with a deadline began: it travels in the request's extensions.
#[derive(Clone, Copy, Debug)]
struct Began(Instant);

/// What an attempt knows of its call.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallSoFar {
    began: Instant,
    options: CallOptions,
}

impl CallSoFar {
    /// Reads what the request tells, of an attempt that begins now.
    pub(super) fn of<Req: RequestHead>(request: &Req, now: Instant) -> Self {
        let began = request.extensions().and_then(|found| found.get::<Began>());
        Self { began: began.map_or(now, |began| began.0), options: CallOptions::of(request) }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.options.deadline()
    }
}

/// What can be told of a call that has not ended.
pub trait Account {
    /// How many attempts have begun, and what the last one that ended came to.
    fn attempts(&self) -> (u32, Option<Outcome>);
}

impl<S, Req, K, C, B, D, O> Account for ResponseFuture<S, Req, K, C, B, D, O>
where
    S: Service<K::Sent>,
    K: Replay<Req>,
    D: Discard<S::Response>,
{
    fn attempts(&self) -> (u32, Option<Outcome>) {
        (self.attempts(), self.last())
    }
}

pin_project! {
    struct Alarm {
        #[pin]
        sleep: Sleep,
        began: Instant,
    }
}

pin_project! {
    /// The future of a call with a deadline.
    pub struct DeadlineFuture<F> {
        #[pin]
        call: F,
        #[pin]
        alarm: Option<Alarm>,
    }
}

impl<F, T> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<T, BoxError>> + Account,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if let Poll::Ready(answer) = this.call.as_mut().poll(cx) {
            return Poll::Ready(answer);
        }
        let Some(alarm) = this.alarm.as_pin_mut().map(Alarm::project) else {
            return Poll::Pending;
        };
        ready!(alarm.sleep.poll(cx));
        let (attempts, last) = this.call.attempts();
        let refused = Refused::by(DeadlinePassed::WHO).with_attempts(attempts, last);
        Poll::Ready(Err(DeadlinePassed { elapsed: alarm.began.elapsed(), refused }.into()))
    }
}

impl<F> fmt::Debug for DeadlineFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineFuture")
            .field("deadline", &self.alarm.is_some())
            .finish_non_exhaustive()
    }
}

/// A call did not end before its deadline. An attempt that was under way has been dropped.
///
/// It is the error of the call, or, where an answer has begun to reach the caller, the error that the
/// body of the answer ends with.
///
/// Its `source()` is the [`Refused`] that everything which ends a call on this side shares; the attempt
/// under way counts among its attempts.
#[derive(Clone, Debug)]
pub struct DeadlinePassed {
    elapsed: Duration,
    refused: Refused,
}

impl DeadlinePassed {
    /// The name under which [`Refused::who`] tells of a deadline.
    pub const WHO: &'static str = "deadline";

    /// The deadline passed while the answer of an attempt was read.
    pub(super) fn in_body(call: &CallSoFar) -> Self {
        let CallSoFar { began, options } = call;
        let refused = Refused::by(Self::WHO).with_attempts(options.attempts() + 1, options.last());
        Self { elapsed: began.elapsed(), refused }
    }

    /// How long the call had taken.
    #[must_use]
    pub const fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

impl fmt::Display for DeadlinePassed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the call's deadline passed after {:.1?}", self.elapsed)
    }
}

impl Error for DeadlinePassed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.refused)
    }
}
