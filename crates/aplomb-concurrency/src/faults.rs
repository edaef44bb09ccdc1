//! Failures that the number of calls does not explain.

/// The weight of one call in the share of failures that is expected.
const WEIGHT: f64 = 1.0 / 32.0;

/// No more than one call in eight is expected to fail.
const MOST: f64 = 1.0 / 8.0;

/// An overload is taken to make one call in ten fail, besides those that are expected to.
const OVERLOAD: f64 = 0.1;

/// How much likelier the overload has to be: the logarithm of about fifty.
const SURE: f64 = 4.0;

/// Learns what share of calls fails at any limit, and tells when more do.
///
/// A peer that fails one call in twenty for reasons of its own would drive a limit that shrinks on every
/// failure down to nothing. What fails well below the ceiling at which overload was met is not overload: so
/// many are expected to fail everywhere. As long as none does, one failure is more than expected; else the
/// evidence is added up as by Page's CUSUM test (Biometrika, 1954).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Faults {
    expected: f64,
    evidence: f64,
}

impl Faults {
    /// Forgets the evidence: the limit has been lowered.
    pub(crate) const fn begin(&mut self) {
        self.evidence = 0.0;
    }

    /// A call was answered; `below` where the limit is well below the ceiling.
    pub(crate) fn answered(&mut self, below: bool) {
        if self.evidence > 0.0 {
            let likelier = (1.0 - self.expected - OVERLOAD) / (1.0 - self.expected);
            self.evidence = (self.evidence + likelier.ln()).max(0.0);
        }
        if below {
            self.expected -= WEIGHT * self.expected;
        }
    }

    /// A call failed. Says whether more have failed than was to be expected.
    pub(crate) fn failed(&mut self, below: bool) -> bool {
        // Where none is expected to fail, this is infinite.
        self.evidence += ((self.expected + OVERLOAD) / self.expected).ln();
        if below {
            self.expected = (self.expected + WEIGHT * (1.0 - self.expected)).min(MOST);
        }
        self.evidence > SURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_counts_where_none_is_expected() {
        let mut faults = Faults::default();
        (0..100).for_each(|_| faults.answered(true));
        assert!(faults.failed(false));
        faults.begin();
        faults.answered(false);
        assert!(faults.failed(false));
    }

    #[test]
    fn a_share_that_is_always_there_is_expected_and_more_is_not() {
        // How often is it too much, when one in so many of 2,000 calls fails?
        let run = |faults: &mut Faults, one_in: usize, below: bool| {
            let mut alarms = 0;
            for n in 1..=2_000 {
                if n % one_in > 0 {
                    faults.answered(below);
                } else if faults.failed(below) {
                    faults.begin();
                    alarms += 1;
                }
            }
            alarms
        };
        let mut faults = Faults::default();
        run(&mut faults, 20, true);
        assert_eq!(run(&mut faults, 20, false), 0);
        assert!(run(&mut faults, 4, false) > 20);
        // What has stopped failing is not expected to any more.
        run(&mut faults, usize::MAX, true);
        assert!(faults.failed(false));
    }
}
