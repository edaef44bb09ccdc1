//! Stop conditions.

use std::time::Duration;

use aplomb_core::{FailedAttempt, StopReason};
use tokio_util::sync::CancellationToken;

/// A condition under which a request is not sent again.
///
/// A closure `Fn(&Upcoming) -> bool` is a condition, and so is a `CancellationToken`. Conditions are combined
/// with [`or`](Stop::or) and [`and`](Stop::and).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_retry::{After, RetryLayer, Stop, Upcoming};
///
/// // After ten retries or a minute, or as soon as the server says that it is closed.
/// let closed = |upcoming: &Upcoming<'_>| {
///     let headers = upcoming.failed().response().and_then(|response| response.headers());
///     headers.is_some_and(|headers| headers.contains_key("x-closed"))
/// };
/// let layer = RetryLayer::new().stop(After::Retries(10).or(After::Delay(Duration::from_secs(60))).or(closed));
/// # drop(layer);
/// ```
pub trait Stop: Send + Sync {
    /// Returns why the attempt that `upcoming` describes is not made, or `None` if it is made.
    fn stop(&self, upcoming: &Upcoming<'_>) -> Option<StopReason>;

    /// Stops if this or `other` does. The first reason is reported.
    fn or<S: Stop>(self, other: S) -> impl Stop
    where
        Self: Sized,
    {
        Or(self, other)
    }

    /// Stops if both this and `other` do. The second reason is reported.
    fn and<S: Stop>(self, other: S) -> impl Stop
    where
        Self: Sized,
    {
        And(self, other)
    }
}

/// The attempt that a [`Stop`] decides about.
#[derive(Clone, Copy, Debug)]
pub struct Upcoming<'a> {
    pub(crate) failed: &'a FailedAttempt<'a>,
    pub(crate) delay: Duration,
    pub(crate) elapsed: Duration,
}

impl<'a> Upcoming<'a> {
    /// The attempt that failed, and the number of the next retry.
    pub const fn failed(&self) -> &'a FailedAttempt<'a> {
        self.failed
    }

    /// The delay before the retry.
    pub const fn delay(&self) -> Duration {
        self.delay
    }

    /// The time from the beginning of the call to the failure.
    pub const fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

/// A [`Stop`] at a number of retries, or at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Stops after this number of retries.
    Retries(u32),
    /// Stops if the retry would begin this long after the call began, or later.
    Delay(Duration),
}

impl Stop for After {
    fn stop(&self, upcoming: &Upcoming<'_>) -> Option<StopReason> {
        match *self {
            Self::Retries(most) => (upcoming.failed.retry() >= most).then_some(StopReason::MaxRetries),
            Self::Delay(longest) => {
                let begins = upcoming.elapsed.saturating_add(upcoming.delay);
                (begins >= longest).then_some(StopReason::Deadline)
            }
        }
    }
}

impl<F: Fn(&Upcoming<'_>) -> bool + Send + Sync> Stop for F {
    fn stop(&self, upcoming: &Upcoming<'_>) -> Option<StopReason> {
        self(upcoming).then_some(StopReason::Condition)
    }
}

/// For a condition that is chosen at run time.
impl Stop for Box<dyn Stop> {
    fn stop(&self, upcoming: &Upcoming<'_>) -> Option<StopReason> {
        (**self).stop(upcoming)
    }
}

/// Checked after each attempt. [`RetryLayer::cancellation`](crate::RetryLayer::cancellation) also ends a
/// delay.
impl Stop for CancellationToken {
    fn stop(&self, _: &Upcoming<'_>) -> Option<StopReason> {
        self.is_cancelled().then_some(StopReason::Cancelled)
    }
}

#[derive(Clone, Copy, Debug)]
struct Or<A, B>(A, B);

impl<A: Stop, B: Stop> Stop for Or<A, B> {
    fn stop(&self, upcoming: &Upcoming<'_>) -> Option<StopReason> {
        self.0.stop(upcoming).or_else(|| self.1.stop(upcoming))
    }
}

#[derive(Clone, Copy, Debug)]
struct And<A, B>(A, B);

impl<A: Stop, B: Stop> Stop for And<A, B> {
    fn stop(&self, upcoming: &Upcoming<'_>) -> Option<StopReason> {
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

    fn stopped(stop: &impl Stop, retry: u32, elapsed: u64, wait: u64) -> Option<StopReason> {
        let failed = FailedAttempt::new(retry, Outcome::transient());
        stop.stop(&Upcoming { failed: &failed, delay: secs(wait), elapsed: secs(elapsed) })
    }

    #[test]
    fn any_and_all() {
        let any = After::Retries(3).or(After::Delay(secs(10)));
        let all = After::Retries(3).and(After::Delay(secs(10)));
        for (retry, elapsed, wait, any_stops, all_stops) in [
            (2, 5, 4, None, None),
            (3, 5, 4, Some(StopReason::MaxRetries), None),
            (2, 5, 5, Some(StopReason::Deadline), None),
            (3, 5, 5, Some(StopReason::MaxRetries), Some(StopReason::Deadline)),
        ] {
            assert_eq!(stopped(&any, retry, elapsed, wait), any_stops);
            assert_eq!(stopped(&all, retry, elapsed, wait), all_stops);
        }
        assert_eq!(stopped(&After::Delay(secs(1)), 0, u64::MAX, u64::MAX), Some(StopReason::Deadline));
    }

    #[test]
    fn a_closure_and_a_token() {
        let token = CancellationToken::new();
        let stop = token.clone().or(|upcoming: &Upcoming<'_>| upcoming.delay() > secs(7));
        assert_eq!(stopped(&stop, 0, 0, 7), None);
        assert_eq!(stopped(&stop, 0, 0, 8), Some(StopReason::Condition));
        token.cancel();
        assert_eq!(stopped(&stop, 0, 0, 0), Some(StopReason::Cancelled));
    }
}
