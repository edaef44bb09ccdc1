//! The controller of an adaptive limit: what raises it, and what lowers it.

use aplomb_core::ConcurrencyCause;
use tokio::time::Instant;

use crate::Adaptive;
use crate::background_failures::BackgroundFailures;
use crate::limit::count;
use crate::slowdown::{Baseline, MIN_SAMPLES, SlowdownDetector, Trend};

/// An adaptive limit, as a pure state machine.
///
/// Calls are numbered in the order of their admission. A call with a number below that of the last decrease was
/// admitted under a limit that no longer applies, and changes nothing. So a burst of failures lowers the limit once.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    config: Adaptive,
    limit: f64,
    /// Below this, the limit doubles with each round trip.
    slow_start_below: f64,
    /// The limit at which the last overload occurred.
    ceiling: Option<f64>,
    /// Beyond the ceiling, a round trip adds this many times the smallest step.
    step_factor: f64,
    /// The limit after the last decrease.
    floor: f64,
    next: u64,
    last_used: Option<Instant>,
    /// The first call admitted after the last decrease.
    valid_from: u64,
    round_trip: RoundTrip,
    background_failures: BackgroundFailures,
    slowdown: Option<SlowdownDetector>,
}

/// A round trip ends when a call ends that was admitted after it began.
#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    first: u64,
    grew: bool,
}

/// The learned state of an adaptive limit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Learned {
    limit: f64,
    slow_start_below: f64,
    ceiling: Option<f64>,
    step_factor: f64,
    floor: f64,
    background_failures: BackgroundFailures,
    /// In a box, since few limits look at latencies.
    baseline: Option<Box<Baseline>>,
}

impl Controller {
    /// A limit that has learned nothing, and ignores calls before the one numbered `next`.
    pub(crate) fn new(config: Adaptive, next: u64) -> Self {
        let (min, max) = config.bounds();
        Self {
            config,
            limit: count(config.initial).clamp(min, max),
            slow_start_below: f64::INFINITY,
            ceiling: None,
            step_factor: 1.0,
            floor: 0.0,
            next,
            last_used: None,
            valid_from: next,
            round_trip: RoundTrip { first: next, grew: false },
            background_failures: BackgroundFailures::default(),
            slowdown: config.latency.map(|latency| SlowdownDetector::new(latency, next)),
        }
    }

    pub(crate) const fn config(&self) -> &Adaptive {
        &self.config
    }

    /// When the last call was admitted.
    pub(crate) const fn last_used(&self) -> Option<Instant> {
        self.last_used
    }

    /// Returns whether it knows anything that a new one would not.
    pub(crate) fn has_learned(&self) -> bool {
        self.learned() != Self::new(self.config, 0).learned()
    }

    /// All of its state that matters while no call is in flight.
    pub(crate) fn learned(&self) -> Learned {
        Learned {
            limit: self.limit,
            slow_start_below: self.slow_start_below,
            ceiling: self.ceiling,
            // The round trip is over: no call is in flight.
            step_factor: self.next_step_factor(),
            floor: self.floor,
            background_failures: self.background_failures,
            baseline: self.slowdown.as_ref().map(|slowdown| Box::new(slowdown.baseline())),
        }
    }

    /// Takes over the learned state of another one, within its own bounds.
    pub(crate) fn resume(&mut self, learned: &Learned) {
        let (min, max) = self.config.bounds();
        self.limit = learned.limit.clamp(min, max);
        self.slow_start_below = learned.slow_start_below;
        self.ceiling = learned.ceiling;
        self.step_factor = learned.step_factor;
        self.floor = learned.floor;
        self.background_failures = learned.background_failures;
        if let (Some(slowdown), Some(baseline)) = (&mut self.slowdown, &learned.baseline) {
            slowdown.resume(baseline);
        }
    }

