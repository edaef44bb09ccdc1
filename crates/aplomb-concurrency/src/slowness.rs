//! Tells whether a peer slows down: short-term latencies against long-term ones.

use crate::Latency;

/// How many answers make a stretch, at least.
const FEW: u32 = 8;

/// How many make one, at most: by then chance explains little.
const MANY: u32 = 64;

/// By how many standard errors answers have to be slower. One stretch in forty exceeds it by chance.
const SURE: f64 = 2.0;

/// The weight of a new stretch in the long-term mean, and in the spread.
const WEIGHT: f64 = 1.0 / 16.0;

/// The number of answers that the long-term mean is worth once it has been built up.
const MEMORY: f64 = 128.0;

/// Compares the latencies of one stretch of answers with those of the past.
///
/// A pure state machine. Latencies count by their logarithms, whose mean and spread a few very slow
/// answers do not move much.
#[derive(Clone, Debug)]
pub(crate) struct Slowness {
    latency: Latency,
    stretch: Stretch,
    long: Option<Long>,
    /// The limit and the mean when the slowness began that has been met with smaller limits since.
    began: Option<(f64, f64)>,
}

/// The answers to calls that were let through since it began.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    since: u64,
    needed: u32,
    answers: u32,
    /// The mean, and the sum of squared distances from it, as Welford counts them.
    mean: f64,
    squares: f64,
    used: bool,
}

#[derive(Clone, Copy, Debug)]
struct Long {
    mean: f64,
    variance: f64,
    answers: f64,
}

/// An answer, as far as it concerns latency.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// The number of its call.
    pub(crate) number: u64,
    /// In seconds.
    pub(crate) latency: f64,
    /// Whether its call was one of as many as the limit allows.
    pub(crate) filled: bool,
}

/// What a stretch of answers says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Finding {
    /// They came as fast as ever, and whether the limit was used meanwhile.
    AsEver { used: bool },
    /// They took so many times as long.
    Slower(f64),
}

impl Slowness {
    pub(crate) const fn new(latency: Latency, since: u64) -> Self {
        Self { latency, stretch: Stretch::new(since, FEW), long: None, began: None }
    }

    pub(crate) const fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Begins a new stretch: with the call of this number, of so many answers.
    pub(crate) fn begin(&mut self, since: u64, needed: usize) {
        let needed = u32::try_from(needed).unwrap_or(MANY).clamp(FEW, MANY);
        self.stretch = Stretch::new(since, needed);
    }

    /// Counts an answer. What it completes is judged; `limit` is the one that holds.
    pub(crate) fn answered(&mut self, answer: Answer, limit: f64, min: f64) -> Option<Finding> {
        self.stretch.add(answer);
        if self.stretch.answers < self.stretch.needed {
            return None;
        }
        let stretch = self.stretch;
        let variance = stretch.squares / f64::from(stretch.answers - 1);
        let answers = f64::from(stretch.answers);
        let Some(long) = &mut self.long else {
            self.long = Some(Long { mean: stretch.mean, variance, answers });
            return Some(Finding::AsEver { used: stretch.used });
        };
        // One answer that took for ever spreads its own stretch, and so does not look like slowness.
        let spread = long.variance.max(variance);
        let chance = SURE * (spread * (1.0 / answers + 1.0 / long.answers)).sqrt();
        let slower = stretch.mean - long.mean;
        long.variance += WEIGHT * (variance - long.variance);
        long.answers = (long.answers + answers).min(MEMORY);

        if slower > chance.max(self.latency.ln_tolerance()) {
            let (first_limit, first_mean) = *self.began.get_or_insert((limit, stretch.mean));
            let unyielding =
                limit <= first_limit / 2.0 && stretch.mean > first_mean - self.latency.ln_tolerance();
            // The peer is slower, and we are not why: or there is nothing left to give way with.
            if unyielding || limit <= min {
                long.mean = stretch.mean;
                self.began = None;
                return Some(Finding::AsEver { used: false });
            }
            return Some(Finding::Slower(slower.exp()));
        }
        self.began = None;
        // Faster than chance explains is what the peer can do; the rest is averaged.
        long.mean += slower * if slower < -chance { 0.5 } else { WEIGHT };
        Some(Finding::AsEver { used: stretch.used })
    }
}

impl Stretch {
    const fn new(since: u64, needed: u32) -> Self {
        Self { since, needed, answers: 0, mean: 0.0, squares: 0.0, used: false }
    }

    fn add(&mut self, answer: Answer) {
        // What was sent before was timed under another limit.
        if answer.number < self.since {
            return;
        }
        // A nanosecond is the least there is; no time at all has no logarithm.
        let ln = answer.latency.max(1e-9).ln();
        self.answers += 1;
        self.used |= answer.filled;
        let distance = ln - self.mean;
        self.mean += distance / f64::from(self.answers);
        self.squares += distance * (ln - self.mean);
    }
}
