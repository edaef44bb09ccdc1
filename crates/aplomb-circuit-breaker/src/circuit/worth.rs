//! What is lost with the circuit of a key.

use aplomb_admission::{Evictable, Worth};
use tokio::time::Instant;

use super::Circuit;
use super::phase::Phase;
use crate::health::MEMORY;

impl Circuit {
    /// Whether a new circuit in its place would know of nothing less that speaks against the peer: it is closed for
    /// everybody, has counted nothing bad lately, and its next cooldown would be the first. So is one that was open ten
    /// minutes ago, and that nobody has asked since its cooldown was over.
    ///
    /// What speaks for the peer is lost with it: the successes in a window, without which fewer failures are a share that
    /// opens the new circuit.
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

impl Evictable for Circuit {
    fn worth(&mut self, now: Instant) -> Worth {
        if self.is_forgettable(now) {
            return Worth::FRESH;
        }
        match &self.phase {
            // Strangers can cause any number of these: one failure, or credentials that are refused.
            Phase::Closed { .. } if self.health.is_nearly_clean(now) => Worth::LOW,
            Phase::Open { .. } | Phase::HalfOpen(_) if self.outage.is_refused => Worth::LOW,
            Phase::Closed { .. } => Worth::MEDIUM,
            Phase::Open { .. } | Phase::HalfOpen(_) => Worth::HIGH,
            // Somebody has switched it.
            Phase::Isolated | Phase::Disabled => Worth::IN_USE,
        }
    }
}
