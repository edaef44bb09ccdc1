//! What a limiter looks like, for display and metrics.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Quota, Quotas};

/// What a [`Limiter`](crate::Limiter) looked like at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    pub(crate) available: Vec<(Quota, i64)>,
    pub(crate) in_flight: usize,
    pub(crate) waiting: usize,
    pub(crate) oldest_wait: Option<Duration>,
    pub(crate) paused_until: Option<Instant>,
    pub(crate) found_rate: Option<f64>,
}

impl Snapshot {
    pub(crate) fn of(quotas: &Quotas, waiting: usize, oldest_wait: Option<Duration>, now: Instant) -> Self {
        Self {
            available: quotas.available(now).collect(),
            in_flight: quotas.in_flight(),
            waiting,
            oldest_wait,
            paused_until: quotas.paused_until(now),
            found_rate: quotas.estimated_rate(),
        }
    }

    /// The quotas in force and what each had left, negative where it was in debt: first those that were
    /// configured, in that order, then those that were learned. A quota that the server tightened shows
    /// what the server said.
    pub fn available(&self) -> &[(Quota, i64)] {
        &self.available
    }

    /// How many calls had been admitted and had not ended.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many calls were waiting.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How long the call that had waited longest had been waiting; not known of the line of a key.
    #[must_use]
    pub const fn oldest_wait(&self) -> Option<Duration> {
        self.oldest_wait
    }

    /// Until when a throttled response paused everybody, if one did.
    #[must_use]
    pub const fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// The rate, in calls per second, at which a server that says nothing of its limits was found to
    /// refuse.
    #[must_use]
    pub const fn found_rate(&self) -> Option<f64> {
        self.found_rate
    }
}
