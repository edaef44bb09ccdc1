//! When a circuit that nobody uses may be forgotten.

use aplomb_admission::{Idle, Rests};
use tokio::time::Instant;

use super::Circuit;
use super::phase::Phase;
use crate::health::MEMORY;

impl Circuit {
    /// Whether a new circuit in its place would know of nothing less that speaks against the peer: it is
    /// closed for everybody, has counted nothing bad lately, and its next cooldown would be the first.
    /// So is one that was open ten minutes ago, and that nobody has asked since its cooldown was over.
    ///
    /// What speaks for the peer is lost with it: the successes in a window, without which fewer failures
    /// are a share that opens the new circuit, and results that are still in flight.
    #[must_use]
    pub fn is_forgettable(&self, now: Instant) -> bool {
        match &self.phase {
            Phase::Closed { since, slow_start } => {
                slow_start.as_ref().is_none_or(|slow_start| slow_start.ends() <= now)
                    && self.backoff_level.is_base(*since, now, &self.settings.cooldown)
                    && self.health.is_clean(now)
            }
            Phase::Open { until } => now.saturating_duration_since(*until) >= MEMORY,
            Phase::HalfOpen(half_open) => half_open.quiet_for(now).is_some_and(|quiet| quiet >= MEMORY),
            Phase::Isolated | Phase::Disabled => false,
        }
    }
}

/// What is kept of a [`Circuit`] at rest: nothing. While there is something to be kept, it does not rest.
#[derive(Clone, Copy, Debug)]
pub struct CircuitAtRest(());

impl Rests for Circuit {
    type Rest = CircuitAtRest;

    fn rest(&self, now: Instant) -> Option<CircuitAtRest> {
        self.is_forgettable(now).then_some(CircuitAtRest(()))
    }

    fn resume(&mut self, _: CircuitAtRest) {}
}

impl Idle for CircuitAtRest {
    fn is_idle(&self, _: Instant) -> bool {
        true
    }
}
