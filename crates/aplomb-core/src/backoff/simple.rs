//! Waits that do not grow by themselves: the same one, one drawn, one after the other.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::{Rng, RngExt};

use super::{Backoff, Failed};

/// The same wait before every retry. A plain `Duration` says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant(pub Duration);

impl Backoff for Constant {
    fn delay(&self, _: &Failed<'_>, _: &mut dyn Rng) -> Option<Duration> {
        Some(self.0)
    }
}

impl Backoff for Duration {
    fn delay(&self, _: &Failed<'_>, _: &mut dyn Rng) -> Option<Duration> {
        Some(*self)
    }
}

/// A wait that is drawn anew from a range each time, uniformly. A range that ends before it begins
/// comes to its beginning.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_core::Uniform;
///
/// let up_to_a_second = Uniform(Duration::ZERO..=Duration::from_secs(1));
/// # drop(up_to_a_second);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uniform(pub RangeInclusive<Duration>);

impl Backoff for Uniform {
    fn delay(&self, _: &Failed<'_>, random: &mut dyn Rng) -> Option<Duration> {
        let (from, to) = (*self.0.start(), *self.0.end());
        Some(random.random_range(from..=to.max(from)))
    }
}

/// Waits one after the other, and no retry after the last: `Vec<Duration>`, `[Duration; N]`.
macro_rules! lists {
    ($([$($generic:tt)*] $list:ty),*) => {$(
        impl<$($generic)*> Backoff for $list {
            fn delay(&self, failed: &Failed<'_>, _: &mut dyn Rng) -> Option<Duration> {
                self.get(usize::try_from(failed.retry()).ok()?).copied()
            }
        }
    )*};
}

lists!([] Vec<Duration>, [const N: usize] [Duration; N], [] [Duration]);

/// The waits of an iterator: made by [`delays`].
#[derive(Clone)]
pub struct Delays<I>(I);

/// Makes a [`Backoff`] of any iterator that can be cloned; no retry follows after its end.
///
/// Every call begins with a copy of the iterator as it was given, and finds the wait before retry *n*
/// by walking to its item *n*: meant for some dozens of retries.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_core::delays;
///
/// // 1, 1, 2, 3, 5, … seconds
/// let fibonacci = std::iter::successors(Some((1_u64, 1_u64)), |(a, b)| Some((*b, b.saturating_add(*a))));
/// let backoff = delays(fibonacci.map(|(seconds, _)| Duration::from_secs(seconds)));
/// # drop(backoff);
/// ```
pub const fn delays<I: Iterator<Item = Duration> + Clone>(delays: I) -> Delays<I> {
    Delays(delays)
}

impl<I: Iterator<Item = Duration> + Clone> Backoff for Delays<I> {
    fn delay(&self, failed: &Failed<'_>, _: &mut dyn Rng) -> Option<Duration> {
        self.0.clone().nth(usize::try_from(failed.retry()).ok()?)
    }
}

/// A backoff of the caller's own: made by [`backoff_fn`].
#[derive(Clone, Copy)]
pub struct BackoffFn<F>(F);

/// Makes a [`Backoff`] from a closure that sees the number of the retry, the outcome, the wait before
/// and the head of the response; and returns a `Duration`, or `None` of one to make no further retry.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_core::{Failed, Kind, backoff_fn};
/// use rand::Rng;
///
/// let backoff = backoff_fn(|failed: &Failed<'_>, _: &mut dyn Rng| match failed.outcome().kind() {
///     Kind::Throttled => Duration::from_secs(20),
///     _ => Duration::from_secs(1 + u64::from(failed.retry())),
/// });
/// # drop(backoff);
/// ```
pub const fn backoff_fn<F, T>(delay: F) -> BackoffFn<F>
where
    F: Fn(&Failed<'_>, &mut dyn Rng) -> T,
    T: Into<Option<Duration>>,
{
    BackoffFn(delay)
}

impl<F, T> Backoff for BackoffFn<F>
where
    F: Fn(&Failed<'_>, &mut dyn Rng) -> T,
    T: Into<Option<Duration>>,
{
    fn delay(&self, failed: &Failed<'_>, random: &mut dyn Rng) -> Option<Duration> {
        (self.0)(failed, random).into()
    }
}

impl<I> fmt::Debug for Delays<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delays")
    }
}

impl<F> fmt::Debug for BackoffFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackoffFn")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn waits(backoff: &impl Backoff, retries: u32) -> Vec<Option<u64>> {
        let mut random = StdRng::seed_from_u64(1);
        let mut delay = |retry| backoff.delay(&Failed::new(retry, Outcome::transient()), &mut random);
        (0..retries).map(|retry| delay(retry).map(|wait| wait.as_secs())).collect()
    }

    #[test]
    fn a_list_and_an_iterator_end() {
        let seconds = [3, 1, 2].map(Duration::from_secs);
        let expected = [Some(3), Some(1), Some(2), None, None];
        assert_eq!(waits(&seconds, 5), expected);
        assert_eq!(waits(&seconds.to_vec(), 5), expected);
        assert_eq!(waits(&delays(seconds.into_iter()), 5), expected);
        let last = Failed::new(u32::MAX, Outcome::transient());
        assert_eq!(seconds.delay(&last, &mut StdRng::seed_from_u64(1)), None);
    }

    #[test]
    fn a_duration_is_a_constant() {
        assert_eq!(waits(&Duration::from_secs(4), 2), [Some(4), Some(4)]);
        assert_eq!(waits(&Constant(Duration::from_secs(4)), 2), [Some(4), Some(4)]);
    }

    #[test]
    fn a_range_is_drawn_from_and_may_be_empty() {
        let mut random = StdRng::seed_from_u64(1);
        let failed = Failed::new(0, Outcome::transient());
        let (one, two) = (Duration::from_secs(1), Duration::from_secs(2));
        for _ in 0..1_000 {
            let drawn = Uniform(one..=two).delay(&failed, &mut random).unwrap();
            assert!((one..=two).contains(&drawn));
        }
        let reversed = Uniform(Duration::from_secs(2)..=Duration::from_secs(1));
        assert_eq!(reversed.delay(&failed, &mut random), Some(two));
    }
}
