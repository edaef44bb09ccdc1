//! The refusal of a concurrency limit.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aplomb_admission::{RejectReason, Rejected};
use aplomb_core::{CallOptions, KeyLabel, LayerName, Rejection};

/// What a call waits for: the places were all taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    pub(crate) limit: usize,
    pub(crate) in_flight: usize,
    pub(crate) abandoned: usize,
    /// From the end of one call to that of the next, on average.
    pub(crate) between_ends: Option<Duration>,
}

impl Occupancy {
    /// How many calls were allowed in flight.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// How many were in flight.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many more counted as in flight, since nobody waited for them and the peer may have been at work
    /// on them still.
    pub const fn abandoned(&self) -> usize {
        self.abandoned
    }
}

/// A call was refused by the concurrency limit, and never sent.
///
/// Its `source()` is [`Rejection`], which says how long it waited and what had been tried before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtCapacity {
    because: RejectReason,
    why: Option<Occupancy>,
    place: Option<usize>,
    key: Option<KeyLabel>,
    refused: Rejection,
}

impl AtCapacity {
    /// Words what the queue said about a call.
    #[must_use]
    pub fn new(rejected: &Rejected<Occupancy>, options: &CallOptions) -> Self {
        let why = rejected.gate_reason().copied();
        let refused = Rejection::by(LayerName::ConcurrencyLimit)
            .with_retry_after(estimate(rejected, why))
            .with_waited(rejected.waited())
            .with_attempts(options.attempts(), options.last());
        Self { because: rejected.reason(), why, place: rejected.place(), key: None, refused }
    }

    /// What rejected the call away: a bound on waiting, that there is no room for its key, or that the limit is
    /// closed.
    pub const fn because(&self) -> RejectReason {
        self.because
    }

    /// How the places were taken; not known where the limit was closed, there was no
    /// room for the key, or the call had no time left.
    pub const fn why(&self) -> Option<&Occupancy> {
        self.why.as_ref()
    }

    /// How long from now the call would have had to wait, as far as that can be estimated: from how long
    /// calls last on average, and how many were before it.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.refused.retry_after()
    }

    /// The label of the call's key, if each key has a limit of its own.
    pub const fn key(&self) -> Option<&KeyLabel> {
        self.key.as_ref()
    }

    /// Adds the label of the call's key.
    #[doc(hidden)]
    #[must_use]
    pub fn with_key(mut self, key: Option<KeyLabel>) -> Self {
        self.key = key;
        self
    }

    /// The reason in a few words.
    pub(crate) const fn short_reason(&self) -> &'static str {
        match self.because {
            RejectReason::QueueFull => "queue full",
            RejectReason::Closed => "closed",
            RejectReason::TooManyKeys => "key limit reached",
            _ => "would wait too long",
        }
    }

    /// How many calls were before it in the line when it arrived, if it was refused on arrival.
    pub const fn place(&self) -> Option<usize> {
        self.place
    }
}

/// Until the places before it in the line and its own have been served. Of a call that had waited, the
/// place is not known: until the next call ends.
fn estimate(rejected: &Rejected<Occupancy>, why: Option<Occupancy>) -> Option<Duration> {
    let ends = rejected.place().unwrap_or(0).saturating_add(1);
    let wait = why?.between_ends?.saturating_mul(u32::try_from(ends).unwrap_or(u32::MAX));
    Some(rejected.retry_after().map_or(wait, |least| least.max(wait)))
}

impl fmt::Display for AtCapacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.because {
            RejectReason::QueueFull => "too many calls are waiting for the concurrency limit",
            RejectReason::Closed => "the concurrency limit is closed",
            RejectReason::TooManyKeys => "concurrency limit: key limit reached (all keys in use)",
            _ => "the wait for the concurrency limit would be too long",
        })?;
        if let Some(key) = &self.key {
            write!(f, ", for key {key}")?;
        }
        match self.why {
            Some(Occupancy { limit, in_flight, .. }) => write!(f, " ({in_flight} in flight of {limit})"),
            None => Ok(()),
        }
    }
}

impl Error for AtCapacity {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.refused)
    }
}
