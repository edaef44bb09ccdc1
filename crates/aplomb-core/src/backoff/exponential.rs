//! Exponential backoff.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::{Backoff, FailedAttempt};

/// Exponential backoff: delays that double, with a cap and jitter.
///
/// Before retry *i*, counted from 0, the ceiling is `min(max, base · 2^i)`. The cap is applied before the
/// jitter, so that delays stay spread at the cap. The jitters are those of Marc Brooker, "Exponential Backoff
/// And Jitter" (AWS Architecture Blog, 2015).
///
/// Default: base 0.5 s, cap 60 s, full jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Exponential {
    base: Duration,
    min: Duration,
    max: Duration,
    factor: f64,
    jitter: Jitter,
}

/// How delays are spread, so that callers that fail together do not come back together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Jitter {
    /// Uniform between [`min`](Exponential::min) and the ceiling.
    #[default]
    Full,
    /// Uniform between half the ceiling and the ceiling.
    Equal,
    /// Uniform between the base and three times the delay before, at most the cap.
    Decorrelated,
    /// The ceiling itself. Callers that fail together come back together: for tests.
    None,
}

impl Exponential {
    /// Doubles from `base`, at most 60 s, with full jitter.
    pub const fn new(base: Duration) -> Self {
        let (min, max) = (Duration::ZERO, Duration::from_secs(60));
        Self { base, min, max, factor: 2.0, jitter: Jitter::Full }
    }

    /// Sets the shortest delay. Default: zero. It does not distort the jitter: full jitter is uniform between it
    /// and the ceiling. If it is above the cap, the cap applies.
    pub const fn min(mut self, min: Duration) -> Self {
        self.min = min;
        self
    }

    /// Sets the cap. Default: 60 s. It is applied before the jitter.
    pub const fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Sets the growth from one retry to the next. Default: 2. Values below 1 and NaN count as 1.
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = if factor >= 1.0 { factor } else { 1.0 };
        self
    }

    /// Sets how delays are spread. Default: full jitter.
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The ceiling of the delay before retry number `retry`, counted from 0.
    pub fn ceiling(&self, retry: u32) -> Duration {
        // Zero times an infinite growth would be NaN.
        if self.base.is_zero() {
            return Duration::ZERO;
        }
        let growth = self.factor.powi(i32::try_from(retry).unwrap_or(i32::MAX));
        let grown = self.base.as_secs_f64() * growth;
        Duration::try_from_secs_f64(grown).map_or(self.max, |grown| grown.min(self.max))
    }

    /// The delay before the retry that follows `failed`: there always is one.
    pub fn wait(&self, failed: &FailedAttempt<'_>, random: &mut dyn Rng) -> Duration {
        let min = self.min.min(self.max);
        let ceiling = self.ceiling(failed.retry()).max(min);
        match self.jitter {
            Jitter::Full => random.random_range(min..=ceiling),
            Jitter::Equal => random.random_range((ceiling / 2).max(min)..=ceiling),
            Jitter::Decorrelated => {
                let base = self.base.min(self.max).max(min);
                let last = failed.previous().unwrap_or(base).max(base);
                random.random_range(base..=last.saturating_mul(3).min(self.max).max(base))
            }
            Jitter::None => ceiling,
        }
    }
}

impl Default for Exponential {
    fn default() -> Self {
        Self::new(Duration::from_millis(500))
    }
}

impl Backoff for Exponential {
    fn delay(&self, failed: &FailedAttempt<'_>, random: &mut dyn Rng) -> Option<Duration> {
        Some(self.wait(failed, random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn delays(backoff: &impl Backoff, retry: u32, many: usize) -> Vec<f64> {
        let mut random = StdRng::seed_from_u64(7);
        let failed = FailedAttempt::new(retry, Outcome::transient());
        (0..many).map(|_| backoff.delay(&failed, &mut random).unwrap().as_secs_f64()).collect()
    }

    /// The largest distance between the sample and the uniform distribution on `[low, high]`
    /// (Kolmogorov and Smirnov).
    #[expect(clippy::cast_precision_loss, reason = "the samples are small")]
    fn distance_from_uniform(mut sample: Vec<f64>, low: f64, high: f64) -> f64 {
        sample.sort_by(f64::total_cmp);
        let many = sample.len() as f64;
        sample
            .iter()
            .enumerate()
            .map(|(i, x)| ((x - low) / (high - low) - i as f64 / many).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn full_jitter_is_uniform_below_and_at_the_cap() {
        let backoff = Exponential::default();
        for (retry, ceiling) in [(0, 0.5), (3, 4.0), (7, 60.0), (40, 60.0), (u32::MAX, 60.0)] {
            let sample = delays(&backoff, retry, 10_000);
            // 1.95 / √n is the bound at a level of 0.1 %.
            assert!(distance_from_uniform(sample, 0.0, ceiling) < 0.0195, "retry {retry}");
        }
    }

    #[test]
    fn a_shortest_delay_leaves_the_jitter_uniform() {
        let backoff = Exponential::new(Duration::from_secs(1)).min(Duration::from_secs(1));
        assert_eq!(delays(&backoff, 0, 3), [1.0, 1.0, 1.0]);
        for (retry, ceiling) in [(2, 4.0), (40, 60.0)] {
            assert!(distance_from_uniform(delays(&backoff, retry, 10_000), 1.0, ceiling) < 0.0195);
        }
    }

    #[test]
    fn ceilings_at_the_edges() {
        let none = Exponential::new(Duration::ZERO);
        assert_eq!([0, 1_024, u32::MAX].map(|retry| none.ceiling(retry)), [Duration::ZERO; 3]);
        let slow = Exponential::new(Duration::from_secs(1)).factor(1.001);
        assert_eq!(slow.ceiling(10_000), Duration::from_secs(60));
        assert_eq!(slow.ceiling(u32::MAX), Duration::from_secs(60));
    }

    #[test]
    fn equal_jitter_is_uniform_on_the_upper_half() {
        let backoff = Exponential::default().jitter(Jitter::Equal);
        assert!(distance_from_uniform(delays(&backoff, 40, 10_000), 30.0, 60.0) < 0.0195);
    }

    #[test]
    fn decorrelated_jitter_depends_on_the_delay_before() {
        let backoff = Exponential::default().jitter(Jitter::Decorrelated);
        let mut random = StdRng::seed_from_u64(1);
        let failed = FailedAttempt::new(5, Outcome::transient()).with_previous(Some(Duration::from_secs(2)));
        for _ in 0..1_000 {
            let delay = backoff.delay(&failed, &mut random).unwrap();
            assert!((Duration::from_millis(500)..=Duration::from_secs(6)).contains(&delay));
        }
    }

    proptest! {
        #[test]
        fn never_above_the_cap_whatever_the_numbers(
            retry: u32, base_ms in 0_u64..10_000_000, max_ms in 0_u64..10_000_000,
            factor in -1.0_f64..1e300, previous in any::<u64>(), seed: u64, min_ms in 0_u64..20_000_000,
        ) {
            let max = Duration::from_millis(max_ms);
            let failed = FailedAttempt::new(retry, Outcome::transient())
                .with_previous(Some(Duration::from_millis(previous)));
            let mut random = StdRng::seed_from_u64(seed);
            for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::None] {
                let backoff = Exponential::new(Duration::from_millis(base_ms))
                    .min(Duration::from_millis(min_ms)).max(max).factor(factor).jitter(jitter);
                let delay = backoff.delay(&failed, &mut random).unwrap();
                prop_assert!(delay <= max && delay >= Duration::from_millis(min_ms).min(max));
            }
        }
    }
}
