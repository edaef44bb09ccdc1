//! Backoffs made of others.

use std::time::Duration;

use rand::Rng;

use super::{Backoff, Failed};

/// The sum of two waits: see [`Backoff::plus`].
#[derive(Clone, Copy, Debug)]
pub struct Plus<A, B>(pub(super) A, pub(super) B);

impl<A: Backoff, B: Backoff> Backoff for Plus<A, B> {
    fn delay(&self, failed: &Failed<'_>, random: &mut dyn Rng) -> Option<Duration> {
        let first = self.0.delay(failed, random)?;
        Some(first.saturating_add(self.1.delay(failed, random)?))
    }
}

/// One backoff after the other: see [`Backoff::then`].
#[derive(Clone, Copy, Debug)]
pub struct Then<A, B>(pub(super) A, pub(super) B);

impl<A: Backoff, B: Backoff> Backoff for Then<A, B> {
    fn delay(&self, failed: &Failed<'_>, random: &mut dyn Rng) -> Option<Duration> {
        self.0.delay(failed, random).or_else(|| self.1.delay(failed, random))
    }
}

/// So many waits and no more: see [`Backoff::take`].
#[derive(Clone, Copy, Debug)]
pub struct Take<B> {
    backoff: B,
    retries: u32,
}

impl<B> Take<B> {
    pub(super) const fn new(backoff: B, retries: u32) -> Self {
        Self { backoff, retries }
    }
}

impl<B: Backoff> Backoff for Take<B> {
    fn delay(&self, failed: &Failed<'_>, random: &mut dyn Rng) -> Option<Duration> {
        (failed.retry() < self.retries).then(|| self.backoff.delay(failed, random))?
    }
}

/// Waits with bounds: see [`Backoff::at_most`] and [`Backoff::at_least`].
#[derive(Clone, Copy, Debug)]
pub struct Bounded<B> {
    backoff: B,
    shortest: Duration,
    longest: Duration,
}

impl<B> Bounded<B> {
    pub(super) const fn new(backoff: B, shortest: Duration, longest: Duration) -> Self {
        Self { backoff, shortest, longest }
    }
}

impl<B: Backoff> Backoff for Bounded<B> {
    fn delay(&self, failed: &Failed<'_>, random: &mut dyn Rng) -> Option<Duration> {
        Some(self.backoff.delay(failed, random)?.clamp(self.shortest, self.longest))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Backoff, Constant, Exponential, Failed, Jitter, Outcome};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn waits(backoff: &impl Backoff) -> Vec<Option<u64>> {
        let mut random = StdRng::seed_from_u64(1);
        let mut delay = |retry| backoff.delay(&Failed::new(retry, Outcome::transient()), &mut random);
        (0..5).map(|retry| delay(retry).map(|wait| wait.as_secs())).collect()
    }

    #[test]
    fn a_chain_goes_on_counting() {
        let doubling = Exponential::new(SECOND).jitter(Jitter::None);
        let chain = Constant(SECOND * 7).take(2).then(doubling);
        assert_eq!(waits(&chain), [Some(7), Some(7), Some(4), Some(8), Some(16)]);
        let twice = Constant(SECOND).take(1).then([SECOND * 9, SECOND * 5]);
        assert_eq!(waits(&twice), [Some(1), Some(5), None, None, None]);
    }

    #[test]
    fn a_sum_ends_with_its_first_end_and_does_not_overflow() {
        let sum = [SECOND, SECOND * 2].plus(SECOND * 10);
        assert_eq!(waits(&sum), [Some(11), Some(12), None, None, None]);
        assert_eq!(waits(&SECOND.plus([SECOND])), [Some(2), None, None, None, None]);
        let most = Some(Duration::MAX.as_secs());
        assert_eq!(waits(&Duration::MAX.plus(Duration::MAX)), [most; 5]);
    }

    #[test]
    fn bounds_hold() {
        let doubling = Exponential::new(SECOND).jitter(Jitter::None);
        let bounded = doubling.at_least(SECOND * 3).at_most(SECOND * 8);
        assert_eq!(waits(&bounded), [Some(3), Some(3), Some(4), Some(8), Some(8)]);
    }
}
