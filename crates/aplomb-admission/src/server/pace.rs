//! The pace: how many calls a second the server accepts.

use std::time::Duration;

use tokio::time::Instant;

use super::memory::CallNumber;
use super::tally::Tally;

/// A rate that was found between two times at which the server refused everybody: what it accepted in between is what
/// it gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// In calls per second.
    rate: f64,
    /// When the next call may go.
    next: Instant,
    /// It was measured while calls flowed. Otherwise it doubles until refusals say that it is too high.
    sure: bool,
    /// Since the rate was set, or the server opened.
    accepted: Tally,
    sent: u32,
    refused: u32,
}

/// A rate is sure if so many calls were accepted while it was measured,
const SURE_CALLS: f64 = 16.0;
/// and the server was shut for at most this share of the time.
const SURE_SHUT: f64 = 0.7;

/// An unsure rate doubles in this many seconds.
const DOUBLES_IN: f64 = 0.67;

/// A sure one is held for this long, then grows by 1 % times the square of the seconds.
const HELD: f64 = 3.0;
const GROWTH: f64 = 0.01;

/// Below this rate, in calls per second, everything takes longer in proportion.
const SLOW: f64 = 5.0;
const SLOWEST: f64 = 20.0;

/// The rate that is kept below what was accepted.
const MARGIN: f64 = 0.98;

/// Once a minute.
const LEAST: f64 = 1.0 / 60.0;

impl Pace {
    /// What was accepted between two shuts, of which the second is now, and the server had been shut for `shut_for` in
    /// between.
    pub(super) fn measured(between: &Tally, shut_for: Duration, next: CallNumber, now: Instant) -> Self {
        let seconds = between.seconds(now).max(1e-3);
        let rate = (between.accepted(next) / seconds).max(LEAST);
        Self {
            rate,
            next: now,
            sure: rate * seconds >= SURE_CALLS && shut_for.as_secs_f64() < SURE_SHUT * seconds,
            accepted: Tally::new(next, now),
            sent: 0,
            refused: 0,
        }
    }

    /// A rate that was found earlier.
    pub(super) fn known(rate: f64, next: CallNumber, now: Instant) -> Self {
        let accepted = Tally::new(next, now);
        Self { rate: rate.max(LEAST), next: now, sure: true, accepted, sent: 0, refused: 0 }
    }

    pub(super) const fn rate(&self) -> f64 {
        self.rate
    }

    /// The time for which one call lasts, at this rate.
    pub(super) fn time_of_a_call(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    /// When the next call may go; nothing if one may now.
    pub(super) fn not_before(&self, now: Instant) -> Option<Instant> {
        (self.next > now).then_some(self.next)
    }

    /// A call goes.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent += 1;
        let gap = Duration::from_secs_f64(1.0 / (self.rate * self.growth(now)));
        let earliest = now.checked_sub(gap).unwrap_or(now);
        self.next = self.next.max(earliest) + gap;
    }

    /// By how much the rate has grown.
    fn growth(&self, now: Instant) -> f64 {
        let seconds = self.accepted.seconds(now);
        // A slow server needs longer to show whether it is too much.
        let slow = (SLOW / self.rate).clamp(1.0, SLOWEST);
        if self.sure {
            1.0 + GROWTH * (seconds / slow - HELD).max(0.0).powi(2)
        } else {
            (seconds / (slow * DOUBLES_IN)).min(20.0).exp2()
        }
    }

    /// The server lets calls through again: the clock starts anew.
    pub(super) fn opened(&mut self, next: CallNumber, now: Instant) {
        self.next = now;
        self.restart(next, now);
    }

    fn restart(&mut self, next: CallNumber, now: Instant) {
        self.accepted = Tally::new(next, now);
        (self.sent, self.refused) = (0, 0);
    }

    /// A call came to nothing.
    pub(super) fn bad(&mut self, number: CallNumber) {
        self.accepted.bad(number);
    }

    /// A call was refused while others get through; `usual` is the share that is refused by chance. Returns whether the
    /// rate is lowered: so many refusals are more than chance.
    pub(super) fn refused(&mut self, usual: f64, next: CallNumber, now: Instant) -> bool {
        self.refused += 1;
        let share = f64::from(self.refused) / f64::from(self.sent.max(1));
        let clear = (self.refused >= 3 && share > 0.2) || (self.sent >= 20 && share > 0.06);
        if !clear || share <= usual.min(0.3) + 0.03 {
            return false;
        }
        let measured = self.accepted.accepted(next) / self.accepted.seconds(now).max(1e-3);
        self.rate = (measured.max(self.rate / 2.0) * MARGIN).max(LEAST);
        self.sure = true;
        self.restart(next, now);
        true
    }
}
