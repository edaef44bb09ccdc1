//! The promises about limits, pauses and circuits, each as a check over many seeds.
//!
//! A check returns everything that breaks its promise. The numbers are those of `docs/promises.md`.

mod chance;
mod everywhere;
mod lies;
mod outages;
mod overload;

use std::fmt;
use std::ops::Range;

use super::parallel;
use super::run::Run;

pub use self::chance::{promise_37, promise_38};
pub use self::everywhere::{promise_43, promise_47};
pub use self::lies::{promise_45, promise_46};
pub use self::outages::{promise_39, promise_40};
pub use self::overload::{promise_41, promise_42, promise_44};

/// A measure that is beyond what was promised.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The scenario, or a description of it.
    pub case: String,
    /// The measure.
    pub what: &'static str,
    /// Its value; the worst, if each run is to keep the promise by itself.
    pub value: f64,
    /// The largest value that keeps the promise.
    pub most: f64,
    /// The seed of the worst run; `None` if the value is a median over the runs.
    pub seed: Option<u64>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, what, value, most, seed } = self;
        write!(f, "{case}: {what}: {value:.2}, not {most:.2}")?;
        seed.map_or(Ok(()), |seed| write!(f, ", with seed {seed}"))
    }
}

/// A broken promise, with the evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    promise: u8,
    found: Vec<Finding>,
}

impl Violation {
    /// The number of the promise.
    pub const fn promise(&self) -> u8 {
        self.promise
    }

    /// The findings, one for each case and measure.
    pub fn found(&self) -> &[Finding] {
        &self.found
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "promise {} is broken:", self.promise)?;
        self.found.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

impl std::error::Error for Violation {}

/// A check of a promise over the seeds.
pub type Promise = fn(Range<u64>) -> Result<(), Violation>;

/// All checks, by number.
pub const ALL: [(u8, Promise); 11] = [
    (37, promise_37),
    (38, promise_38),
    (39, promise_39),
    (40, promise_40),
    (41, promise_41),
    (42, promise_42),
    (43, promise_43),
    (44, promise_44),
    (45, promise_45),
    (46, promise_46),
    (47, promise_47),
];

/// The measures of a case, compared with what was promised.
struct Measured {
    case: String,
    found: Vec<Finding>,
}

impl Measured {
    fn new(case: impl Into<String>) -> Self {
        Self { case: case.into(), found: Vec::new() }
    }

    /// Compares a measure of all runs with the most that is promised.
    fn median(&mut self, what: &'static str, value: f64, most: f64) {
        self.compare(what, value, most, None);
    }

    /// Compares a measure of one run with the most that is promised; the worst of them counts.
    fn each(&mut self, seed: u64, what: &'static str, value: f64, most: f64) {
        self.compare(what, value, most, Some(seed));
    }

    fn compare(&mut self, what: &'static str, value: f64, most: f64, seed: Option<u64>) {
        if value <= most {
            return;
        }
        match self.found.iter_mut().find(|finding| finding.what == what) {
            // How far beyond the bound: the bounds of two runs may differ.
            Some(worst) if value - most <= worst.value - worst.most => {}
            Some(worst) => (worst.value, worst.most, worst.seed) = (value, most, seed),
            None => self.found.push(Finding { case: self.case.clone(), what, value, most, seed }),
        }
    }
}

/// Checks each case, on all processors; the promise holds if nothing is beyond it.
fn check<C: Sync>(
    promise: u8,
    cases: &[C],
    measure: impl Fn(&C) -> Measured + Sync,
) -> Result<(), Violation> {
    let found: Vec<_> = parallel::map(cases, |case| measure(case).found).into_iter().flatten().collect();
    if found.is_empty() {
        return Ok(());
    }
    Err(Violation { promise, found })
}

/// The median of some numbers.
fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}

/// The number of prompts that have no answer.
fn unanswered(run: &Run) -> f64 {
    number(run.prompts.saturating_sub(run.answered))
}

#[expect(clippy::cast_precision_loss, reason = "there are few")]
fn number(of: u64) -> f64 {
    of as f64
}

fn count(of: usize) -> f64 {
    number(of as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_run_of_a_case_counts() {
        let mut measured = Measured::new("a case");
        for (seed, value) in [(1, 0.9), (2, 1.2), (3, 1.5), (4, 1.4)] {
            measured.each(seed, "time", value, 1.0);
        }
        measured.median("requests", 2.0, 1.0);
        let shown: Vec<_> = measured.found.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "a case: time: 1.50, not 1.00, with seed 3",
                "a case: requests: 2.00, not 1.00"
            ]
        );
    }
}
