//! What happens between two attempts: the failed response is got rid of, and time passes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::Outcome;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A failed response is got rid of within this time, or dropped.
const LONGEST_DISCARD: Duration = Duration::from_secs(1);

pin_project! {
    /// The time from a failure to the next attempt.
    pub(crate) struct Between<D, R> {
        #[pin]
        state: State<D>,
        until: Instant,
        // What is handed out after all if the wait is cancelled.
        failed: Option<Failed<R>>,
    }
}

struct Failed<R> {
    result: R,
    outcome: Outcome,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// How the time between two attempts ends.
pub(crate) enum Turn<R> {
    /// The next attempt may begin. With what had failed and was kept so far.
    Over(Option<(R, Outcome)>),
    /// The wait was cancelled: this is what had failed.
    Cancelled(R, Outcome),
}

pin_project! {
    #[project = StateProj]
    enum State<D> {
        // The failed response is got rid of, at the latest until `latest`.
        Discarding { #[pin] discarding: D, #[pin] limit: Option<Sleep>, latest: Instant },
        // The time of the next attempt has not come.
        Waiting { #[pin] sleep: Sleep },
        // It has.
        Over,
    }
}

impl<D: Future<Output = ()>, R> Between<D, R> {
    /// Gets rid of a response first, so that the next attempt begins before `deadline`.
    pub(crate) fn discarding(discarding: D, now: Instant, deadline: Option<Instant>, until: Instant) -> Self {
        let latest = now + LONGEST_DISCARD;
        // Where time is short, the next attempt is worth more than a connection.
        let is_short = deadline.is_some_and(|deadline| deadline <= latest);
        let latest = if is_short { until.min(latest) } else { latest };
        Self {
            state: State::Discarding { discarding, limit: None, latest },
            until,
            failed: None,
        }
    }

    /// Only waits.
    pub(crate) fn waiting(until: Instant) -> Self {
        Self { state: State::until(until), until, failed: None }
    }

    /// Waits, and keeps what failed for the case that `token` is cancelled meanwhile.
    pub(crate) fn cancellable(
        failed: R,
        outcome: Outcome,
        token: &CancellationToken,
        until: Instant,
    ) -> Self {
        let cancelled = Box::pin(token.clone().cancelled_owned());
        let failed = Failed { result: failed, outcome, cancelled };
        Self { failed: Some(failed), ..Self::waiting(until) }
    }

    /// Once it is over, it stays so.
    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn<R>> {
        let mut this = self.project();
        // Discarding → Waiting.
        if let StateProj::Discarding { discarding, mut limit, latest } = this.state.as_mut().project() {
            // The limit is set only where the response is not gone at once, which it mostly is: a
            // timer costs something.
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
        // Waiting → Over, or the end where the wait is cancelled.
        if let StateProj::Waiting { sleep } = this.state.as_mut().project() {
            if let Some(failed) = this.failed
                && failed.cancelled.as_mut().poll(cx).is_ready()
                && let Some(Failed { result, outcome, .. }) = this.failed.take()
            {
                return Poll::Ready(Turn::Cancelled(result, outcome));
            }
            ready!(sleep.poll(cx));
            this.state.set(State::Over);
        }
        Poll::Ready(Turn::Over(this.failed.take().map(|failed| (failed.result, failed.outcome))))
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
