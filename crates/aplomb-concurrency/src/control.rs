//! The limit that finds its level: what raises it, what lowers it.

use tokio::time::Instant;

use crate::faults::Faults;
use crate::limit::count;
use crate::slowness::{Baseline, FEW, Finding, Slowness};
use crate::{Adaptive, LimitChangeCause};

/// An adaptive limit, as a pure state machine.
///
/// Calls are numbered as they are let through. What has a number below that of the last decrease was sent
/// under a limit that holds no more, and moves nothing: so a burst of failures lowers the limit once.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    config: Adaptive,
    limit: f64,
    /// Below it the limit doubles with each round trip.
    slow_start_below: f64,
    /// Where the last overload was met.
    ceiling: Option<f64>,
    /// How many times the least step a round trip adds beyond the ceiling.
    strides: f64,
    /// What the last decrease left.
    low: f64,
    next: u64,
    /// The first call after the last decrease.
    since: u64,
    round: Round,
    faults: Faults,
    slowness: Option<Slowness>,
}

/// A round trip: it is over when a call has ended that was let through since it began.
#[derive(Clone, Copy, Debug)]
struct Round {
    since: u64,
    grew: bool,
}

/// What an adaptive limit has learned: all that matters of it while no call is in flight.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Learned {
    limit: f64,
    slow_start_below: f64,
    ceiling: Option<f64>,
    strides: f64,
    low: f64,
    faults: Faults,
    /// Few limits look at latencies.
    baseline: Option<Box<Baseline>>,
}

impl Control {
    /// A limit that counts nothing that came before the call numbered `next`.
    pub(crate) fn new(config: Adaptive, next: u64) -> Self {
        let (min, max) = config.bounds();
        Self {
            config,
            limit: count(config.initial).clamp(min, max),
            slow_start_below: f64::INFINITY,
            ceiling: None,
            strides: 1.0,
            low: 0.0,
            next,
            since: next,
            round: Round { since: next, grew: false },
            faults: Faults::default(),
            slowness: config.latency.map(|latency| Slowness::new(latency, next)),
        }
    }

    /// What it has learned, if that is anything that a new one does not know.
    pub(crate) fn learned(&self) -> Option<Learned> {
        let learned = self.lore();
        (learned != Self::new(self.config, 0).lore()).then_some(learned)
    }

    fn lore(&self) -> Learned {
        Learned {
            limit: self.limit,
            slow_start_below: self.slow_start_below,
            ceiling: self.ceiling,
            // The round trip is over: nobody is under way.
            strides: self.strides_to_come(),
            low: self.low,
            faults: self.faults,
            baseline: self.slowness.as_ref().map(|slowness| Box::new(slowness.baseline())),
        }
    }

    /// Goes on from what another one has learned, within its own bounds.
    pub(crate) fn resume(&mut self, learned: &Learned) {
        let (min, max) = self.config.bounds();
        self.limit = learned.limit.clamp(min, max);
        self.slow_start_below = learned.slow_start_below;
        self.ceiling = learned.ceiling;
        self.strides = learned.strides;
        self.low = learned.low;
        self.faults = learned.faults;
        if let (Some(slowness), Some(baseline)) = (&mut self.slowness, &learned.baseline) {
            slowness.resume(baseline);
        }
    }

