//! Backoffs: how long to wait before a retry.

mod combine;
mod exponential;
mod simple;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use self::combine::{Bounded, Jittered, Plus, Take, Then};
pub use self::exponential::{Exponential, Jitter};
pub use self::simple::backoff_fn;
use crate::{Outcome, ResponseHead};

/// How long to wait before a retry.
///
/// Backoffs:
///
/// - a `Duration`: the same delay before every retry;
/// - a list of them (an array or a `Vec`): one after the other, no retry after the last;
/// - a range of them, `from..=to`: drawn uniformly;
/// - [`Exponential`]: delays that double, with jitter;
/// - a closure, by [`backoff_fn`];
/// - any of these combined with the methods below.
///
/// A backoff has no state: everything it may depend on is in [`FailedAttempt`], so that one backoff serves all
/// calls. An implementation is at least `Send + Sync`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_core::{Backoff, Exponential};
///
/// let second = Duration::from_secs(1);
/// // Three delays of 1 s, then delays that double; up to a second more each time; a minute at most.
/// let backoff = second
///     .take(3)
///     .then(Exponential::new(second))
///     .plus(Duration::ZERO..=second)
///     .at_most(Duration::from_secs(60));
/// # drop(backoff);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a backoff",
    label = "expected a `Duration`, a list or range of them, an `Exponential` or a `backoff_fn`",
    note = "a closure becomes a backoff with `backoff_fn`; it must be `Send + Sync`"
)]
pub trait Backoff: Send + Sync {
    /// Returns the delay before the retry that follows `failed`, or `None` for no further retry. `random` is
    /// the only source of randomness.
    fn delay(&self, failed: &FailedAttempt<'_>, random: &mut dyn Rng) -> Option<Duration>;

    /// The sum of this delay and `other`'s. Ends when either ends.
    fn plus<B: Backoff>(self, other: B) -> impl Backoff
    where
        Self: Sized,
    {
        Plus(self, other)
    }

    /// The first `retries` delays of this backoff, and none after them.
    fn take(self, retries: u32) -> impl Backoff
    where
        Self: Sized,
    {
        Take { backoff: self, retries }
    }

    /// This backoff, and `other` after it has ended. Retries are numbered on: `other` does not begin at 0.
    fn then<B: Backoff>(self, other: B) -> impl Backoff
    where
        Self: Sized,
    {
        Then(self, other)
    }

    /// Delays drawn uniformly between `share` times the delay and the delay: 0 is full jitter, 0.5 equal
    /// jitter, 1 none. Values below 0 or above 1 and NaN count as 0.
    fn jittered(self, share: f64) -> impl Backoff
    where
        Self: Sized,
    {
        Jittered::new(self, share)
    }

    /// Delays of at most `longest`. Jitter is lost at this cap; the cap of an [`Exponential`] keeps it.
    fn at_most(self, longest: Duration) -> impl Backoff
    where
        Self: Sized,
    {
        Bounded { backoff: self, shortest: Duration::ZERO, longest }
    }

    /// Delays of at least `shortest`.
    fn at_least(self, shortest: Duration) -> impl Backoff
    where
        Self: Sized,
    {
        Bounded { backoff: self, shortest, longest: Duration::MAX }
    }
}

/// For a backoff that is shared, or chosen at run time: `&B`, `Arc<dyn Backoff>`, `Box<dyn Backoff>`.
macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<B: Backoff + ?Sized> Backoff for $pointer {
            fn delay(&self, failed: &FailedAttempt<'_>, random: &mut dyn Rng) -> Option<Duration> {
                (**self).delay(failed, random)
            }
        }
    )*};
}

pointers!(&B, Box<B>, Arc<B>);

/// A failed attempt, as a [`Backoff`] sees it.
#[derive(Clone, Copy)]
#[must_use]
pub struct FailedAttempt<'a> {
    retry: u32,
    outcome: Outcome,
    previous: Option<Duration>,
    response: Option<&'a dyn ResponseHead>,
}

impl<'a> FailedAttempt<'a> {
    /// An attempt that ended with `outcome`, before retry number `retry`, counted from 0.
    pub const fn new(retry: u32, outcome: Outcome) -> Self {
        Self { retry, outcome, previous: None, response: None }
    }

    /// Adds the delay before the attempt that failed.
    pub const fn with_previous(mut self, previous: Option<Duration>) -> Self {
        self.previous = previous;
        self
    }

    /// Adds the response.
    pub const fn with_response(mut self, response: Option<&'a dyn ResponseHead>) -> Self {
        self.response = response;
        self
    }

    /// The number of the next retry: 0 for the first.
    pub const fn retry(&self) -> u32 {
        self.retry
    }

    /// The outcome of the attempt.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The delay before the attempt, if it was a retry itself.
    pub const fn previous(&self) -> Option<Duration> {
        self.previous
    }

    /// The head of the response; `None` if the attempt ended with an error.
    pub const fn response(&self) -> Option<&'a dyn ResponseHead> {
        self.response
    }
}

/// Shows only the status of the response, since headers may contain secrets.
impl fmt::Debug for FailedAttempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedAttempt")
            .field("retry", &self.retry)
            .field("outcome", &self.outcome)
            .field("previous", &self.previous)
            .field("status", &self.response.and_then(ResponseHead::status))
            .finish()
    }
}
