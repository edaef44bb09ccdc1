//! How a limit stands at one moment.

use crate::LimitChange;

/// What a [`Limiter`](crate::Limiter) looked like at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencySnapshot {
    pub(crate) limit: usize,
    pub(crate) in_flight: usize,
    pub(crate) abandoned: usize,
    pub(crate) waiting: usize,
    pub(crate) moved: Option<LimitChange>,
}

impl ConcurrencySnapshot {
    /// How many calls may be in flight.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// How many calls were in flight. May be more than the limit, when that has just moved down.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many abandoned calls counted as in flight besides.
    pub const fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// How many calls were waiting.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How and why the limit moved last, if it ever did.
    pub const fn last_change(&self) -> Option<LimitChange> {
        self.moved
    }
}
