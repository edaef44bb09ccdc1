//! The default backoff.

use std::time::Duration;

use aplomb_core::{Backoff, Exponential, FailedAttempt, Kind};
use rand::Rng;

/// The default backoff: exponential delays, longer after a throttle than after other failures.
///
/// The delays double up to 60 s, with full jitter. They begin at 0.5 s, as in the official SDKs of `OpenAI`
/// and Anthropic (`INITIAL_RETRY_DELAY`); after a throttle without a hint they begin at 1 s, since a quota
/// recovers with time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct ByKind {
    throttled: Exponential,
    others: Exponential,
}

impl ByKind {
    /// Sets the backoff after a throttle.
    pub const fn throttled(mut self, backoff: Exponential) -> Self {
        self.throttled = backoff;
        self
    }

    /// Sets the backoff after any other failure.
    pub const fn others(mut self, backoff: Exponential) -> Self {
        self.others = backoff;
        self
    }
}

impl Default for ByKind {
    fn default() -> Self {
        Self {
            throttled: Exponential::new(Duration::from_secs(1)),
            others: Exponential::new(Duration::from_millis(500)),
        }
    }
}

impl Backoff for ByKind {
    fn delay(&self, failed: &FailedAttempt<'_>, random: &mut dyn Rng) -> Option<Duration> {
        match failed.outcome().kind() {
            Kind::Throttled => self.throttled.delay(failed, random),
            _ => self.others.delay(failed, random),
        }
    }
}
