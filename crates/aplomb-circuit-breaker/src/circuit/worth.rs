//! The worth of an unused circuit, for eviction.

use aplomb_admission::{Evictable, Worth};
use aplomb_core::CircuitCause;
use tokio::time::Instant;

use super::phase::Phase;
use super::{Circuit, StateWatch};
use crate::health::MEMORY;

/// A circuit equals a fresh one if it is closed for everyone, has counted nothing bad lately, and its next cooldown would
/// be the first; and also ten minutes after its cooldown, if no call was made since. (Successes in a window are lost: fewer
/// failures than before are a ratio that opens the new circuit.)
///
/// | it is | worth |
/// | --- | --- |
/// | equal to a fresh one | fresh |
/// | closed after one failure or refused credentials; open because of refused credentials | low |
/// | closed after more failures, or with a longer next cooldown | medium |
/// | open, half-open, or on the ramp | high |
/// | isolated, disabled, or watched | never evicted |
impl Evictable for Circuit {
    fn worth(&mut self, now: Instant) -> Worth {
        if self.watch.as_ref().is_some_and(StateWatch::is_watched) {
            return Worth::IN_USE;
        }
        let of_server = self.worth_of_owned(now);
        let own = match &self.phase {
            Phase::Closed { slow_start: Some(slow_start), .. } if slow_start.ends() > now => Worth::HIGH,
            Phase::Closed { since, .. } => {
                if self.backoff_level.is_base(*since, now, &self.settings.cooldown) {
                    self.health.worth(now)
                } else {
                    Worth::MEDIUM
                }
            }
            Phase::Open { until, .. } if now.saturating_duration_since(*until) >= MEMORY => Worth::FRESH,
            Phase::HalfOpen(half_open) if half_open.quiet_for(now).is_some_and(|quiet| quiet >= MEMORY) => {
                Worth::FRESH
            }
            Phase::Open { .. } | Phase::HalfOpen(_) if self.outage.cause == CircuitCause::Unauthorized => {
                Worth::LOW
            }
            Phase::Open { .. } | Phase::HalfOpen(_) => Worth::HIGH,
            // The server knows what that is worth.
            Phase::Follows { .. } => Worth::FRESH,
            Phase::Isolated | Phase::Disabled => Worth::IN_USE,
        };
        own.max(of_server)
    }
}
