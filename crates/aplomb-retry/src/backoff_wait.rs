//! The time between two attempts: the failed response is discarded, then the backoff delay passes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A failed response that is not discarded within this time is dropped.
const MAX_DISCARD: Duration = Duration::from_secs(1);

pin_project! {
    /// The time from a failure to the next attempt.
    pub(crate) struct BackoffWait<D, R> {
        #[pin]
        state: State<D>,
        until: Instant,
        // Returned to the caller if the wait is cancelled.
        kept: Option<Cancellable<R>>,
    }
}

/// A failed result, kept during a wait that can be cancelled.
struct Cancellable<R> {
    result: R,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// How a wait ends.
pub(crate) enum WaitEnd<R> {
    /// The next attempt may begin. Contains the failed result if it was kept so far.
    Over(Option<R>),
    /// The wait was cancelled; the failed result goes to the caller.
    Cancelled(R),
}

pin_project! {
    #[project = StateProj]
    enum State<D> {
        // The failed response is discarded, until `latest`.
        Discarding { #[pin] discarding: D, #[pin] limit: Option<Sleep>, latest: Instant },
        // The delay passes.
        Waiting { #[pin] sleep: Sleep },
        Over,
    }
}

impl<D: Future<Output = ()>, R> BackoffWait<D, R> {
    /// Discards a response, then waits until `until`.
    pub(crate) fn discarding(discarding: D, now: Instant, deadline: Option<Instant>, until: Instant) -> Self {
        let latest = now + MAX_DISCARD;
        // When time is short, the next attempt is worth more than the connection.
        let is_short = deadline.is_some_and(|deadline| deadline <= latest);
        let latest = if is_short { until.min(latest) } else { latest };
        Self { state: State::Discarding { discarding, limit: None, latest }, until, kept: None }
    }

    /// Waits until `until`.
    pub(crate) fn waiting(until: Instant) -> Self {
        Self { state: State::until(until), until, kept: None }
    }

    /// Waits until `until`, and keeps the failed result in case `token` is cancelled meanwhile.
    pub(crate) fn cancellable(result: R, token: &CancellationToken, until: Instant) -> Self {
        let cancelled = Box::pin(token.clone().cancelled_owned());
        Self { kept: Some(Cancellable { result, cancelled }), ..Self::waiting(until) }
    }

    /// Once it is over, it stays so.
    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WaitEnd<R>> {
        let mut this = self.project();
        // Discarding → Waiting.
        if let StateProj::Discarding { discarding, mut limit, latest } = this.state.as_mut().project() {
            // Most responses are discarded at once: a timer is made only for those that are not.
            if discarding.poll(cx).is_pending() {
                if limit.is_none() {
                    limit.set(Some(sleep_until(*latest)));
                }
                if let Some(limit) = limit.as_pin_mut() {
                    ready!(limit.poll(cx));
                }
            }
            this.state.set(State::until(*this.until));
        }
        // Waiting → Over, or the end if the wait is cancelled.
        if let StateProj::Waiting { sleep } = this.state.as_mut().project() {
            if let Some(Cancellable { result, .. }) = take_if_cancelled(this.kept, cx) {
                return Poll::Ready(WaitEnd::Cancelled(result));
            }
            ready!(sleep.poll(cx));
            this.state.set(State::Over);
        }
        Poll::Ready(WaitEnd::Over(this.kept.take().map(|kept| kept.result)))
    }
}

fn take_if_cancelled<R>(kept: &mut Option<Cancellable<R>>, cx: &mut Context<'_>) -> Option<Cancellable<R>> {
    match kept.as_mut()?.cancelled.as_mut().poll(cx) {
        Poll::Ready(()) => kept.take(),
        Poll::Pending => None,
    }
}

impl<D> State<D> {
    fn until(until: Instant) -> Self {
        if until <= Instant::now() {
            Self::Over
        } else {
            Self::Waiting { sleep: sleep_until(until) }
        }
    }
}
