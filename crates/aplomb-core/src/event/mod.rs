//! The events of all layers.

mod key_label;
mod log;
mod states;

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

pub use self::key_label::KeyLabel;
pub use self::log::LogEvents;
pub use self::states::{CircuitCause, CircuitState, ConcurrencyCause, LayerName, StopReason};
use crate::short_duration::Short;
use crate::{Classification, Dimension};

/// Something that happened in a layer. Received by [`Observe`](crate::Observe).
///
/// Its `Display` is one line for logs: `retrying request in 1.2 s: 503 overloaded (openai)`. It contains
/// nothing of requests and responses, and no key that its owner has not declared public.
///
/// # Examples
///
/// Counting pauses and retries:
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use aplomb_core::{Event, EventKind};
///
/// static RETRIES: AtomicU64 = AtomicU64::new(0);
/// static PAUSES: AtomicU64 = AtomicU64::new(0);
///
/// let observer = |event: &Event| match event.kind() {
///     EventKind::Retrying { .. } => drop(RETRIES.fetch_add(1, Ordering::Relaxed)),
///     EventKind::Paused { .. } => drop(PAUSES.fetch_add(1, Ordering::Relaxed)),
///     _ => {}
/// };
/// # drop(observer);
/// ```
#[derive(Clone, Debug)]
pub struct Event {
    layer: LayerName,
    key: Option<KeyLabel>,
    kind: EventKind,
}

/// The kinds of events.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// Retry: an attempt begins.
    #[non_exhaustive]
    AttemptStarted {
        /// The number of the attempt, from 1.
        attempt: u32,
        /// How long the call has waited between attempts so far.
        waited: Duration,
    },
    /// Retry: an attempt ended, successfully or not.
    #[non_exhaustive]
    AttemptEnded {
        /// The number of the attempt, from 1.
        attempt: u32,
        /// How it ended.
        result: Classification,
    },
    /// Retry: an attempt failed and is retried.
    #[non_exhaustive]
    Retrying {
        /// The number of the attempt that failed, from 1.
        attempt: u32,
        /// The time from the failure to the next attempt.
        delay: Duration,
        /// How the attempt ended.
        failed: Classification,
    },
    /// Retry: the call failed. Its caller gets the result of the last attempt.
    #[non_exhaustive]
    GaveUp {
        /// How many attempts were made.
        attempts: u32,
        /// How long the call waited between attempts.
        waited: Duration,
        /// Why there was no further attempt.
        why: StopReason,
        /// How the last attempt ended.
        failed: Classification,
    },
    /// Retry: the call succeeded after at least one retry.
    #[non_exhaustive]
    Recovered {
        /// How many attempts were made.
        attempts: u32,
        /// How long the call waited between attempts.
        waited: Duration,
    },
    /// Any layer: a call was rejected without being sent.
    #[non_exhaustive]
    Rejected {
        /// Why, in a few words: "queue full".
        reason: &'static str,
        /// How long until a call may succeed, if that is known.
        retry_after: Option<Duration>,
    },
    /// Rate limit: all calls wait, because the server said that they come too fast.
    #[non_exhaustive]
    Paused {
        /// How long they wait.
        pause: Duration,
        /// When the pause ends, unless it is extended.
        until: Instant,
        /// The response that caused the pause, as far as the layer knows it.
        cause: Option<Classification>,
    },
    /// Rate limit: the pause is over.
    Resumed,
    /// Rate limit: the server named one of its limits, which is enforced from now on.
    #[non_exhaustive]
    LimitLearned {
        /// The dimension that the limit counts.
        dimension: Dimension,
        /// How much is allowed per window.
        limit: u64,
        /// The window.
        window: Duration,
    },
    /// Rate limit: a learned limit has not been confirmed for long and is no longer enforced.
    #[non_exhaustive]
    LimitLapsed {
        /// The dimension that the limit counted.
        dimension: Dimension,
    },
    /// Circuit breaker: the circuit changed its state.
    #[non_exhaustive]
    CircuitChanged {
        /// The state before.
        from: CircuitState,
        /// The state after.
        to: CircuitState,
        /// Why.
        cause: CircuitCause,
        /// How long the circuit stays open, if it opened.
        cooldown: Option<Duration>,
        /// The call that opened the circuit, if one did.
        failed: Option<Classification>,
        /// The number of the epoch that begins. It orders changes that several threads report at once.
        epoch: u64,
    },
    /// Concurrency limit: the limit changed by at least one call.
    #[non_exhaustive]
    ConcurrencyChanged {
        /// The limit before.
        from: usize,
        /// The limit after.
        to: usize,
        /// Why.
        cause: ConcurrencyCause,
    },
}

