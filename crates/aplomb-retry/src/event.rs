//! What happened to a call: told to an observer, and noted on the response.

use std::fmt;
use std::time::Duration;

use aplomb_core::Outcome;

/// What a [`Retry`](crate::Retry) tells its observer. Attempts count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An attempt begins; before a retry, the wait is over.
    #[non_exhaustive]
    Started {
        /// Which attempt.
        attempt: u32,
        /// How long the call has waited between its attempts so far.
        waited: Duration,
    },
    /// An attempt ended, well or badly.
    #[non_exhaustive]
    Ended {
        /// Which attempt.
        attempt: u32,
        /// What it came to.
        outcome: Outcome,
    },
    /// The request will be sent again.
    #[non_exhaustive]
    Waiting {
        /// The attempt that failed.
        attempt: u32,
        /// What it came to.
        outcome: Outcome,
        /// How long the call waits, counted from the failure.
        wait: Duration,
    },
    /// The call failed: its caller gets what the last attempt came to.
    #[non_exhaustive]
    GaveUp {
        /// How many attempts were made.
        attempts: u32,
        /// What the last one came to.
        outcome: Outcome,
        /// How long the call waited between its attempts.
        waited: Duration,
        /// Why there was no further one.
        stopped: Stopped,
    },
    /// The call succeeded, not at the first attempt.
    #[non_exhaustive]
    Recovered {
        /// How many attempts were made.
        attempts: u32,
        /// How long the call waited between its attempts.
        waited: Duration,
    },
}

/// Why a call was not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stopped {
    /// It would fail again, or the server forbade it, or one of our own gates refused the call.
    NotRetryable,
    /// It has been sent again as often as allowed.
    MaxRetries,
    /// There is not enough time before the deadline.
    Deadline,
    /// The backoff has no further wait: a list that is used up.
    BackoffEnded,
    /// The server asked to wait for longer than `max_retry_after`.
    HintTooLong,
    /// The request can not be sent twice, or grew past what may be recorded.
    CannotReplay,
    /// The request must not be sent twice, or not after this failure: see
    /// [`repeatable`](crate::RetryLayer::repeatable).
    NotRepeatable,
    /// The budget had nothing left.
    Budget,
    /// A condition of the caller's own: see [`stop`](crate::RetryLayer::stop).
    Condition,
    /// The cancellation token was cancelled.
    Cancelled,
    /// A retry layer outside of this one does the retrying.
    Nested,
    /// The caller asked for a single attempt.
    Disallowed,
    /// The inner service is finished: its `poll_ready` failed.
    NotReady,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRetryable => "not retryable",
            Self::MaxRetries => "retries used up",
            Self::Deadline => "no time left before the deadline",
            Self::BackoffEnded => "the backoff has ended",
            Self::HintTooLong => "the server asked to wait for too long",
            Self::CannotReplay => "the request can not be sent twice",
            Self::NotRepeatable => "the request must not be sent twice",
            Self::Budget => "the retry budget is used up",
            Self::Condition => "a stop condition was met",
            Self::Cancelled => "cancelled",
            Self::Nested => "left to the retry layer outside",
            Self::Disallowed => "retries not allowed",
            Self::NotReady => "the inner service is finished",
        })
    }
}

/// How a call went: in the extensions of its response, unless the first attempt succeeded, or a retry
/// layer outside decides, whose account it is then.
///
/// # Examples
///
/// ```
/// use aplomb_retry::Retried;
///
/// fn log<B>(response: &http::Response<B>) {
///     if let Some(retried) = response.extensions().get::<Retried>() {
///         println!("{} attempts, waited {:?}", retried.attempts(), retried.waited());
///     }
/// }
/// # log(&http::Response::new(()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retried {
    pub(crate) attempts: u32,
    pub(crate) waited: Duration,
    pub(crate) stopped: Option<Stopped>,
}

impl Retried {
    /// How many attempts were made.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long the call waited between its attempts.
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// Why there was no further attempt; `None` if the last one succeeded.
    pub const fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }
}
