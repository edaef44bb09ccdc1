//! Combinations of backoffs: see the methods of [`Backoff`].

use std::time::Duration;

use rand::{Rng, RngExt};

use super::{Backoff, FailedAttempt};

pub(super) struct Plus<A, B>(pub(super) A, pub(super) B);

impl<A: Backoff, B: Backoff> Backoff for Plus<A, B> {
    fn delay(&self, failed: &FailedAttempt<'_>, random: &mut dyn Rng) -> Option<Duration> {
        let first = self.0.delay(failed, random)?;
        Some(first.saturating_add(self.1.delay(failed, random)?))
    }
}

pub(super) struct Then<A, B>(pub(super) A, pub(super) B);

impl<A: Backoff, B: Backoff> Backoff for Then<A, B> {
    fn delay(&self, failed: &FailedAttempt<'_>, random: &mut dyn Rng) -> Option<Duration> {
        self.0.delay(failed, random).or_else(|| self.1.delay(failed, random))
    }
}

pub(super) struct Take<B> {
    pub(super) backoff: B,
    pub(super) retries: u32,
}

impl<B: Backoff> Backoff for Take<B> {
    fn delay(&self, failed: &FailedAttempt<'_>, random: &mut dyn Rng) -> Option<Duration> {
        (failed.retry() < self.retries).then(|| self.backoff.delay(failed, random))?
    }
}

pub(super) struct Bounded<B> {
    pub(super) backoff: B,
    pub(super) shortest: Duration,
    pub(super) longest: Duration,
}

impl<B: Backoff> Backoff for Bounded<B> {
    fn delay(&self, failed: &FailedAttempt<'_>, random: &mut dyn Rng) -> Option<Duration> {
        Some(self.backoff.delay(failed, random)?.clamp(self.shortest, self.longest))
    }
}

pub(super) struct Jittered<B> {
    backoff: B,
    share: f64,
}

impl<B> Jittered<B> {
    pub(super) const fn new(backoff: B, share: f64) -> Self {
        let share = if share > 0.0 && share <= 1.0 { share } else { 0.0 };
        Self { backoff, share }
    }
}

impl<B: Backoff> Backoff for Jittered<B> {
    fn delay(&self, failed: &FailedAttempt<'_>, random: &mut dyn Rng) -> Option<Duration> {
        let longest = self.backoff.delay(failed, random)?;
        // The share of the longest possible delay may not fit after rounding.
        let shortest = Duration::try_from_secs_f64(longest.as_secs_f64() * self.share).unwrap_or(longest);
        Some(random.random_range(shortest.min(longest)..=longest))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Backoff, Exponential, FailedAttempt, Jitter, Outcome};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn delays(backoff: &impl Backoff) -> Vec<Option<u64>> {
        let mut random = StdRng::seed_from_u64(1);
        let mut delay = |retry| backoff.delay(&FailedAttempt::new(retry, Outcome::transient()), &mut random);
        (0..5).map(|retry| delay(retry).map(|delay| delay.as_secs())).collect()
    }

    #[test]
    fn a_chain_numbers_its_retries_on() {
        let doubling = Exponential::new(SECOND).jitter(Jitter::None);
        let chain = (SECOND * 7).take(2).then(doubling);
        assert_eq!(delays(&chain), [Some(7), Some(7), Some(4), Some(8), Some(16)]);
        let twice = SECOND.take(1).then([SECOND * 9, SECOND * 5]);
        assert_eq!(delays(&twice), [Some(1), Some(5), None, None, None]);
    }

    #[test]
    fn a_sum_ends_with_its_first_end_and_does_not_overflow() {
        let sum = [SECOND, SECOND * 2].plus(SECOND * 10);
        assert_eq!(delays(&sum), [Some(11), Some(12), None, None, None]);
        assert_eq!(delays(&SECOND.plus([SECOND])), [Some(2), None, None, None, None]);
        let most = Some(Duration::MAX.as_secs());
        assert_eq!(delays(&Duration::MAX.plus(Duration::MAX)), [most; 5]);
    }

    #[test]
    fn jitter_spreads_any_delay() {
        let mut random = StdRng::seed_from_u64(1);
        let failed = FailedAttempt::new(0, Outcome::transient());
        for (share, least) in [(0.0, 0), (0.75, 6), (1.0, 8), (-1.0, 0), (2.0, 0), (f64::NAN, 0)] {
            let waits: Vec<_> = (0..1_000)
                .map(|_| (SECOND * 8).jittered(share).delay(&failed, &mut random).unwrap())
                .collect();
            assert!(waits.iter().all(|wait| (SECOND * least..=SECOND * 8).contains(wait)), "{share}");
            let spread = waits.iter().max().unwrap().abs_diff(*waits.iter().min().unwrap());
            assert!(spread >= SECOND * (8 - least) * 9 / 10, "{share}: {spread:?}");
        }
        assert!(Duration::MAX.jittered(0.99).delay(&failed, &mut random).is_some());
    }

    #[test]
    fn a_backoff_may_be_chosen_at_run_time() {
        let chosen: Box<dyn Backoff> = if delays(&SECOND).is_empty() {
            Box::new(SECOND)
        } else {
            Box::new([SECOND])
        };
        assert_eq!(delays(&&chosen), [Some(1), None, None, None, None]);
        assert_eq!(delays(&std::sync::Arc::new(SECOND).plus(&SECOND)), [Some(2); 5]);
    }

    #[test]
    fn bounds_hold() {
        let doubling = Exponential::new(SECOND).jitter(Jitter::None);
        let bounded = doubling.at_least(SECOND * 3).at_most(SECOND * 8);
        assert_eq!(delays(&bounded), [Some(3), Some(3), Some(4), Some(8), Some(8)]);
    }
}
