//! A limit at one moment, and how it last changed.

use std::fmt;

use aplomb_core::{ConcurrencyCause, Event, KeyLabel, Observe, notify};
use tokio::time::Instant;

/// A concurrency limit at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencySnapshot {
    pub(crate) limit: usize,
    pub(crate) in_flight: usize,
    pub(crate) abandoned: usize,
    pub(crate) waiting: usize,
    pub(crate) last_change: Option<LimitChange>,
}

impl ConcurrencySnapshot {
    /// The number of calls that may be in flight.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// The number of calls in flight. May exceed the limit just after that was lowered.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The number of abandoned calls that count as in flight in addition.
    pub const fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// The number of calls that wait.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// The number of calls that would be admitted at once.
    pub const fn available(&self) -> usize {
        if self.waiting > 0 {
            return 0;
        }
        self.limit.saturating_sub(self.in_flight + self.abandoned)
    }

    /// How and why the limit last changed, if it ever did.
    pub const fn last_change(&self) -> Option<LimitChange> {
        self.last_change
    }
}

/// A change of the limit by at least one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitChange {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) cause: ConcurrencyCause,
    pub(crate) at: Instant,
}

impl LimitChange {
    /// The limit before.
    pub const fn from(&self) -> usize {
        self.from
    }

    /// The limit after.
    pub const fn to(&self) -> usize {
        self.to
    }

    /// Why it changed.
    pub const fn cause(&self) -> ConcurrencyCause {
        self.cause
    }

    /// When it changed.
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// Reports it to `observer`. Called outside of any lock.
    #[doc(hidden)]
    pub fn report(&self, observer: &(impl Observe + ?Sized), key: Option<&KeyLabel>) {
        let event = Event::concurrency_changed(self.from, self.to, self.cause);
        notify(observer, &event.with_key(key.cloned()));
    }
}

/// For logs: `limit 4 → 5: slow start`.
impl fmt::Display for LimitChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {} → {}: {}", self.from, self.to, self.cause)
    }
}
