//! The calls accepted since some time.

use tokio::time::Instant;

use super::memory::{CallNumber, Point};

/// Counts the calls since a point, and what they cost, that were not refused and did not fail. Those that are not known yet
/// count as well: they are few, and mostly accepted. To count proofs makes a rate too high when presumption lags, and too
/// low later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) since: Instant,
    first: Point,
    bad: u32,
    bad_tokens: u64,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are fewer than 2^52 calls and tokens"
)]
impl Tally {
    /// Begins now, with the next call.
    pub(super) const fn new(next: Point) -> Self {
        Self { since: next.at, first: next, bad: 0, bad_tokens: 0 }
    }

    /// Returns whether this call was sent since.
    pub(super) const fn has(&self, number: CallNumber) -> bool {
        number >= self.first.number
    }

    /// This call, which costs so many tokens, came to nothing.
    pub(super) const fn bad(&mut self, number: CallNumber, tokens: u64) {
        if self.has(number) {
            self.bad += 1;
            self.bad_tokens = self.bad_tokens.wrapping_add(tokens);
        }
    }

    /// How many calls were sent before `next`.
    pub(super) const fn sent(&self, next: Point) -> f64 {
        next.number.saturating_sub(self.first.number) as f64
    }

    /// The share of them that was not accepted.
    pub(super) fn refused(&self, next: Point) -> f64 {
        (f64::from(self.bad) / self.sent(next).max(1.0)).min(1.0)
    }

    /// How many calls were accepted before `next`.
    pub(super) const fn accepted(&self, next: Point) -> f64 {
        next.number.saturating_sub(self.first.number).saturating_sub(self.bad as u64) as f64
    }

    /// Their cost, in tokens.
    pub(super) const fn accepted_tokens(&self, next: Point) -> f64 {
        next.tokens.wrapping_sub(self.first.tokens).saturating_sub(self.bad_tokens) as f64
    }

    /// How long it has counted, in seconds.
    pub(super) fn seconds(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.since).as_secs_f64()
    }

    /// The rate at which calls were accepted before `next`, in calls per second, or in calls of this many tokens.
    pub(super) fn rate(&self, mean: Option<f64>, next: Point) -> f64 {
        let accepted = match mean {
            None => self.accepted(next),
            Some(mean) => self.accepted_tokens(next) / mean,
        };
        accepted / self.seconds(next.at).max(1e-3)
    }
}
