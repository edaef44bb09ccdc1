//! The times of a policy: those that are set, or the defaults.

use std::time::Duration;

use aplomb_admission::QueueLimits;

use super::Policy;
use crate::endpoint::Timeouts;

/// The times that apply where none is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct DefaultTimes {
    pub(super) max_wait: Duration,
    pub(super) head: Duration,
    pub(super) content: Duration,
    pub(super) idle: Duration,
    pub(super) attempt: Duration,
    pub(super) deadline: Option<Duration>,
    /// How long a stream without content is kept from the caller.
    pub(super) patience: Duration,
}

/// Long enough for completions that think for minutes.
pub(super) const DEFAULT_TIMES: DefaultTimes = DefaultTimes {
    max_wait: Duration::from_secs(600),
    head: Duration::from_secs(600),
    content: Duration::from_secs(600),
    idle: Duration::from_secs(300),
    attempt: Duration::from_secs(60 * 60),
    deadline: None,
    patience: Duration::from_secs(30),
};

/// How much of a stream is read before its first content, or of a small response: 64 KiB.
const LOOK_AHEAD: usize = 64 * 1024;

impl Policy {
    pub(crate) fn queue_limits(&self) -> QueueLimits {
        let limits = QueueLimits::new().max_wait(self.longest_wait());
        self.max_waiting.map_or(limits, |calls| limits.max_waiting(calls))
    }

    /// How long a call may wait before an attempt.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.max_wait.unwrap_or(self.default_times.max_wait)
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        let default = self.default_times;
        Timeouts {
            head: self.head_timeout.unwrap_or(default.head),
            content: self.content_timeout.unwrap_or(default.content),
            idle: self.idle_timeout.unwrap_or(default.idle),
            attempt: self.attempt_timeout.unwrap_or(default.attempt),
            throughput: self.min_throughput,
        }
    }

    /// How long a call may take.
    pub(crate) fn effective_deadline(&self) -> Option<Duration> {
        self.deadline.or(self.default_times.deadline)
    }

    /// How much of a response, and for how long, is read before the caller gets it.
    pub(crate) fn effective_look_ahead(&self) -> (usize, Duration) {
        let patience = self.content_timeout.unwrap_or(self.default_times.patience);
        self.look_ahead.unwrap_or((LOOK_AHEAD, patience))
    }
}
