//! What is lost with the limit of a key.

use std::time::Duration;

use aplomb_admission::{Evictable, Worth};
use tokio::time::Instant;

use crate::Slots;

/// How long what was learned is worth something while nobody uses it.
///
/// # Sources
///
/// What Linux remembers of TCP's peers (`tcp_metrics.c`).
const KEPT: Duration = Duration::from_secs(60 * 60);

impl Evictable for Slots {
    fn worth(&mut self, now: Instant) -> Worth {
        if self.is_busy(now) {
            Worth::IN_USE
        } else if self.learned_at().is_some_and(|at| now.saturating_duration_since(at) < KEPT) {
            Worth::MEDIUM
        } else {
            Worth::FRESH
        }
    }
}
