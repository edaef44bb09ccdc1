//! A gate decides and never waits.

use std::task::Waker;
use std::time::Duration;

use aplomb_core::{Outcome, Reading, Usage};
use tokio::time::Instant;

/// A state machine that decides whether a call may go now.
///
/// Quotas, circuits and concurrency limits are gates. A gate does not wait, takes no lock and reads no clock: the
/// [`Queue`](crate::Queue) before it calls it under its own lock, passes the time and does all the waiting.
///
/// [`check`](Gate::check) takes nothing; [`admit`](Gate::admit) follows only after [`Decision::Admit`], in the same
/// critical section. So a composition of gates that checks all before it admits to any is all or nothing, and holds
/// nothing of one while it waits for another.
///
/// No method has a default: a composition that forgets to forward one does not compile.
pub trait Gate: Send + 'static {
    /// The cost of a call; `()` if all calls are alike.
    type Cost: Send + 'static;

    /// The reservation of an admitted call, until it ends.
    type Token: Send + 'static;

    /// Why a caller has to wait or is rejected. Cheap to make: one is made for every caller that waits.
    type Reason: Send + 'static;

    /// An event for observers; `Infallible` where there is none.
    type Event: Send + 'static;

    /// Decides whether a call of this cost may go at `now`. Takes nothing, but may note that time has passed.
    fn check(&mut self, cost: &Self::Cost, now: Instant) -> Decision<Self::Reason>;

    /// Takes the cost. Called right after `check` admitted it, with the same `now`.
    fn admit(&mut self, cost: &Self::Cost, now: Instant) -> Self::Token;

    /// Notes the progress of an admitted call.
    fn on(&mut self, token: &mut Self::Token, progress: Progress<'_>, now: Instant);

    /// Notes how an admitted call ended. Called exactly once for every token, whatever happens.
    fn end(&mut self, token: Self::Token, end: End, now: Instant);

    /// Predicts the earliest instant at which the last of `costs` could be admitted if they are admitted in this
    /// order; `None` if that is not known.
    ///
    /// The queue uses it to reject a call immediately if its deadline would pass while it waits.
    fn forecast(&mut self, costs: &mut dyn Iterator<Item = &Self::Cost>, now: Instant) -> Option<Instant>;

    /// Hints for the queue when it makes a caller wait. Not called for calls that go at once.
    fn hints(&self) -> Hints;

    /// Takes the oldest event that no observer has seen.
    fn next_event(&mut self) -> Option<Self::Event>;

    /// The gate as one that shares its capacity with other queues; `None` if it is this queue's alone.
    fn pooled(&mut self) -> Option<&mut dyn PooledGate<Self::Cost, Self::Reason>>;
}

/// A gate that shares its capacity with other queues: what it admits may be gone between `check` and `admit`.
pub trait PooledGate<Cost, Reason> {
    /// Takes what `check` has just admitted, for the `admit` that follows, or decides otherwise if it is gone.
    /// Called when every gate of a composition has admitted.
    fn reserve(&mut self, cost: &Cost, now: Instant) -> Decision<Reason>;

    /// Registers the caller at the head of the queue as waiting for this gate alone: until this instant, or for a
    /// release. A caller that is not registered waits for another gate.
    fn register_waiter(&mut self, cost: &Cost, until: Option<Instant>, reason: &Reason, now: Instant);

    /// Ends a critical section of the queue, in which the gate may have been asked and told.
    ///
    /// While callers wait, `ask_again` makes a waker that makes the queue ask again; wake it outside of all locks.
    /// The wakers added to `woken` are woken when the queue's lock has been released.
    fn end_section(&mut self, ask_again: Option<&dyn Fn() -> Waker>, woken: &mut Vec<Waker>);
}

/// The decision of a gate about one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<R> {
    /// Go.
    Admit,
    /// Not before this instant, which is later than now. Later calls may move it.
    NotBefore(Instant, R),
    /// When a call in flight has ended.
    WhenReleased(R),
    /// Not at all.
    Reject(R),
}

impl<R> Decision<R> {
    /// Returns whether the call may go.
    pub const fn is_admit(&self) -> bool {
        matches!(self, Self::Admit)
    }

