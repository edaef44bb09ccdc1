//! How long a queue may get, and how long a call waits in it.

use std::time::Duration;

use tokio::time::Instant;

use crate::Gate;
use aplomb_core::{CallOptions, Priority};

/// Bounds of a [`Queue`](crate::Queue).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct QueueLimits {
    pub(super) max_waiting: usize,
    pub(super) max_wait: Option<Duration>,
    pub(super) ageing: Duration,
}

impl QueueLimits {
    /// At most 65,536 callers wait, as long as their own deadlines allow; a level of priority is
    /// worth 30 seconds of waiting.
    pub const fn new() -> Self {
        Self { max_waiting: 65_536, max_wait: None, ageing: Duration::from_secs(30) }
    }

    /// Sets how many callers may wait; one more is refused at once. 0 means that nobody waits.
    pub const fn max_waiting(mut self, callers: usize) -> Self {
        self.max_waiting = callers;
        self
    }

    /// Sets how long a caller may wait. Who would have to wait longer is refused at once, where that
    /// can be known, and when the time is over otherwise. Zero refuses all waiting.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Sets what a level of priority is worth: a caller goes before everyone of the next level who
    /// arrived less than this long before it. So urgent calls go first, and no call waits for ever.
    pub const fn ageing(mut self, ageing: Duration) -> Self {
        self.ageing = ageing;
        self
    }

    /// The last instant at which a caller still wants to be admitted, as far as this `gate` lets it wait
    /// and is quick to be answered.
    pub(super) fn gives_up(&self, wait: Wait, now: Instant, gate: &impl Gate) -> Option<Instant> {
        let hints = gate.hints();
        // A call admitted at its deadline has no time left to be made. What it probably takes is a guess,
        // and has no say about more than half of the time that there is.
        let deadline = wait.deadline.map(|at| {
            let time = at.saturating_duration_since(now);
            let kept = hints.expected_latency.min(time / 2).max(Duration::from_nanos(1));
            at.checked_sub(kept).unwrap_or(at)
        });
        let longest = self.max_wait.into_iter().chain(hints.max_wait).min();
        let longest = longest.and_then(|wait| now.checked_add(wait));
        match (deadline, longest) {
            (Some(deadline), Some(longest)) => Some(deadline.min(longest)),
            (either, or) => either.or(or),
        }
    }
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// What a queue has to know of one caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Wait {
    pub(super) deadline: Option<Instant>,
    pub(super) priority: Priority,
    pub(super) arrived: Option<Instant>,
    /// It has been let through before, and is sent again.
    pub(super) again: bool,
}

impl From<&CallOptions> for Wait {
    #[inline]
    fn from(options: &CallOptions) -> Self {
        Self {
            deadline: options.deadline(),
            priority: options.priority(),
            arrived: options.arrived(),
            again: options.attempts() > 0,
        }
    }
}

/// What closing a queue does to those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closing {
    /// They are served as before; only new callers are refused.
    Drain,
    /// They are refused as well.
    Fail,
}

/// Why and how a caller was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected<W> {
    pub(super) reason: RejectReason,
    pub(super) gate_reason: Option<W>,
    pub(super) retry_after: Option<Duration>,
    pub(super) waited: Duration,
    pub(super) place: Option<usize>,
}

/// What turned a caller away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The gate refused it.
    Gate,
    /// The wait would have outlasted the deadline or the longest wait allowed.
    WaitTooLong,
    /// As many callers as may wait were waiting.
    QueueFull,
    /// The queue is closed.
    Closed,
    /// There are as many keys as may be, and this call's is not among them.
    TooManyKeys,
}

impl<W> Rejected<W> {
    /// Rejected away with nothing known but the reason.
    pub(crate) const fn at_once(reason: RejectReason) -> Self {
        Self {
            reason,
            gate_reason: None,
            retry_after: None,
            waited: Duration::ZERO,
            place: None,
        }
    }

    /// Refused on arrival by the gate, with so many others before it.
    #[inline]
    pub(super) const fn refused(why: W, ahead: usize) -> Self {
        Self {
            reason: RejectReason::Gate,
            gate_reason: Some(why),
            retry_after: None,
            waited: Duration::ZERO,
            place: Some(ahead),
        }
    }

    /// What turned the caller away.
    #[inline]
    pub const fn reason(&self) -> RejectReason {
        self.reason
    }

    /// What the gate said: why it refused, or what the caller would have had to wait for.
    #[inline]
    pub const fn gate_reason(&self) -> Option<&W> {
        self.gate_reason.as_ref()
    }

    /// How long from now the caller would have had to wait at least, where that is known: until its own
    /// turn on arrival, until that of the head of the line later. Gates that refuse say it in their own
    /// reason.
    #[inline]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// How long it had waited.
    #[inline]
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// How many were before it in the line, where it was turned away on arrival.
    #[inline]
    pub const fn place(&self) -> Option<usize> {
        self.place
    }

    /// Changes what the gate said, and keeps the rest.
    pub fn map<V>(self, change: impl FnOnce(W) -> V) -> Rejected<V> {
        Rejected {
            reason: self.reason,
            gate_reason: self.gate_reason.map(change),
            retry_after: self.retry_after,
            waited: self.waited,
            place: self.place,
        }
    }
}
