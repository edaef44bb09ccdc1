//! Failures that occur at any number of calls.

/// The weight of one call in the expected share of failures.
const WEIGHT: f64 = 1.0 / 32.0;

/// The largest share that can be expected.
const MAX_EXPECTED: f64 = 1.0 / 8.0;

/// Overload is assumed to make one more call in ten fail.
const OVERLOAD: f64 = 0.1;

/// Overload must be about fifty times as likely: the logarithm of that.
const THRESHOLD: f64 = 4.0;

/// Learns what share of calls fails at any limit, and detects when more do.
///
/// A server that fails one call in twenty for reasons of its own would drive a limit that shrinks on every failure down to
/// nothing. Failures well below the ceiling are not caused by overload: the same share is expected at any limit. As
/// long as no failures are expected, one is enough; else evidence accumulates as in Page's CUSUM test (Biometrika, 1954).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct BackgroundFailures {
    expected: f64,
    evidence: f64,
}

impl BackgroundFailures {
    /// Discards the evidence, since the limit was lowered.
    pub(crate) const fn clear_evidence(&mut self) {
        self.evidence = 0.0;
    }

    /// A call was answered; `below` if the limit is well below the ceiling.
    pub(crate) fn answered(&mut self, below: bool) {
        if self.evidence > 0.0 {
            let likelier = (1.0 - self.expected - OVERLOAD) / (1.0 - self.expected);
            self.evidence = (self.evidence + likelier.ln()).max(0.0);
        }
        if below {
            self.expected -= WEIGHT * self.expected;
        }
    }

    /// A call failed. Returns whether more have failed than expected.
    pub(crate) fn failed(&mut self, below: bool) -> bool {
        // Infinite if no failures are expected.
        self.evidence += ((self.expected + OVERLOAD) / self.expected).ln();
        if below {
            self.expected = (self.expected + WEIGHT * (1.0 - self.expected)).min(MAX_EXPECTED);
        }
        self.evidence > THRESHOLD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_counts_where_none_is_expected() {
        let mut failures = BackgroundFailures::default();
        (0..100).for_each(|_| failures.answered(true));
        assert!(failures.failed(false));
        failures.clear_evidence();
        failures.answered(false);
        assert!(failures.failed(false));
    }

    #[test]
    fn a_share_that_is_always_there_is_expected_and_more_is_not() {
        // The number of alarms if one in `one_in` of 2,000 calls fails.
        let run = |failures: &mut BackgroundFailures, one_in: usize, below: bool| {
            let mut alarms = 0;
            for n in 1..=2_000 {
                if n % one_in > 0 {
                    failures.answered(below);
                } else if failures.failed(below) {
                    failures.clear_evidence();
                    alarms += 1;
                }
            }
            alarms
        };
        let mut failures = BackgroundFailures::default();
        run(&mut failures, 20, true);
        assert_eq!(run(&mut failures, 20, false), 0);
        assert!(run(&mut failures, 4, false) > 20);
        // When they have stopped, failures are no longer expected.
        run(&mut failures, usize::MAX, true);
        assert!(failures.failed(false));
    }
}
