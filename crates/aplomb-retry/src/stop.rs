//! When to stop sending a request again, in the caller's own words.

use std::time::Duration;

use aplomb_core::Failed;
use tokio_util::sync::CancellationToken;

use crate::Stopped;

/// Says when a request is not sent again, although it could be.
///
/// A closure that takes an [`Upcoming`] is one, and so is a `CancellationToken`, once it is cancelled.
/// Conditions are joined by [`or`](Stop::or) (any of them stops) and [`and`](Stop::and) (all of them
/// must say so).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_retry::{AfterDelay, AfterRetries, RetryLayer, Stop, Upcoming};
///
/// // After ten retries or a minute, and at once when the server says that it is closed for the day.
/// let closed = |upcoming: &Upcoming<'_>| {
///     let headers = upcoming.failed().response().and_then(|response| response.headers());
///     headers.is_some_and(|headers| headers.contains_key("x-closed"))
/// };
/// let layer = RetryLayer::new().stop(AfterRetries(10).or(AfterDelay(Duration::from_secs(60))).or(closed));
/// # drop(layer);
/// ```
pub trait Stop {
    /// Why the attempt that `upcoming` describes is not made; `None` where it is.
    fn stop(&self, upcoming: &Upcoming<'_>) -> Option<Stopped>;

    /// Stops where this or `other` does. The first reason is reported.
    fn or<S: Stop>(self, other: S) -> Or<Self, S>
    where
        Self: Sized,
    {
        Or(self, other)
    }

    /// Stops where both this and `other` do. The second reason is reported.
    fn and<S: Stop>(self, other: S) -> And<Self, S>
    where
        Self: Sized,
    {
        And(self, other)
    }
}

/// An attempt that may be made: what a [`Stop`] sees.
#[derive(Clone, Copy, Debug)]
pub struct Upcoming<'a> {
    pub(crate) failed: &'a Failed<'a>,
    pub(crate) wait: Duration,
    pub(crate) elapsed: Duration,
}

impl<'a> Upcoming<'a> {
    /// The attempt that failed, and the number of the retry to come.
    pub const fn failed(&self) -> &'a Failed<'a> {
        self.failed
    }

    /// How long the call would wait before the retry.
    pub const fn wait(&self) -> Duration {
        self.wait
    }

    /// How long ago the call began, when the attempt failed.
    pub const fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

/// Stops after so many retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterRetries(pub u32);

impl Stop for AfterRetries {
    fn stop(&self, upcoming: &Upcoming<'_>) -> Option<Stopped> {
        (upcoming.failed.retry() >= self.0).then_some(Stopped::MaxRetries)
    }
}

/// Stops where the retry would begin so long after the call, or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterDelay(pub Duration);

impl Stop for AfterDelay {
    fn stop(&self, upcoming: &Upcoming<'_>) -> Option<Stopped> {
        (upcoming.elapsed.saturating_add(upcoming.wait) >= self.0).then_some(Stopped::Deadline)
    }
}

impl<F: Fn(&Upcoming<'_>) -> bool> Stop for F {
    fn stop(&self, upcoming: &Upcoming<'_>) -> Option<Stopped> {
        self(upcoming).then_some(Stopped::Condition)
    }
}

/// A condition may be chosen at run time.
impl Stop for Box<dyn Stop + Send + Sync> {
    fn stop(&self, upcoming: &Upcoming<'_>) -> Option<Stopped> {
        (**self).stop(upcoming)
    }
}

/// Between two attempts only. [`RetryLayer::cancellation`](crate::RetryLayer::cancellation) ends a wait as well.
impl Stop for CancellationToken {
    fn stop(&self, _: &Upcoming<'_>) -> Option<Stopped> {
        self.is_cancelled().then_some(Stopped::Cancelled)
    }
}

/// Either of two conditions: see [`Stop::or`].
#[derive(Clone, Copy, Debug)]
pub struct Or<A, B>(A, B);

impl<A: Stop, B: Stop> Stop for Or<A, B> {
    fn stop(&self, upcoming: &Upcoming<'_>) -> Option<Stopped> {
        self.0.stop(upcoming).or_else(|| self.1.stop(upcoming))
    }
}

/// Both of two conditions: see [`Stop::and`].
#[derive(Clone, Copy, Debug)]
pub struct And<A, B>(A, B);

impl<A: Stop, B: Stop> Stop for And<A, B> {
    fn stop(&self, upcoming: &Upcoming<'_>) -> Option<Stopped> {
        self.0.stop(upcoming).and_then(|_| self.1.stop(upcoming))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aplomb_core::Outcome;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn stopped(stop: &impl Stop, retry: u32, elapsed: u64, wait: u64) -> Option<Stopped> {
        let failed = Failed::new(retry, Outcome::transient());
        stop.stop(&Upcoming { failed: &failed, wait: secs(wait), elapsed: secs(elapsed) })
    }

    #[test]
    fn any_and_all() {
        let any = AfterRetries(3).or(AfterDelay(secs(10)));
        let all = AfterRetries(3).and(AfterDelay(secs(10)));
        for (retry, elapsed, wait, any_stops, all_stops) in [
            (2, 5, 4, None, None),
            (3, 5, 4, Some(Stopped::MaxRetries), None),
            (2, 5, 5, Some(Stopped::Deadline), None),
            (3, 5, 5, Some(Stopped::MaxRetries), Some(Stopped::Deadline)),
        ] {
            assert_eq!(stopped(&any, retry, elapsed, wait), any_stops);
            assert_eq!(stopped(&all, retry, elapsed, wait), all_stops);
        }
        assert_eq!(stopped(&AfterDelay(secs(1)), 0, u64::MAX, u64::MAX), Some(Stopped::Deadline));
    }

    #[test]
    fn a_closure_and_a_token() {
        let token = CancellationToken::new();
        let stop = token.clone().or(|upcoming: &Upcoming<'_>| upcoming.wait() > secs(7));
        assert_eq!(stopped(&stop, 0, 0, 7), None);
        assert_eq!(stopped(&stop, 0, 0, 8), Some(Stopped::Condition));
        token.cancel();
        assert_eq!(stopped(&stop, 0, 0, 0), Some(Stopped::Cancelled));
    }
}
