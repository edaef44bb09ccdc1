//! Detects that a server slows down, by comparing recent latencies with earlier ones.

use tokio::time::Instant;

use crate::Latency;
use crate::sample_window::{Median, SampleWindow};

/// The fewest calls in a sample.
pub(crate) const MIN_SAMPLES: u64 = 8;

/// The most calls in a sample: more would add little certainty.
const MAX_SAMPLES: u64 = 64;

/// By how many standard errors answers must be slower. One sample in forty exceeds it by chance.
const SIGNIFICANCE: f64 = 2.0;

/// The standard error of a median relative to that of a mean: √(π/2), for a normal distribution.
const OF_A_MEDIAN: f64 = 1.253;

/// The weight of a new sample in the baseline.
const WEIGHT: f64 = 1.0 / 16.0;

/// The number of answers that an established baseline counts for.
const MAX_ANSWERS: f64 = 128.0;

/// Compares the median latency of each sample of calls with the baseline, which follows slowly.
///
/// A pure state machine. Latencies are compared by their logarithms.
#[derive(Clone, Debug)]
pub(crate) struct SlowdownDetector {
    latency: Latency,
    sample: SampleWindow,
    long_term: Option<LongTerm>,
    /// The limit and the median when the present slowdown began.
    began: Option<(f64, f64)>,
}

/// The latencies that new samples are compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Baseline {
    latency: Latency,
    long_term: Option<LongTerm>,
    began: Option<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct LongTerm {
    median: f64,
    spread: f64,
    answers: f64,
}

/// The result of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trend {
    /// Answers are as fast as before. `used` if the limit was reached meanwhile.
    Steady { used: bool },
    /// Answers take this many times as long.
    Slower(f64),
}

impl SlowdownDetector {
    /// Starts with the call numbered `first`.
    pub(crate) const fn new(latency: Latency, first: u64) -> Self {
        Self {
            latency,
            sample: SampleWindow::new(first, MIN_SAMPLES),
            long_term: None,
            began: None,
        }
    }

    /// The state to keep while no call is in flight.
    pub(crate) const fn baseline(&self) -> Baseline {
        Baseline { latency: self.latency, long_term: self.long_term, began: self.began }
    }

    /// Continues from a baseline, if it measures the same thing.
    pub(crate) fn resume(&mut self, baseline: &Baseline) {
        if baseline.latency == self.latency {
            self.long_term = baseline.long_term;
            self.began = baseline.began;
        }
    }

    pub(crate) const fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Returns whether a sample is being taken.
    pub(crate) const fn is_sampling(&self) -> bool {
        self.sample.is_open()
    }

    /// Begins a sample of `calls` calls with the one numbered `first`.
    pub(crate) fn begin(&mut self, first: u64, calls: u64) {
        self.sample.begin(first, calls.clamp(MIN_SAMPLES, MAX_SAMPLES));
    }

    /// A call is admitted.
    pub(crate) fn admitted(&mut self, number: u64, now: Instant) {
        self.sample.admitted(number, now);
    }

    /// A call will not be timed.
    pub(crate) fn untimed(&mut self, number: u64) {
        self.sample.untimed(number);
        if self.sample.is_void() {
            self.sample.close();
        }
    }

    /// A call was answered after `seconds`; `filled` if the limit was reached then. Judges the sample that this completes,
    /// given the present and the smallest limit.
    pub(crate) fn timed(
        &mut self,
        number: u64,
        seconds: f64,
        filled: bool,
        limits: (f64, f64),
        now: Instant,
    ) -> Option<Trend> {
        self.sample.timed(number, seconds, filled);
        let median = self.sample.median(self.latency.is_an_age(), now)?;
        self.sample.close();
        Some(self.judge(median, self.sample.used(), limits))
    }

    fn judge(&mut self, sample: Median, used: bool, (limit, min): (f64, f64)) -> Trend {
        let Median { ln: median, spread, answers } = sample;
        let Some(long_term) = &mut self.long_term else {
            self.long_term = Some(LongTerm { median, spread, answers });
            return Trend::Steady { used };
        };
        let error =
            OF_A_MEDIAN * long_term.spread.max(spread) * (1.0 / answers + 1.0 / long_term.answers).sqrt();
        let chance = SIGNIFICANCE * error;
        let too_slow = chance.max(self.latency.ln_tolerance());
        let slower = median - long_term.median;
        long_term.spread += WEIGHT * (spread - long_term.spread);
        long_term.answers = (long_term.answers + answers).min(MAX_ANSWERS);
        // Answers faster than chance explains show what the server can do. Others are averaged; a slow sample counts as one
        // that is just not too slow.
        long_term.median += if slower < -chance {
            slower / 4.0
        } else {
            slower.min(too_slow) * WEIGHT
        };
        if slower <= too_slow {
            self.began = None;
            return Trend::Steady { used };
        }
        let (first_limit, first_median) = *self.began.get_or_insert((limit, median));
        let smaller_limits_did_not_help = limit <= first_limit / 2.0 && median > first_median - too_slow;
        // The server is slower for other reasons; or the limit cannot shrink further.
        if smaller_limits_did_not_help || limit <= min {
            long_term.median = median;
            self.began = None;
            return Trend::Steady { used: false };
        }
        Trend::Slower(slower.exp())
    }
}
