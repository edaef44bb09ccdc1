//! The limiter itself, with or without a service.

use std::time::Duration;

use aplomb_core::{Acquire, CallOptions, Closing, Permit, Queue, QueueLimits, Wait};
use tokio::time::Instant;

use crate::{Charge, Exceeded, Quota, Quotas};

/// Quotas and the callers before them.
///
/// Clones share the quotas, the pause and the line. A [`RateLimitLayer`](crate::RateLimitLayer) has
/// one, see [`limiter`](crate::RateLimitLayer::limiter); it can also be used without a service.
///
/// # Examples
///
/// ```
/// use aplomb_core::{CallOptions, End};
/// use aplomb_rate_limit::{Charge, Limiter, Quota};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb_rate_limit::Exceeded> {
/// let limiter = Limiter::new([Quota::requests_per_minute(600), Quota::tokens_per_minute(90_000)]);
/// let charge = Charge::request().input_tokens(900).output_tokens(100);
/// let mut permit = limiter.acquire(charge, &CallOptions::new()).await?;
/// permit.sent();
/// // … make the call; dropping the permit before it is sent gives the charge back.
/// drop(permit);
/// assert_eq!(limiter.snapshot().available()[1].1, 89_000);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Limiter {
    queue: Queue<Quotas>,
}

impl Limiter {
    /// Full quotas, nobody waiting. With no quota at all only pauses hold calls back.
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Self {
        let quotas = Quotas::new(quotas, rand::random());
        Self { queue: Queue::new(quotas, QueueLimits::new(), ()) }
    }

    /// Changes the bounds of the line. Those who wait keep the ones they came under.
    pub fn set_queue_limits(&self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        self.queue.set_limits(change);
    }

    /// Sets the longest that a throttled response pauses everybody; 120 s unless set.
    pub fn set_max_pause(&self, longest: Duration) {
        self.queue.with(|quotas, _| quotas.set_max_pause(longest));
    }

    /// Waits until `charge` is there, takes it, and returns a permit to make one call.
    ///
    /// The permit wants to be told how the call went: see [`Permit`]. Dropping the future leaves the
    /// line without a trace.
    ///
    /// # Errors
    ///
    /// [`Exceeded`] where the charge exceeds a quota for good, where the wait can not end in time, and
    /// where too many wait or the limiter is closed.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait outside of a tokio runtime with time enabled.
    pub async fn acquire(&self, charge: Charge, options: &CallOptions) -> Result<Permit<Quotas>, Exceeded> {
        self.ask(charge, options).await.map_err(|turned| Exceeded::new(&turned, options))
    }

    pub(crate) fn ask(&self, charge: Charge, options: &CallOptions) -> Acquire<Quotas> {
        self.queue.acquire(charge, Wait::from(options))
    }

    /// What the limiter looks like now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let waiting = self.queue.waiting();
        self.queue.with(|quotas, now| Snapshot::of(quotas, waiting, now))
    }

    /// Refuses new calls from now on; those who wait are served or refused, as `closing` says.
    pub fn close(&self, closing: Closing) {
        self.queue.close(closing);
    }
}

/// What a [`Limiter`] looked like at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    available: Vec<(Quota, i64)>,
    in_flight: usize,
    waiting: usize,
    paused_until: Option<Instant>,
}

impl Snapshot {
    pub(crate) fn of(quotas: &Quotas, waiting: usize, now: Instant) -> Self {
        Self {
            available: quotas.available(now).collect(),
            in_flight: quotas.in_flight(),
            waiting,
            paused_until: quotas.paused_until(now),
        }
    }

    /// What each quota had left; negative where it was in debt.
    pub fn available(&self) -> &[(Quota, i64)] {
        &self.available
    }

    /// How many calls had been admitted and had not ended.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many calls were waiting.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Until when a throttled response paused everybody, if one did.
    #[must_use]
    pub const fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }
}