    /// The limit, in whole calls.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it lies between its bounds, which are numbers of calls"
    )]
    pub(crate) const fn limit(&self) -> usize {
        self.limit as usize
    }

    pub(crate) const fn slowdown(&self) -> Option<&SlowdownDetector> {
        self.slowdown.as_ref()
    }

    /// Returns whether the limit may be far higher in a moment.
    pub(crate) fn is_in_slow_start(&self) -> bool {
        self.limit < self.slow_start_below
    }

    /// A call is admitted under this number, which is higher than all before.
    pub(crate) fn admit(&mut self, number: u64, now: Instant) {
        self.next = number + 1;
        self.last_used = Some(now);
        if let Some(slowdown) = &mut self.slowdown {
            slowdown.admitted(number, now);
        }
    }

    /// The latency of a call is known. `used` is the number of calls in flight: when it was admitted, or now, whichever
    /// is higher.
    pub(crate) fn timed(
        &mut self,
        number: u64,
        seconds: f64,
        used: usize,
        now: Instant,
    ) -> Option<ConcurrencyCause> {
        if number < self.valid_from {
            return None;
        }
        let (filled, bounds) = (used >= self.limit(), (self.limit, self.config.bounds().0));
        match self.slowdown.as_mut()?.timed(number, seconds, filled, bounds, now)? {
            Trend::Slower(ratio) => return self.slower(ratio),
            Trend::Steady { used: true } if !self.is_in_slow_start() && self.is_in_use(used) => {
                let grown = self.limit + self.growth().min(self.limit.sqrt());
                let changed = self.grow_to(grown, ConcurrencyCause::Answered);
                self.begin_sample();
                return changed;
            }
            Trend::Steady { .. } => self.begin_sample(),
        }
        None
    }

    /// The latency of a call will not be known.
    pub(crate) fn untimed(&mut self, number: u64) {
        if let Some(slowdown) = &mut self.slowdown {
            slowdown.untimed(number);
        }
    }

    /// A call was answered completely. If it was timed, it is the latency that raises the limit.
    pub(crate) fn answered(&mut self, number: u64, used: usize, timed: bool) -> Option<ConcurrencyCause> {
        self.end_round_trip(number);
        if number < self.valid_from {
            return None;
        }
        self.background_failures.answered(self.is_below_ceiling());
        if !self.is_in_use(used) {
            return None;
        }
        if self.is_in_slow_start() {
            let grown = (self.limit + 1.0).min(self.slow_start_below);
            return self.grow_to(grown, ConcurrencyCause::SlowStart);
        }
        if timed || used < self.limit() {
            return None;
        }
        self.grow_to(self.limit + self.growth() / self.limit, ConcurrencyCause::Answered)
    }

    /// Returns whether the limit is so far below the ceiling that failures do not mean overload.
    fn is_below_ceiling(&self) -> bool {
        self.ceiling.is_some_and(|ceiling| self.limit < 0.85 * ceiling)
    }

    /// Half of the limit is enough use for slow start, which runs ahead of the calls. Less is never enough: earlier calls
    /// may have filled what is unused by now.
    fn is_in_use(&self, used: usize) -> bool {
        2 * used > self.limit()
    }

    /// A call ended in a way that says nothing about the limit.
    pub(crate) fn ended(&mut self, number: u64) {
        self.end_round_trip(number);
    }

    /// A call failed because the server was overloaded.
    pub(crate) fn overloaded(&mut self, number: u64, cause: ConcurrencyCause) -> Option<ConcurrencyCause> {
        self.end_round_trip(number);
        if number < self.valid_from || !self.background_failures.failed(self.is_below_ceiling()) {
            return None;
        }
        // A limit that has not grown again has found no new ceiling: an outage must not teach a low one.
        if self.limit >= self.floor + 1.0 {
            self.ceiling = Some(self.limit);
        }
        self.slow_start_below = self.ceiling.unwrap_or(self.limit) / 2.0;
        self.shrink_to(self.limit * self.config.decrease, cause)
    }

    /// Growth in the next round trip: half of the way to the ceiling; beyond it, steps that double. The smallest step is
    /// one call, or three percent.
    fn growth(&self) -> f64 {
        let smallest = (self.limit / 32.0).max(1.0);
        match self.ceiling {
            Some(ceiling) if self.limit < ceiling => ((ceiling - self.limit) / 2.0).max(smallest),
            Some(_) => (smallest * self.step_factor).min(self.limit),
            // No overload was met: slowness has ended slow start.
            None => self.limit.sqrt(),
        }
    }

    fn end_round_trip(&mut self, number: u64) {
        if number < self.round_trip.first {
            return;
        }
        self.step_factor = self.next_step_factor();
        self.round_trip = RoundTrip { first: self.next, grew: false };
        if self.slowdown.as_ref().is_some_and(|slowdown| !slowdown.is_sampling()) {
            self.begin_sample();
        }
    }

    /// Beyond the ceiling, steps double with each round trip in which the limit grew.
    fn next_step_factor(&self) -> f64 {
        if self.round_trip.grew && self.ceiling.is_some_and(|ceiling| self.limit > ceiling) {
            (self.step_factor * 2.0).min(32.0)
        } else {
            self.step_factor
        }
    }

    /// Calls admitted from here on show the effect of the present limit. In slow start a few must be enough, before the
    /// limit has doubled again.
    fn begin_sample(&mut self) {
        let calls = if self.is_in_slow_start() {
            MIN_SAMPLES
        } else {
            self.limit() as u64
        };
        if let Some(slowdown) = &mut self.slowdown {
            slowdown.begin(self.next, calls);
        }
    }

    fn slower(&mut self, ratio: f64) -> Option<ConcurrencyCause> {
        let left = self.limit / ratio.min(2.0);
        self.slow_start_below = self.slow_start_below.min(left);
        self.shrink_to(left, ConcurrencyCause::Slower)
    }

    fn grow_to(&mut self, limit: f64, cause: ConcurrencyCause) -> Option<ConcurrencyCause> {
        let (_, max) = self.config.bounds();
        self.round_trip.grew = true;
        self.change_to(limit.min(max), cause)
    }

    fn shrink_to(&mut self, limit: f64, cause: ConcurrencyCause) -> Option<ConcurrencyCause> {
        let (min, _) = self.config.bounds();
        self.valid_from = self.next;
        self.round_trip = RoundTrip { first: self.next, grew: false };
        self.background_failures.clear_evidence();
        self.step_factor = 1.0;
        let changed = self.change_to(limit.max(min), cause);
        self.floor = self.limit;
        self.begin_sample();
        changed
    }

    fn change_to(&mut self, limit: f64, cause: ConcurrencyCause) -> Option<ConcurrencyCause> {
        let before = self.limit();
        self.limit = limit;
        (self.limit() != before).then_some(cause)
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