    /// The limit, in whole calls.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between its bounds, which are numbers of calls"
    )]
    pub(crate) const fn limit(&self) -> usize {
        self.limit as usize
    }

    pub(crate) const fn slowness(&self) -> Option<&Slowness> {
        self.slowness.as_ref()
    }

    /// Whether nobody can tell yet where the limit will be in a moment.
    pub(crate) fn is_in_slow_start(&self) -> bool {
        self.limit < self.slow_start_below
    }

    /// A call is let through under this number, which is higher than all before.
    pub(crate) fn admit(&mut self, number: u64, now: Instant) {
        self.next = number + 1;
        if let Some(slowness) = &mut self.slowness {
            slowness.admitted(number, now);
        }
    }

    /// A call was answered, or begins to be, after so many seconds. `used` is how many were in flight: when
    /// it was let through, or now, whatever is more.
    pub(crate) fn timed(
        &mut self,
        number: u64,
        seconds: f64,
        used: usize,
        now: Instant,
    ) -> Option<LimitChangeCause> {
        if number < self.since {
            return None;
        }
        let (filled, bounds) = (used >= self.limit(), (self.limit, self.config.bounds().0));
        match self.slowness.as_mut()?.timed(number, seconds, filled, bounds, now)? {
            Finding::Slower(ratio) => return self.slower(ratio),
            Finding::AsEver { used: true } if !self.is_in_slow_start() && self.is_in_use(used) => {
                let grown = self.limit + self.growth().min(self.limit.sqrt());
                let moved = self.grow_to(grown, LimitChangeCause::Answered);
                self.begin_stretch();
                return moved;
            }
            Finding::AsEver { .. } => self.begin_stretch(),
        }
        None
    }

    /// A call has ended, or will, that was not timed.
    pub(crate) fn untimed(&mut self, number: u64) {
        if let Some(slowness) = &mut self.slowness {
            slowness.left(number);
        }
    }

    /// A call was answered to its end. Where it was timed, that raises the limit once it is known.
    pub(crate) fn answered(&mut self, number: u64, used: usize, timed: bool) -> Option<LimitChangeCause> {
        self.end_of_round(number);
        if number < self.since {
            return None;
        }
        self.faults.answered(self.is_below_ceiling());
        if !self.is_in_use(used) {
            return None;
        }
        if self.is_in_slow_start() {
            let grown = (self.limit + 1.0).min(self.slow_start_below);
            return self.grow_to(grown, LimitChangeCause::SlowStart);
        }
        if timed || used < self.limit() {
            return None;
        }
        self.grow_to(self.limit + self.growth() / self.limit, LimitChangeCause::Answered)
    }

    /// Whether the limit is so far below the ceiling that what fails is no overload.
    fn is_below_ceiling(&self) -> bool {
        self.ceiling.is_some_and(|ceiling| self.limit < 0.85 * ceiling)
    }

    /// Half of the limit is use enough for a slow start, in which it runs ahead of the calls; and less is
    /// never enough, since what the calls of a while ago have filled may stand empty by now.
    fn is_in_use(&self, used: usize) -> bool {
        2 * used > self.limit()
    }

    /// A call ended in some other way, that says nothing about the limit.
    pub(crate) fn ended(&mut self, number: u64) {
        self.end_of_round(number);
    }

    /// A call failed because the peer had too much to do.
    pub(crate) fn overloaded(&mut self, number: u64, cause: LimitChangeCause) -> Option<LimitChangeCause> {
        self.end_of_round(number);
        if number < self.since || !self.faults.failed(self.is_below_ceiling()) {
            return None;
        }
        // What has not grown again has found no new ceiling: an outage must not teach a low one.
        if self.limit >= self.low + 1.0 {
            self.ceiling = Some(self.limit);
        }
        self.slow_start_below = self.ceiling.unwrap_or(self.limit) / 2.0;
        self.shrink_to(self.limit * self.config.decrease, cause)
    }

    /// What the next round trip adds: half of the way to the ceiling, and beyond it steps that double. The
    /// least step is one call, or three in a hundred.
    fn growth(&self) -> f64 {
        let least = (self.limit / 32.0).max(1.0);
        match self.ceiling {
            Some(ceiling) if self.limit < ceiling => ((ceiling - self.limit) / 2.0).max(least),
            Some(_) => (least * self.strides).min(self.limit),
            // No overload has been met: slowness has ended the slow start.
            None => self.limit.sqrt(),
        }
    }

    fn end_of_round(&mut self, number: u64) {
        if number < self.round.since {
            return;
        }
        self.strides = self.strides_to_come();
        self.round = Round { since: self.next, grew: false };
        if self.slowness.as_ref().is_some_and(|slowness| !slowness.is_timing()) {
            self.begin_stretch();
        }
    }

    /// Beyond the ceiling, strides double with each round trip in which the limit grew.
    fn strides_to_come(&self) -> f64 {
        if self.round.grew && self.ceiling.is_some_and(|ceiling| self.limit > ceiling) {
            (self.strides * 2.0).min(32.0)
        } else {
            self.strides
        }
    }

    /// What is let through from here on shows what the limit does that holds from here on. In slow start a
    /// few show it, before it has doubled again.
    fn begin_stretch(&mut self) {
        let calls = if self.is_in_slow_start() {
            FEW
        } else {
            self.limit() as u64
        };
        if let Some(slowness) = &mut self.slowness {
            slowness.begin(self.next, calls);
        }
    }

    fn slower(&mut self, ratio: f64) -> Option<LimitChangeCause> {
        let left = self.limit / ratio.min(2.0);
        self.slow_start_below = self.slow_start_below.min(left);
        self.shrink_to(left, LimitChangeCause::Slower)
    }

    fn grow_to(&mut self, limit: f64, cause: LimitChangeCause) -> Option<LimitChangeCause> {
        let (_, max) = self.config.bounds();
        self.round.grew = true;
        self.move_to(limit.min(max), cause)
    }

    fn shrink_to(&mut self, limit: f64, cause: LimitChangeCause) -> Option<LimitChangeCause> {
        let (min, _) = self.config.bounds();
        self.since = self.next;
        self.round = Round { since: self.next, grew: false };
        self.faults.begin();
        self.strides = 1.0;
        let moved = self.move_to(limit.max(min), cause);
        self.low = self.limit;
        self.begin_stretch();
        moved
    }

    fn move_to(&mut self, limit: f64, cause: LimitChangeCause) -> Option<LimitChangeCause> {
        let before = self.limit();
        self.limit = limit;
        (self.limit() != before).then_some(cause)
    }
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
