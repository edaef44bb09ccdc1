//! Fixed windows: a limit with a clock.

use std::time::Duration;

use tokio::time::Instant;

use super::memory::{CallNumber, Point};
use super::tally::Tally;

/// Finds out whether refusals end at regular instants, and a burst is allowed then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Windows {
    last: Option<Opening>,
    period: Option<Duration>,
    /// The last two openings lie as far apart as those before.
    agreed: bool,
}

/// The server lets calls through again.
#[derive(Clone, Copy, Debug)]
struct Opening {
    /// When the call was sent that was accepted first. When it was proven would drift.
    at: Instant,
    /// The calls accepted since.
    accepted: Tally,
    /// How long it had been shut.
    shut_for: Duration,
}

/// The cause of a shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutting {
    /// Calls come too fast.
    OfRate,
    /// A window is used up, which needs no pace. The next one opens then, if that is known.
    OfWindow { opens: Option<Instant> },
}

/// A period may be off by so much.
const TOLERANCE: f64 = 0.15;

/// If the first probe passes, the window may have opened earlier: the next is tried this much earlier.
const EARLIER: f64 = 0.97;

/// Calls that flow in less than this share of the time that it had been shut come at once.
const BURST: f64 = 0.3;
const LEAST_BURST: f64 = 8.0;
const LEAST_SHUT: Duration = Duration::from_millis(300);

impl Windows {
    /// A probe that was sent at `at` was accepted, the first of `probes`, after it had been shut for so long.
    pub(super) fn opened(&mut self, at: Instant, probes: u32, shut_for: Duration, next: Point) {
        if let Some(last) = self.last {
            let period = at.saturating_duration_since(last.at);
            let agrees = self.period.is_some_and(|known| period.abs_diff(known) <= known.mul_f64(TOLERANCE));
            let earlier = if self.agreed && agrees && probes == 1 {
                EARLIER
            } else {
                1.0
            };
            self.agreed = agrees;
            self.period = Some(period.mul_f64(earlier));
        }
        self.last = Some(Opening { at, accepted: Tally::new(next), shut_for });
    }

    /// A probe was accepted that went late: the server opened nobody knows when.
    pub(super) fn opened_unseen(&mut self) {
        self.last = None;
    }

    /// It shuts. If what flowed since it opened came at once, it is a window.
    pub(super) fn shut(&self, next: Point, now: Instant) -> Shutting {
        let Some(opening) = &self.last else {
            return Shutting::OfRate;
        };
        let flowed = now.saturating_duration_since(opening.at);
        let is_window = opening.accepted.accepted(next) >= LEAST_BURST
            && flowed < opening.shut_for.mul_f64(BURST)
            && opening.shut_for >= LEAST_SHUT;
        let opens = self.period.filter(|_| self.agreed).map(|period| opening.at + period);
        if is_window {
            Shutting::OfWindow { opens }
        } else {
            Shutting::OfRate
        }
    }

    /// How long it had been shut when it last opened.
    pub(super) fn last_shut_for(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |opening| opening.shut_for)
    }

    pub(super) fn bad(&mut self, number: CallNumber, tokens: u64) {
        if let Some(opening) = &mut self.last {
            opening.accepted.bad(number, tokens);
        }
    }

    /// The period, once it was seen twice.
    pub(super) fn period(&self) -> Option<Duration> {
        self.period.filter(|_| self.agreed)
    }
}
