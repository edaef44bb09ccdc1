//! The rejection by a concurrency limit.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aplomb_admission::{RejectReason, Rejected};
use aplomb_core::{CallOptions, Event, KeyLabel, LayerName, Rejection};

/// How the slots of a limit are taken: why a call has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    pub(crate) limit: usize,
    pub(crate) in_flight: usize,
    pub(crate) abandoned: usize,
    /// The average time from the end of one call to the end of the next.
    pub(crate) between_ends: Option<Duration>,
}

/// A call was rejected by the concurrency limit. It was not sent.
///
/// Its `source()` is the [`Rejection`] that all rejections share: when to come back, how long the call waited, what was
/// tried before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtCapacity {
    reject_reason: RejectReason,
    occupancy: Option<Occupancy>,
    ahead: Option<usize>,
    key: Option<KeyLabel>,
    rejection: Rejection,
}

impl AtCapacity {
    /// The error for what the queue reported.
    #[doc(hidden)]
    #[must_use]
    pub fn new(rejected: &Rejected<Occupancy>, options: &CallOptions) -> Self {
        let occupancy = rejected.gate_reason().copied();
        let rejection = Rejection::by(LayerName::ConcurrencyLimit)
            .with_retry_after(estimate(rejected, occupancy))
            .with_waited(rejected.waited())
            .with_attempts(options.attempts(), options.last());
        Self {
            reject_reason: rejected.reason(),
            occupancy,
            ahead: rejected.place(),
            key: None,
            rejection,
        }
    }

    /// Adds the label of the call's key, if each key has a limit of its own.
    #[doc(hidden)]
    #[must_use]
    pub fn with_key(mut self, key: Option<KeyLabel>) -> Self {
        self.key = key;
        self
    }

    /// Why the call was rejected: it would have waited too long, too many calls were waiting, there was no room for its
    /// key, or the limiter was closed.
    pub const fn reject_reason(&self) -> RejectReason {
        self.reject_reason
    }

    /// The number of calls that may be in flight. Unknown if the limiter was closed, if there was no room for the key, and if
    /// the call's deadline had passed.
    pub fn limit(&self) -> Option<usize> {
        Some(self.occupancy?.limit)
    }

    /// The number of calls that were in flight. Unknown as [`limit`](Self::limit).
    pub fn in_flight(&self) -> Option<usize> {
        Some(self.occupancy?.in_flight)
    }

    /// The number of abandoned calls that counted as in flight in addition, since the peer may still be working on them.
    /// Unknown as [`limit`](Self::limit).
    pub fn abandoned(&self) -> Option<usize> {
        Some(self.occupancy?.abandoned)
    }

    /// How long from now the call would have had to wait, if that can be estimated: by how long calls last on average, and
    /// how many were ahead of it.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.rejection.retry_after()
    }

    /// The label of the call's key, if each key has a limit of its own.
    pub const fn key(&self) -> Option<&KeyLabel> {
        self.key.as_ref()
    }

    /// How many calls were waiting ahead of it, if it was rejected on arrival.
    pub const fn ahead(&self) -> Option<usize> {
        self.ahead
    }

    /// Details common to all rejections.
    pub const fn rejection(&self) -> &Rejection {
        &self.rejection
    }

    /// The event of the rejection.
    #[doc(hidden)]
    #[must_use]
    pub fn event(&self) -> Event {
        let reason = match self.reject_reason {
            RejectReason::QueueFull => "queue full",
            RejectReason::Closed => "closed",
            RejectReason::TooManyKeys => "key limit reached",
            _ => "would wait too long",
        };
        Event::rejected(LayerName::ConcurrencyLimit, reason, self.retry_after()).with_key(self.key.clone())
    }
}

/// The time until the calls ahead and this one get a slot. For a call that had waited, the number of calls ahead is unknown:
/// the time until the next call ends.
fn estimate(rejected: &Rejected<Occupancy>, occupancy: Option<Occupancy>) -> Option<Duration> {
    let ends = rejected.place().unwrap_or(0).saturating_add(1);
    let wait = occupancy?.between_ends?.saturating_mul(u32::try_from(ends).unwrap_or(u32::MAX));
    Some(rejected.retry_after().map_or(wait, |least| least.max(wait)))
}

impl fmt::Display for AtCapacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reject_reason {
            RejectReason::QueueFull => "too many calls are waiting for the concurrency limit",
            RejectReason::Closed => "concurrency limit is closed",
            RejectReason::TooManyKeys => "concurrency limit: key limit reached (all keys are in use)",
            _ => "concurrency limit: the call would wait too long",
        })?;
        if let Some(key) = &self.key {
            write!(f, ", key {key}")?;
        }
        match self.occupancy {
            Some(Occupancy { limit, in_flight, .. }) => write!(f, " ({in_flight} of {limit} in flight)"),
            None => Ok(()),
        }
    }
}

impl Error for AtCapacity {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.rejection)
    }
}
