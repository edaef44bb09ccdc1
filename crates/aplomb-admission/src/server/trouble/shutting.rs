//! Nobody gets through any more: the rate is measured, and the first probe gets its time.

use std::time::Duration;

use tokio::time::Instant;

use super::{Refusal, Trouble, bounded};
use crate::server::memory::{Point, ServerMemory};
use crate::server::pace::{Ends, Pace};
use crate::server::shut::Shut;
use crate::server::tally::Tally;
use crate::server::window::Shutting;
use crate::server::{ServerSettings, ShutCause};

/// A rate is measured over at least this time and so many calls, if there were shuts so long ago.
const BASE: Duration = Duration::from_secs(3);
const ENOUGH_CALLS: f64 = 16.0;

/// A rate is not measured over a longer time: perhaps nobody called.
const LONGEST_BASE: Duration = Duration::from_secs(120);

/// Fewer measure nothing.
const LEAST_CALLS: f64 = 1.0;

/// At most so many shuts are remembered.
const SHUTS: usize = 32;

impl Trouble {
    /// Nobody gets through any more.
    pub(super) fn shut(
        &mut self,
        refusal: &Refusal,
        settings: ServerSettings,
        memory: &mut ServerMemory,
        now: Instant,
    ) {
        let (next, in_flight) = (memory.point(now), memory.in_flight());
        let run = self.usual.take_doubtful();
        if let Some(places) = &mut self.places {
            if !places.shut(in_flight) {
                self.places = None;
                self.not_places += 1;
            }
        }
        let mut opens = None;
        if refusal.cause == ShutCause::Throttles && self.places.is_none() {
            opens = self.measure(settings, next);
            if self.shuts.len() == SHUTS {
                self.shuts.pop_front();
            }
            self.shuts.push_back(Tally::new(next));
        }
        let (hint, too_long) = bounded(refusal.hint, settings);
        let jitter = self.jitter();
        let each = self.pace.map_or(Duration::ZERO, |pace| pace.time_of_a_call());
        let calls = (refusal.number, next.number);
        let what = (refusal.outcome, hint);
        let mut shut =
            Shut::new(refusal.cause, what, calls, (in_flight, run), (&self.hints, each, jitter), now);
        shut.probe_at = opens.map_or(shut.probe_at, |opens| opens.max(shut.probe_at));
        shut.too_long = too_long;
        self.shut = Some(shut);
    }

    /// Measures the pace, unless calls flow in fixed windows: then returns when the next one opens, if that is known.
    fn measure(&mut self, settings: ServerSettings, next: Point) -> Option<Instant> {
        let ends = Ends { known: self.known, next };
        if let Shutting::OfWindow { opens } = self.windows.shut(ends.known, next.at) {
            self.pace = None;
            return opens;
        }
        let is_long = |tally: &Tally| {
            let age = next.at.saturating_duration_since(tally.since);
            age > LONGEST_BASE || (age > BASE && tally.accepted(ends.known) >= ENOUGH_CALLS)
        };
        while self.shuts.get(1).is_some_and(is_long) {
            self.shuts.pop_front();
        }
        // Next to nothing was accepted in between: that measures how we asked, and no rate.
        let enough = |tally: &&Tally| tally.accepted(ends.known) >= LEAST_CALLS;
        if let Some(since) = self.shuts.front().filter(|_| settings.paces()).filter(enough) {
            let shut_for = self.windows.last_shut_for();
            let measured = Pace::measured(since, self.unit, shut_for, ends);
            let before = self.pace.as_ref();
            self.pace = Some(before.map_or(measured, |before| measured.after(before, shut_for, ends)));
        }
        None
    }

    /// A number from 0 to 1, another for each shut.
    fn jitter(&mut self) -> f64 {
        // SplitMix64, of Steele, Lea and Flood (OOPSLA 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from((mixed >> 32) as u32) / f64::from(u32::MAX)
    }
}
