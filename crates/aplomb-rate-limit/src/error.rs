//! What a refused caller is told.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aplomb_admission::{RejectReason, Rejected};
use aplomb_core::{CallOptions, LayerName, Rejection};

use crate::Limit;

/// A call was refused by the rate limit, and never sent.
///
/// Its `source()` is [`Rejection`], which says how long it waited and what had been tried before.
#[derive(Clone, Debug)]
pub struct Exceeded {
    because: RejectReason,
    limit: Option<Limit>,
    place: Option<usize>,
    refused: Rejection,
}

impl Exceeded {
    /// Words what the queue said about a call.
    #[must_use]
    pub fn new(rejected: &Rejected<Limit>, options: &CallOptions) -> Self {
        let retry_after = match rejected.gate_reason() {
            Some(Limit::Exhausted { retry_after }) => Some(*retry_after),
            _ => rejected.retry_after(),
        };
        let refused = Rejection::by(LayerName::RateLimit)
            .with_retry_after(retry_after)
            .with_waited(rejected.waited())
            .with_attempts(options.attempts(), options.last());
        Self {
            because: rejected.reason(),
            limit: rejected.gate_reason().copied(),
            place: rejected.place(),
            refused,
        }
    }

    /// What rejected the call away: a bound on waiting, or the limit itself.
    pub const fn because(&self) -> RejectReason {
        self.because
    }

    /// What the call would have had to wait for, or what it exceeds for good.
    pub const fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// How long from now it would have had to wait, where that is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.refused.retry_after()
    }

    /// How many calls were before it in the line when it arrived, if it was refused on arrival.
    pub const fn place(&self) -> Option<usize> {
        self.place
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Some(Limit::AboveCapacity { dimension, cost, capacity }) => {
                return write!(
                    f,
                    "the call costs {cost} {dimension}, and the quota never holds more than {capacity}"
                );
            }
            Some(Limit::CostUnknown(dimension)) => {
                return write!(
                    f,
                    "there is a quota of {dimension}, but nothing says how many a call costs: set the layer's \
                     `cost`, or put a `Charge` into the request's extensions"
                );
            }
            Some(Limit::Exhausted { retry_after }) => {
                return write!(f, "the server asked to pause for {retry_after:.0?}, longer than calls wait");
            }
            _ => {}
        }
        f.write_str(match self.because {
            RejectReason::QueueFull => "too many calls are waiting for the rate limit",
            RejectReason::TooManyKeys => "the rate limit has as many keys as may be, and all are in use",
            RejectReason::Closed => "the rate limit is closed",
            _ => "the wait for the rate limit would be too long",
        })?;
        if let Some(limit) = self.limit {
            write!(f, " ({limit})")?;
        }
        match self.place {
            Some(place) if place > 0 => write!(f, ", {place} waiting before it"),
            _ => Ok(()),
        }
    }
}

impl Error for Exceeded {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.refused)
    }
}