impl Event {
    /// The layer in which it happened.
    #[inline]
    pub const fn layer(&self) -> LayerName {
        self.layer
    }

    /// The key whose state is concerned, if the layer keeps state by key.
    pub const fn key(&self) -> Option<&KeyLabel> {
        self.key.as_ref()
    }

    /// The kind of the event, with its details.
    #[inline]
    pub const fn kind(&self) -> &EventKind {
        &self.kind
    }

    /// The kind of the event, without a copy.
    #[inline]
    pub fn into_kind(self) -> EventKind {
        self.kind
    }
}

/// For layers that report events.
impl Event {
    #[inline]
    const fn new(layer: LayerName, kind: EventKind) -> Self {
        Self { layer, key: None, kind }
    }

    /// Adds the key whose state is concerned.
    #[must_use]
    pub fn with_key(mut self, key: Option<KeyLabel>) -> Self {
        self.key = key;
        self
    }

    /// [`EventKind::AttemptStarted`].
    #[inline]
    pub const fn attempt_started(attempt: u32, waited: Duration) -> Self {
        Self::new(LayerName::Retry, EventKind::AttemptStarted { attempt, waited })
    }

    /// [`EventKind::AttemptEnded`].
    #[inline]
    pub const fn attempt_ended(attempt: u32, result: Classification) -> Self {
        Self::new(LayerName::Retry, EventKind::AttemptEnded { attempt, result })
    }

    /// [`EventKind::Retrying`].
    pub const fn retrying(attempt: u32, delay: Duration, failed: Classification) -> Self {
        Self::new(LayerName::Retry, EventKind::Retrying { attempt, delay, failed })
    }

    /// [`EventKind::GaveUp`].
    pub const fn gave_up(attempts: u32, waited: Duration, why: StopReason, failed: Classification) -> Self {
        Self::new(LayerName::Retry, EventKind::GaveUp { attempts, waited, why, failed })
    }

    /// [`EventKind::Recovered`].
    pub const fn recovered(attempts: u32, waited: Duration) -> Self {
        Self::new(LayerName::Retry, EventKind::Recovered { attempts, waited })
    }

    /// [`EventKind::Rejected`].
    pub const fn rejected(layer: LayerName, reason: &'static str, retry_after: Option<Duration>) -> Self {
        Self::new(layer, EventKind::Rejected { reason, retry_after })
    }

    /// [`EventKind::Paused`].
    pub const fn paused(
        layer: LayerName,
        pause: Duration,
        until: Instant,
        cause: Option<Classification>,
    ) -> Self {
        Self::new(layer, EventKind::Paused { pause, until, cause })
    }

    /// [`EventKind::Resumed`].
    pub const fn resumed(layer: LayerName) -> Self {
        Self::new(layer, EventKind::Resumed)
    }

    /// [`EventKind::LimitLearned`].
    pub const fn limit_learned(dimension: Dimension, limit: u64, window: Duration) -> Self {
        Self::new(LayerName::RateLimit, EventKind::LimitLearned { dimension, limit, window })
    }

    /// [`EventKind::LimitLapsed`].
    pub const fn limit_lapsed(dimension: Dimension) -> Self {
        Self::new(LayerName::RateLimit, EventKind::LimitLapsed { dimension })
    }

    /// [`EventKind::CircuitChanged`].
    pub const fn circuit_changed(
        from: CircuitState,
        to: CircuitState,
        cause: CircuitCause,
        cooldown: Option<Duration>,
        failed: Option<Classification>,
        epoch: u64,
    ) -> Self {
        let kind = EventKind::CircuitChanged { from, to, cause, cooldown, failed, epoch };
        Self::new(LayerName::CircuitBreaker, kind)
    }