    /// Returns whether the call waits for another to end.
    pub const fn is_when_released(&self) -> bool {
        matches!(self, Self::WhenReleased(_))
    }

    /// Changes the reason.
    #[inline]
    pub fn map<S>(self, change: impl FnOnce(R) -> S) -> Decision<S> {
        match self {
            Self::Admit => Decision::Admit,
            Self::NotBefore(at, reason) => Decision::NotBefore(at, change(reason)),
            Self::WhenReleased(reason) => Decision::WhenReleased(change(reason)),
            Self::Reject(reason) => Decision::Reject(change(reason)),
        }
    }

    /// The decision of two gates, both of which have to admit.
    ///
    /// A rejection by either rejects, and `other` is not asked after a rejection. The later of two instants counts.
    /// A call that waits for a release of one gate and an instant of the other waits until the instant, and is
    /// checked again then.
    #[inline]
    #[must_use]
    pub fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            // Nearly always.
            Self::Admit => return other(),
            Self::Reject(_) => return self,
            _ => {}
        }
        match (self, other()) {
            (_, rejected @ Self::Reject(_)) => rejected,
            (decision, Self::Admit) => decision,
            (Self::NotBefore(first, reason), Self::NotBefore(second, _)) if first >= second => {
                Self::NotBefore(first, reason)
            }
            (_, not_before @ Self::NotBefore(..)) | (not_before @ Self::NotBefore(..), _) => not_before,
            (when_released, _) => when_released,
        }
    }
}

/// The progress of an admitted call.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// The call is sent now, which is later than its admission. The server's time begins.
    Sent,
    /// The first content of the response has arrived.
    FirstByte,
    /// The head of the response says this about the server's own limits.
    Limits(&'a [Reading]),
    /// The response had consumed this much when its caller went away; the end follows.
    Usage(Usage),
}

/// Hints of a gate for the queue that makes a caller wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// When a call in flight will be given up without having ended, as a lease that expires: the queue asks again
    /// then, also if the caller at its head waits for a release.
    pub next_wakeup: Option<Instant>,
    /// How long a call that goes now probably takes until its response; zero if that is not known.
    ///
    /// A waiting caller gives up this long before its deadline: admitted any later, its call would be dropped
    /// halfway; and if all wait for one call to succeed, as before a half-open circuit, callers that are admitted at
    /// the last moment would fail one after the other.
    pub expected_latency: Duration,
    /// The longest wait before this gate, in addition to the limits of the queue. A composition has none, since its
    /// callers may wait for another gate.
    pub max_wait: Option<Duration>,
}

/// How an admitted call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// It was never sent: the caller went away before, or an inner layer rejected it.
    Unsent,
    /// It was sent, and the caller did not wait for its end.
    Abandoned,
    /// It was sent and judged.
    Judged {
        /// The outcome.
        outcome: Outcome,
        /// Its usage, if that is known.
        usage: Option<Usage>,
    },
}

#[cfg(test)]
mod tests {
    use super::Decision::{Admit, NotBefore, Reject, WhenReleased};
    use super::*;

    #[test]
    fn two_gates_admit_together_or_not_at_all() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let latest = now + Duration::from_secs(2);
        for (first, second, expected) in [
            (Admit, Admit, Admit),
            (Admit, NotBefore(later, 2), NotBefore(later, 2)),
            (NotBefore(latest, 1), NotBefore(later, 2), NotBefore(latest, 1)),
            (NotBefore(later, 1), NotBefore(latest, 2), NotBefore(latest, 2)),
            (WhenReleased(1), NotBefore(later, 2), NotBefore(later, 2)),
            (WhenReleased(1), WhenReleased(2), WhenReleased(1)),
            (WhenReleased(1), Admit, WhenReleased(1)),
            (Reject(1), Admit, Reject(1)),
            (NotBefore(later, 1), Reject(2), Reject(2)),
        ] {
            assert_eq!(first.and(|| second), expected);
        }
    }

    #[test]
    fn a_rejection_is_final() {
        let decision: Decision<u8> = Reject(1).and(|| unreachable!("the other gate is not asked"));
        assert_eq!(decision, Reject(1));
    }
}
