//! How many calls were accepted since some time.

use tokio::time::Instant;

use super::memory::CallNumber;

/// Counts the calls from `first` on that were not refused and did not fail. Those that are not known yet count as well:
/// they are few, and mostly accepted. To count proofs makes a rate too high when presumption lags, and too low later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) since: Instant,
    first: CallNumber,
    bad: u32,
}

impl Tally {
    /// Begins now, with the next call.
    pub(super) const fn new(next: CallNumber, now: Instant) -> Self {
        Self { since: now, first: next, bad: 0 }
    }

    /// This call came to nothing.
    pub(super) const fn bad(&mut self, number: CallNumber) {
        if number >= self.first {
            self.bad += 1;
        }
    }

    /// How many calls were accepted, before the one with the number `next`.
    #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^52 calls")]
    pub(super) const fn accepted(&self, next: CallNumber) -> f64 {
        next.saturating_sub(self.first).saturating_sub(self.bad as u64) as f64
    }

    /// How long it has counted, in seconds.
    pub(super) fn seconds(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.since).as_secs_f64()
    }
}