    /// [`EventKind::ConcurrencyChanged`].
    pub const fn concurrency_changed(from: usize, to: usize, cause: ConcurrencyCause) -> Self {
        Self::new(LayerName::ConcurrencyLimit, EventKind::ConcurrencyChanged { from, to, cause })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            EventKind::Rejected { reason, retry_after } => {
                write!(f, "{} rejected call: {reason}", self.layer)?;
                retry_after.map_or(Ok(()), |wait| write!(f, ", retry after {}", Short(wait)))
            }
            EventKind::Paused { pause, cause, .. } => {
                write!(f, "{} paused for {}", self.layer, Short(*pause))?;
                cause.as_ref().map_or(Ok(()), |cause| write!(f, ": {cause}"))
            }
            EventKind::Resumed => write!(f, "{} resumed", self.layer),
            kind => fmt::Display::fmt(kind, f),
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AttemptStarted { attempt, .. } => write!(f, "attempt {attempt} started"),
            Self::AttemptEnded { attempt, result } => write!(f, "attempt {attempt} ended: {result}"),
            Self::Retrying { delay, failed, .. } => {
                write!(f, "retrying request in {}: {failed}", Short(*delay))
            }
            Self::GaveUp { attempts, why, failed, .. } => {
                write!(f, "gave up after {}, {why}: {failed}", Attempts(*attempts))
            }
            Self::Recovered { attempts, .. } => write!(f, "succeeded after {}", Attempts(*attempts)),
            Self::Rejected { reason, .. } => write!(f, "call rejected: {reason}"),
            Self::Paused { pause, .. } => write!(f, "paused for {}", Short(*pause)),
            Self::Resumed => f.write_str("resumed"),
            Self::LimitLearned { dimension, limit, window } => {
                write!(f, "learned limit: {limit} {dimension} per {}", Short(*window))
            }
            Self::LimitLapsed { dimension } => write!(f, "learned limit of {dimension} lapsed"),
            Self::CircuitChanged { from, to, cause, cooldown, failed, .. } => {
                match (to, cooldown) {
                    (CircuitState::Open, Some(cooldown)) => {
                        write!(f, "circuit opened for {}: {cause}", Short(*cooldown))?;
                    }
                    (CircuitState::Open, None) => write!(f, "circuit opened: {cause}")?,
                    _ => write!(f, "circuit {from} → {to}: {cause}")?,
                }
                failed.as_ref().map_or(Ok(()), |failed| write!(f, ", {failed}"))
            }
            Self::ConcurrencyChanged { from, to, cause } => {
                write!(f, "concurrency limit {from} → {to}: {cause}")
            }
        }
    }
}

struct Attempts(u32);

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 attempt"),
            attempts => write!(f, "{attempts} attempts"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outcome, Reason};
    use http::StatusCode;

    #[test]
    fn each_event_is_one_plain_line() {
        let overloaded = Classification::new(Outcome::transient())
            .with_status(StatusCode::SERVICE_UNAVAILABLE)
            .with_reason(Reason::Overloaded)
            .with_provider("openai");
        let (second, now) = (Duration::from_secs(1), Instant::now());
        for (event, line) in [
            (
                Event::retrying(1, second.mul_f64(1.2), overloaded.clone()),
                "retrying request in 1.2 s: 503 overloaded (openai)",
            ),
            (
                Event::gave_up(5, second, StopReason::MaxRetries, overloaded.clone()),
                "gave up after 5 attempts, retries used up: 503 overloaded (openai)",
            ),
            (
                Event::paused(LayerName::RateLimit, second * 20, now, Some(Reason::RateLimited.into())),
                "rate limit paused for 20.0 s: rate limited",
            ),
            (Event::resumed(LayerName::RateLimit), "rate limit resumed"),
            (
                Event::rejected(LayerName::ConcurrencyLimit, "queue full", Some(second / 4)),
                "concurrency limit rejected call: queue full, retry after 250 ms",
            ),
            (
                Event::circuit_changed(
                    CircuitState::Closed,
                    CircuitState::Open,
                    CircuitCause::ConsecutiveFailures,
                    Some(second * 5),
                    Some(overloaded),
                    1,
                ),
                "circuit opened for 5.0 s: consecutive failures, 503 overloaded (openai)",
            ),
            (
                Event::limit_learned(Dimension::REQUESTS, 60, second * 60),
                "learned limit: 60 requests per 60.0 s",
            ),
            (
                Event::concurrency_changed(4, 3, ConcurrencyCause::Throttled),
                "concurrency limit 4 → 3: throttled",
            ),
        ] {
            assert_eq!(event.to_string(), line);
        }
    }
}
