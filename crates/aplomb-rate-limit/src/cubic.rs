//! How a rate grows back after it was found to be too high.

use std::time::Duration;

/// The share that is kept of a rate that was too high, and how steeply it grows: the constants of CUBIC
/// (RFC 9438: 0.7 and 0.4) as AWS's SDKs use them for the rate of calls in their adaptive mode.
const BETA: f64 = 0.7;
const SCALE: f64 = 0.4;

/// The growth back to the old rate takes at least as long as this many calls do.
///
/// The scale of 0.4 is made for tens of calls a second: at one a second it would be back, and refused
/// again, within a second. The curve is as long above the old rate as below, so one call in about twice
/// this number is refused.
const MOST_CALLS_BACK: f64 = 30.0;

/// The same while the rate is not known well yet.
const LEAST_CALLS_BACK: f64 = 4.0;

/// A rate over time: steep at first, flat around the rate at which calls were refused last, and steep
/// again beyond.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cubic {
    /// The highest rate that the server accepted, in calls per second.
    most: f64,
    /// How long it takes to be there again, in seconds.
    back: f64,
}

impl Cubic {
    /// Starts below `most`, which so many calls have shown to be too much: the fewer they were, the sooner it
    /// tries again.
    pub(crate) fn below(most: f64, calls: f64) -> Self {
        let back = (most * (1.0 - BETA) / SCALE).cbrt();
        Self {
            most,
            back: back.max((2.0 * calls).clamp(LEAST_CALLS_BACK, MOST_CALLS_BACK) / most),
        }
    }

    /// The rate at which calls were refused last.
    pub(crate) const fn most(&self) -> f64 {
        self.most
    }

    /// The rate after calls have used it for so long.
    pub(crate) fn rate(&self, after: Duration) -> f64 {
        let way = after.as_secs_f64() / self.back - 1.0;
        self.most * (1.0 + (1.0 - BETA) * way.powi(3))
    }

    /// How long it takes to return to the rate at which calls were refused.
    pub(crate) fn plateau(&self) -> Duration {
        Duration::from_secs_f64(self.back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_high_rates_it_is_the_curve_of_aws() {
        // 0.4 · (t − K)³ + 14, where K = ∛(14 · 0.3 / 0.4), after each second.
        let cubic = Cubic { back: (14.0_f64 * 0.3 / 0.4).cbrt(), ..Cubic::below(14.0, 99.0) };
        for (second, rate) in [
            (0, 9.8),
            (1, 13.326),
            (2, 13.997),
            (3, 14.213),
            (4, 16.373),
            (5, 22.877),
        ] {
            assert!((cubic.rate(Duration::from_secs(second)) - rate).abs() < 1e-3);
        }
        let fast = Cubic::below(1_000.0, 99.0);
        assert!((fast.back - (750.0_f64).cbrt()).abs() < 1e-9);
    }

    #[test]
    fn at_low_rates_it_takes_its_time() {
        let cubic = Cubic::below(1.0, 99.0);
        assert!((cubic.rate(Duration::ZERO) - 0.7).abs() < 1e-9);
        assert!((cubic.rate(cubic.plateau()) - 1.0).abs() < 1e-9);
        assert!((cubic.plateau().as_secs_f64() - MOST_CALLS_BACK).abs() < 1e-9);
    }
}
