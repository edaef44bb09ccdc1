//! How long a queue may get, and how long a call waits in it.

use std::time::Duration;

use aplomb_core::{CallOptions, Priority};
use tokio::time::Instant;

use crate::Hints;

/// The limits of a [`Queue`](crate::Queue).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct QueueLimits {
    pub(super) max_waiting: usize,
    pub(super) max_wait: Option<Duration>,
    pub(super) ageing: Duration,
}

impl QueueLimits {
    /// At most 65,536 callers wait, as long as their own deadlines allow; a level of priority is worth 30 seconds of
    /// waiting.
    pub const fn new() -> Self {
        Self { max_waiting: 65_536, max_wait: None, ageing: Duration::from_secs(30) }
    }

    /// Sets how many callers may wait; one more is rejected immediately. 0: nobody waits.
    pub const fn max_waiting(mut self, callers: usize) -> Self {
        self.max_waiting = callers;
        self
    }

    /// Sets how long a caller may wait. One that would wait longer is rejected immediately if that can be predicted, and
    /// at the timeout otherwise. Zero: nobody waits.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Sets what a level of priority is worth: a caller goes before those of the next level that arrived less than this
    /// long before it. So urgent calls go first, and no call waits forever.
    pub const fn ageing(mut self, ageing: Duration) -> Self {
        self.ageing = ageing;
        self
    }

    /// The last instant at which a caller still wants to be admitted.
    pub(super) fn gives_up(&self, wait: Wait, now: Instant, hints: Hints) -> Option<Instant> {
        // A call admitted at its deadline has no time left to be made. The expected latency is a guess, and takes no
        // more than half of the time that is left.
        let deadline = wait.deadline.map(|at| {
            let time = at.saturating_duration_since(now);
            let kept = hints.expected_latency.min(time / 2).max(Duration::from_nanos(1));
            at.checked_sub(kept).unwrap_or(at)
        });
        let longest = self.max_wait.into_iter().chain(hints.max_wait).min();
        let longest = longest.and_then(|wait| now.checked_add(wait));
        deadline.into_iter().chain(longest).min()
    }
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// One caller, as far as the queue has to know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Wait {
    pub(super) deadline: Option<Instant>,
    pub(super) priority: Priority,
    pub(super) arrived: Option<Instant>,
    /// True if an earlier attempt of the call has been admitted.
    pub(super) is_retry: bool,
}

impl From<&CallOptions> for Wait {
    #[inline]
    fn from(options: &CallOptions) -> Self {
        Self {
            deadline: options.deadline(),
            priority: options.priority(),
            arrived: options.arrived(),
            is_retry: options.attempts() > 0,
        }
    }
}

/// The effect of closing on callers that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closing {
    /// They are served as before; only new callers are rejected.
    Drain,
    /// They are rejected as well.
    Fail,
}
