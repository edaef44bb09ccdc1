//! Tells whether a peer slows down: short-term latencies against long-term ones.

use tokio::time::Instant;

use crate::Latency;
use crate::stretch::{Median, Stretch};

/// How many calls make a stretch, at least.
pub(crate) const FEW: u64 = 8;

/// How many make one, at most: by then chance explains little.
const MANY: u64 = 64;

/// By how many standard errors answers have to be slower. One stretch in forty exceeds it by chance.
const SURE: f64 = 2.0;

/// The standard error of a median, by that of a mean: √(π/2), for a normal distribution.
const OF_A_MEDIAN: f64 = 1.253;

/// The weight of a new stretch in the long term.
const WEIGHT: f64 = 1.0 / 16.0;

/// The number of answers that the long term is worth once it has been built up.
const MEMORY: f64 = 128.0;

/// Compares the median latency of each stretch of calls with that of the past.
///
/// A pure state machine. Latencies count by their logarithms.
#[derive(Clone, Debug)]
pub(crate) struct Slowness {
    latency: Latency,
    stretch: Stretch,
    long: Option<Long>,
    /// The limit and the median when the slowness began that has been met with smaller limits since.
    began: Option<(f64, f64)>,
}

/// What answers are compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Baseline {
    latency: Latency,
    long: Option<Long>,
    began: Option<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Long {
    median: f64,
    spread: f64,
    answers: f64,
}

/// What a stretch of calls says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Finding {
    /// They were answered as fast as ever; and whether the limit was used meanwhile.
    AsEver { used: bool },
    /// They took so many times as long.
    Slower(f64),
}

impl Slowness {
    /// Times calls from the one with this number on.
    pub(crate) fn new(latency: Latency, since: u64) -> Self {
        Self { latency, stretch: Stretch::new(since, FEW), long: None, began: None }
    }

    /// What is to be kept while nobody calls.
    pub(crate) const fn baseline(&self) -> Baseline {
        Baseline { latency: self.latency, long: self.long, began: self.began }
    }

    /// Goes on from a baseline, where that is one of what is measured here.
    pub(crate) fn resume(&mut self, baseline: &Baseline) {
        if baseline.latency == self.latency {
            self.long = baseline.long;
            self.began = baseline.began;
        }
    }

    pub(crate) const fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Whether calls are being timed for a finding.
    pub(crate) const fn is_timing(&self) -> bool {
        self.stretch.is_open()
    }

    /// Begins a new stretch: of so many calls, from the one of this number on.
    pub(crate) fn begin(&mut self, since: u64, calls: u64) {
        self.stretch.begin(since, calls.clamp(FEW, MANY));
    }

    /// A call is let through.
    pub(crate) fn admitted(&mut self, number: u64, now: Instant) {
        self.stretch.admitted(number, now);
    }

    /// A call will not be timed.
    pub(crate) fn left(&mut self, number: u64) {
        self.stretch.left(number);
        if self.stretch.is_void() {
            self.stretch.close();
        }
    }

    /// A call was answered, in so many seconds; `filled` where as many were in flight as the limit allows.
    /// What that completes is judged; `limit` is the one that holds.
    pub(crate) fn timed(
        &mut self,
        number: u64,
        seconds: f64,
        filled: bool,
        limit: (f64, f64),
        now: Instant,
    ) -> Option<Finding> {
        self.stretch.timed(number, seconds, filled);
        let median = self.stretch.median(self.latency.is_an_age(), now)?;
        self.stretch.close();
        Some(self.judge(median, self.stretch.used(), limit))
    }

    fn judge(&mut self, short: Median, used: bool, (limit, min): (f64, f64)) -> Finding {
        let Median { ln: median, spread, answers } = short;
        let Some(long) = &mut self.long else {
            self.long = Some(Long { median, spread, answers });
            return Finding::AsEver { used };
        };
        let error = OF_A_MEDIAN * long.spread.max(spread) * (1.0 / answers + 1.0 / long.answers).sqrt();
        let chance = SURE * error;
        let too_slow = chance.max(self.latency.ln_tolerance());
        let slower = median - long.median;
        long.spread += WEIGHT * (spread - long.spread);
        long.answers = (long.answers + answers).min(MEMORY);
        // Faster than chance explains is what the peer can do; the rest is averaged, and a slow stretch
        // counts as one that is just not too slow.
        long.median += if slower < -chance {
            slower / 4.0
        } else {
            slower.min(too_slow) * WEIGHT
        };
        if slower <= too_slow {
            self.began = None;
            return Finding::AsEver { used };
        }
        let (first_limit, first_median) = *self.began.get_or_insert((limit, median));
        let unyielding = limit <= first_limit / 2.0 && median > first_median - too_slow;
        // The peer is slower, and we are not why; or there is nothing left to give way with.
        if unyielding || limit <= min {
            long.median = median;
            self.began = None;
            return Finding::AsEver { used: false };
        }
        Finding::Slower(slower.exp())
    }
}
