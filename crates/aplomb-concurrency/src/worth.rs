//! The worth of an unused limit, for eviction.

use std::time::Duration;

use aplomb_admission::{Evictable, Worth};
use tokio::time::Instant;

use crate::Slots;
use crate::slots::Level;

/// Learned state is worth something for an hour after the last call: as long as Linux remembers the metrics of TCP peers
/// (`tcp_metrics.c`).
const MEMORY: Duration = Duration::from_secs(60 * 60);

/// While calls are in flight, abandoned ones included, the limit is in use. Then a fixed limit, and an adaptive one that has
/// learned nothing, equal fresh ones. Learned state can be learned again.
impl Evictable for Slots {
    fn worth(&mut self, now: Instant) -> Worth {
        if self.in_flight() > 0 || self.abandoned(now) > 0 {
            return Worth::IN_USE;
        }
        let Level::Adaptive(controller) = &self.level else {
            return Worth::FRESH;
        };
        match controller.last_used() {
            Some(used) if now.saturating_duration_since(used) < MEMORY && controller.has_learned() => {
                Worth::MEDIUM
            }
            _ => Worth::FRESH,
        }
    }
}
