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

pub use self::chance::{promise_37, promise_38};
pub use self::everywhere::{promise_43, promise_47};
pub use self::lies::{promise_45, promise_46};
pub use self::outages::{promise_39, promise_40};
pub use self::overload::{promise_41, promise_42, promise_44};

/// A broken promise, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    promise: u8,
    found: Vec<String>,
}

impl Violation {
    /// The number of the promise.
    pub const fn promise(&self) -> u8 {
        self.promise
    }

    /// The findings, a line for each.
    pub fn found(&self) -> &[String] {
        &self.found
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "promise {} is broken:", self.promise)?;
        self.found.iter().try_for_each(|line| write!(f, "\n  {line}"))
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

/// Checks each case, on all processors; the promise holds if there are no findings.
fn check<C: Sync>(
    promise: u8,
    cases: &[C],
    broken: impl Fn(&C) -> Vec<String> + Sync,
) -> Result<(), Violation> {
    let found: Vec<_> = parallel::map(cases, broken).concat();
    if found.is_empty() {
        return Ok(());
    }
    Err(Violation { promise, found })
}

/// Returns the finding if the condition does not hold.
fn unless(holds: bool, wrong: impl FnOnce() -> String) -> Option<String> {
    (!holds).then(wrong)
}

/// The median of some numbers.
fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}
