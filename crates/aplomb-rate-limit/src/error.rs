//! The error of a rejected call.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aplomb_admission::{RejectReason, Rejected};
use aplomb_core::{CallOptions, Event, KeyLabel, LayerName, Rejection};

use crate::RateLimitReason;

/// A call was rejected by the rate limit. It was not sent.
///
/// Its `source()` is the [`Rejection`] that all rejections share: when to come back, how long the call waited, what was
/// tried before.
#[derive(Clone, Debug)]
pub struct RateLimited {
    reject_reason: RejectReason,
    reason: Option<RateLimitReason>,
    ahead: Option<usize>,
    key: Option<KeyLabel>,
    rejection: Rejection,
}

impl RateLimited {
    /// The error for what the queue reported.
    #[doc(hidden)]
    #[must_use]
    pub fn new(rejected: &Rejected<RateLimitReason>, options: &CallOptions) -> Self {
        let retry_after = match rejected.gate_reason() {
            Some(RateLimitReason::Exhausted { retry_after }) => Some(*retry_after),
            _ => rejected.retry_after(),
        };
        let rejection = Rejection::by(LayerName::RateLimit)
            .with_retry_after(retry_after)
            .with_waited(rejected.waited())
            .with_attempts(options.attempts(), options.last());
        Self {
            reject_reason: rejected.reason(),
            reason: rejected.gate_reason().copied(),
            ahead: rejected.place(),
            key: None,
            rejection,
        }
    }

    /// Adds the label of the key.
    #[doc(hidden)]
    #[must_use]
    pub fn with_key(mut self, key: Option<KeyLabel>) -> Self {
        self.key = key;
        self
    }

    /// The label of the key whose limit it was, if there is one for each key.
    pub const fn key(&self) -> Option<&KeyLabel> {
        self.key.as_ref()
    }

    /// Why the call was rejected: by the limit itself, or because it would have waited too long.
    pub const fn reject_reason(&self) -> RejectReason {
        self.reject_reason
    }

    /// The limit that the call would have had to wait for, or why it was rejected.
    pub const fn reason(&self) -> Option<RateLimitReason> {
        self.reason
    }

    /// How long from now the call would have had to wait, if that is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.rejection.retry_after()
    }

    /// How many calls were waiting ahead of it, if it was rejected on arrival.
    pub const fn ahead(&self) -> Option<usize> {
        self.ahead
    }

    /// The event of the rejection.
    #[doc(hidden)]
    #[must_use]
    pub fn event(&self) -> Event {
        let reason = match (self.reject_reason, self.reason) {
            (RejectReason::QueueFull, _) => "queue full",
            (RejectReason::TooManyKeys, _) => "key limit reached",
            (RejectReason::Closed, _) => "closed",
            (_, Some(RateLimitReason::Exhausted { .. })) => "paused by the server for too long",
            (_, Some(RateLimitReason::AboveCapacity { .. })) => "cost above the quota",
            (_, Some(RateLimitReason::CostUnknown(_))) => "cost unknown",
            _ => "would wait too long",
        };
        Event::rejected(LayerName::RateLimit, reason, self.retry_after()).with_key(self.key.clone())
    }
}

impl fmt::Display for RateLimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Some(RateLimitReason::AboveCapacity { dimension, cost, capacity }) => {
                return write!(
                    f,
                    "call costs {cost} {dimension}, but the quota never holds more than {capacity}"
                );
            }
            Some(RateLimitReason::CostUnknown(dimension)) => {
                return write!(
                    f,
                    "a quota of {dimension} is set, but not what a call costs: set the layer's `cost`, or put a \
                     `Charge` into the request's extensions"
                );
            }
            Some(RateLimitReason::Exhausted { retry_after }) => {
                return write!(
                    f,
                    "server asked for a pause of {retry_after:.0?}, which is too long to wait for"
                );
            }
            _ => {}
        }
        f.write_str(match self.reject_reason {
            RejectReason::QueueFull => "too many calls are waiting for the rate limit",
            RejectReason::TooManyKeys => "rate limit: key limit reached (all keys are in use)",
            RejectReason::Closed => "rate limit is closed",
            _ => "rate limit: the call would wait too long",
        })?;
        if let Some(reason) = self.reason {
            write!(f, " ({reason})")?;
        }
        if let Some(ahead) = self.ahead.filter(|ahead| *ahead > 0) {
            write!(f, ", {ahead} calls ahead of it")?;
        }
        self.key.as_ref().map_or(Ok(()), |key| write!(f, ", key {key}"))
    }
}

impl Error for RateLimited {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.rejection)
    }
}
