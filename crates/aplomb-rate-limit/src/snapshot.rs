//! The state of a limiter, for display and metrics.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Quota, Quotas};

/// The state of a [`RateLimiter`](crate::RateLimiter) at one moment.
///
/// With the feature `serde` it can be serialized.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RateLimitSnapshot {
    available: Vec<(Quota, i64)>,
    in_flight: usize,
    waiting: usize,
    oldest_wait: Option<Duration>,
    paused_for: Option<Duration>,
    estimated_rate: Option<f64>,
}

impl RateLimitSnapshot {
    pub(crate) fn of(quotas: &Quotas, waiting: usize, oldest_wait: Option<Duration>, now: Instant) -> Self {
        Self {
            available: quotas.available(now).collect(),
            in_flight: quotas.in_flight(),
            waiting,
            oldest_wait,
            paused_for: quotas.paused_until(now).map(|until| until - now),
            estimated_rate: quotas.estimated_rate(),
        }
    }

    /// Adds the calls of a key.
    pub(crate) fn add(&mut self, other: &Self) {
        self.in_flight += other.in_flight;
        self.waiting += other.waiting;
        self.oldest_wait = self.oldest_wait.max(other.oldest_wait);
    }

    /// The quotas in force and what each has left, negative where it is in debt: first the configured ones, in
    /// their order, then the learned ones. A quota that the server tightened shows
    /// the server's limit.
    pub fn available(&self) -> &[(Quota, i64)] {
        &self.available
    }

    /// How many calls have been admitted and have not ended.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many calls are waiting.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How long the call that has waited longest has been waiting.
    #[must_use]
    pub const fn oldest_wait(&self) -> Option<Duration> {
        self.oldest_wait
    }

    /// How long the pause of all callers still lasts, if a throttled response caused one.
    #[must_use]
    pub const fn paused_for(&self) -> Option<Duration> {
        self.paused_for
    }

    /// The rate, in calls per second, at which a server that does not report its limits was found to
    /// refuse.
    #[must_use]
    pub const fn estimated_rate(&self) -> Option<f64> {
        self.estimated_rate
    }
}
