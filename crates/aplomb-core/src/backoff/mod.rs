//! How long to wait before a retry.

mod combine;
mod exponential;
mod simple;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

pub use self::combine::{Bounded, Jittered, Plus, Take, Then};
pub use self::exponential::{Exponential, Jitter};
pub use self::simple::{BackoffFn, Constant, Delays, Uniform, backoff_fn, delays};
use crate::{Outcome, ResponseHead};

/// Says how long to wait before a retry.
///
/// An implementation keeps nothing between two waits: what it may depend on is in [`Failed`], so that
/// one backoff serves all calls at once. Simple ones are joined to others:
///
/// ```
/// use std::time::Duration;
/// use aplomb_core::{Backoff, Constant, Exponential, Uniform};
///
/// let second = Duration::from_secs(1);
/// // Three waits of 1 s, then waits that double; up to a second more each time; a minute at most.
/// let backoff = Constant(second)
///     .take(3)
///     .then(Exponential::new(second))
///     .plus(Uniform(Duration::ZERO..=second))
///     .at_most(Duration::from_secs(60));
/// # drop(backoff);
/// ```
///
/// A `Duration` is a backoff itself, and so is a list of them (an array or a `Vec`): one wait after
/// the other, and no retry after the last.
pub trait Backoff {
    /// The wait before the retry that `failed` describes, or `None` to make no further one. `random`
    /// is the only source of chance.
    fn delay(&self, failed: &Failed<'_>, random: &mut dyn Rng) -> Option<Duration>;

    /// The sum of this wait and `other`'s. It ends when either ends.
    fn plus<B: Backoff>(self, other: B) -> Plus<Self, B>
    where
        Self: Sized,
    {
        Plus(self, other)
    }

    /// The first `retries` waits of this backoff, and none after them.
    fn take(self, retries: u32) -> Take<Self>
    where
        Self: Sized,
    {
        Take::new(self, retries)
    }

    /// The waits of `other` once this backoff has ended. It goes on counting: `other` sees how often
    /// the request has been sent again in all.
    fn then<B: Backoff>(self, other: B) -> Then<Self, B>
    where
        Self: Sized,
    {
        Then(self, other)
    }

    /// Waits spread uniformly between `share` of what they would be and that: 0 for full jitter, 0.5
    /// for equal jitter, 1 for none. What is below 0, above 1 or not a number counts as 0.
    fn jittered(self, share: f64) -> Jittered<Self>
    where
        Self: Sized,
    {
        Jittered::new(self, share)
    }

    /// Waits of `longest` where they would be longer. Cut this way, jitter is lost at the cap: an
    /// [`Exponential`] has a cap of its own, which keeps it.
    fn at_most(self, longest: Duration) -> Bounded<Self>
    where
        Self: Sized,
    {
        Bounded::new(self, Duration::ZERO, longest)
    }

    /// Waits of `shortest` where they would be shorter.
    fn at_least(self, shortest: Duration) -> Bounded<Self>
    where
        Self: Sized,
    {
        Bounded::new(self, shortest, Duration::MAX)
    }
}

/// A backoff may be shared, or chosen at run time: `&B`, `Arc<dyn Backoff>`, `Box<dyn Backoff>`.
macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<B: Backoff + ?Sized> Backoff for $pointer {
            fn delay(&self, failed: &Failed<'_>, random: &mut dyn Rng) -> Option<Duration> {
                (**self).delay(failed, random)
            }
        }
    )*};
}

pointers!(&B, Box<B>, Arc<B>);

/// What is known of a call when its next wait is chosen.
#[derive(Clone, Copy)]
#[must_use]
pub struct Failed<'a> {
    retry: u32,
    outcome: Outcome,
    previous: Option<Duration>,
    response: Option<&'a dyn ResponseHead>,
}

impl<'a> Failed<'a> {
    /// Before retry number `retry`, counted from 0, after an attempt that came to `outcome`.
    pub const fn new(retry: u32, outcome: Outcome) -> Self {
        Self { retry, outcome, previous: None, response: None }
    }

    /// Adds the wait before the retry before this one.
    pub const fn with_previous(mut self, previous: Option<Duration>) -> Self {
        self.previous = previous;
        self
    }

    /// Adds the response that failed.
    pub const fn with_response(mut self, response: Option<&'a dyn ResponseHead>) -> Self {
        self.response = response;
        self
    }

    /// The number of the retry to come: 0 for the first.
    pub const fn retry(&self) -> u32 {
        self.retry
    }

    /// What the attempt came to.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// How long was waited before the attempt that failed, if it was a retry itself.
    pub const fn previous(&self) -> Option<Duration> {
        self.previous
    }

    /// The head of the response that failed; `None` where the attempt ended in an error.
    pub const fn response(&self) -> Option<&'a dyn ResponseHead> {
        self.response
    }
}

/// Headers may hold secrets: of the response only the status is shown.
impl fmt::Debug for Failed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failed")
            .field("retry", &self.retry)
            .field("outcome", &self.outcome)
            .field("previous", &self.previous)
            .field("status", &self.response.and_then(ResponseHead::status))
            .finish()
    }
}
