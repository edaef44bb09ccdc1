//! Backoffs from a duration, a range, a list and a closure.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::{Rng, RngExt};

use super::{Backoff, FailedAttempt};

/// The same delay before every retry.
impl Backoff for Duration {
    fn delay(&self, _: &FailedAttempt<'_>, _: &mut dyn Rng) -> Option<Duration> {
        Some(*self)
    }
}

/// A delay drawn uniformly from the range. If the end is before the start, the delay is the start.
impl Backoff for RangeInclusive<Duration> {
    fn delay(&self, _: &FailedAttempt<'_>, random: &mut dyn Rng) -> Option<Duration> {
        let (from, to) = (*self.start(), *self.end());
        Some(random.random_range(from..=to.max(from)))
    }
}

/// One delay after the other, and no retry after the last: `Vec<Duration>`, `[Duration; N]`.
macro_rules! lists {
    ($([$($generic:tt)*] $list:ty),*) => {$(
        impl<$($generic)*> Backoff for $list {
            fn delay(&self, failed: &FailedAttempt<'_>, _: &mut dyn Rng) -> Option<Duration> {
                self.get(usize::try_from(failed.retry()).ok()?).copied()
            }
        }
    )*};
}

lists!([] Vec<Duration>, [const N: usize] [Duration; N], [] [Duration]);

struct BackoffFn<F>(F);

/// Makes a [`Backoff`] of a closure. It sees the number of the retry, the outcome, the delay before and the
/// head of the response, and returns a `Duration`, or an `Option` of one: `None` is no further retry.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_core::{Kind, backoff_fn};
///
/// let backoff = backoff_fn(|failed, _| match failed.outcome().kind() {
///     Kind::Throttled => Duration::from_secs(20),
///     _ => Duration::from_secs(1 + u64::from(failed.retry())),
/// });
/// # drop(backoff);
///
/// // Of an iterator, for some dozens of retries: 1, 1, 2, 3, 5, … seconds.
/// let fibonacci = std::iter::successors(Some((1, 1)), |(a, b)| Some((*b, *a + *b)));
/// let backoff = backoff_fn(move |failed, _| {
///     let (seconds, _) = fibonacci.clone().nth(failed.retry() as usize)?;
///     Some(Duration::from_secs(seconds))
/// });
/// # drop(backoff);
/// ```
pub const fn backoff_fn<F, T>(delay: F) -> impl Backoff
where
    F: Fn(&FailedAttempt<'_>, &mut dyn Rng) -> T + Send + Sync,
    T: Into<Option<Duration>>,
{
    BackoffFn(delay)
}

impl<F, T> Backoff for BackoffFn<F>
where
    F: Fn(&FailedAttempt<'_>, &mut dyn Rng) -> T + Send + Sync,
    T: Into<Option<Duration>>,
{
    fn delay(&self, failed: &FailedAttempt<'_>, random: &mut dyn Rng) -> Option<Duration> {
        (self.0)(failed, random).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn delays_of(backoff: &impl Backoff, retries: u32) -> Vec<Option<u64>> {
        let mut random = StdRng::seed_from_u64(1);
        let mut delay = |retry| backoff.delay(&FailedAttempt::new(retry, Outcome::transient()), &mut random);
        (0..retries).map(|retry| delay(retry).map(|delay| delay.as_secs())).collect()
    }

    #[test]
    fn a_list_ends() {
        let seconds = [3, 1, 2].map(Duration::from_secs);
        let expected = [Some(3), Some(1), Some(2), None, None];
        assert_eq!(delays_of(&seconds, 5), expected);
        assert_eq!(delays_of(&seconds.to_vec(), 5), expected);
        let last = FailedAttempt::new(u32::MAX, Outcome::transient());
        assert_eq!(seconds.delay(&last, &mut StdRng::seed_from_u64(1)), None);
    }

    #[test]
    fn a_duration_is_the_same_each_time() {
        assert_eq!(delays_of(&Duration::from_secs(4), 2), [Some(4), Some(4)]);
    }

    #[test]
    fn a_range_is_drawn_from_and_may_be_reversed() {
        let mut random = StdRng::seed_from_u64(1);
        let failed = FailedAttempt::new(0, Outcome::transient());
        let (one, two) = (Duration::from_secs(1), Duration::from_secs(2));
        for _ in 0..1_000 {
            let drawn = (one..=two).delay(&failed, &mut random).unwrap();
            assert!((one..=two).contains(&drawn));
        }
        let reversed = two..=one;
        assert_eq!(reversed.delay(&failed, &mut random), Some(two));
    }
}
