//! The limiter itself, with or without a service.

use std::fmt;
use std::time::Duration;

use aplomb_admission::{Closing, Queue, QueueLimits, Wait};
use aplomb_core::{CallOptions, LogEvents};
use tokio::time::Instant;

use crate::source::Source;
use crate::{AcquireFuture, Charge, Learned, Quota, Quotas, RateLimitSnapshot, Waiting};

/// Quotas and the callers before them.
///
/// Clones share the quotas, the pause and the line. A [`RateLimitLayer`](crate::RateLimitLayer) has
/// one, see [`limiter`](crate::RateLimitLayer::limiter); it can also be used without a service.
///
/// The quotas are its own, or those of a [`Pool`](crate::Pool): then it is a `RateLimiter<PoolMember>`.
///
/// # Examples
///
/// ```
/// use aplomb_rate_limit::{Charge, RateLimiter, Quota};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb_rate_limit::RateLimited> {
/// let limiter = RateLimiter::new([Quota::requests_per_minute(600), Quota::tokens_per_minute(90_000)]);
/// let charge = Charge::request().input_tokens(900).output_tokens(100);
/// let mut permit = limiter.acquire(charge).await?;
/// permit.sent();
/// // … make the call, and learn that the answer was longer than reserved for:
/// permit.settle(&Charge::request().input_tokens(900).output_tokens(350));
/// assert_eq!(limiter.snapshot().available()[1].1, 88_750);
/// # Ok(()) }
/// ```
pub struct RateLimiter<G: Source = Quotas> {
    queue: Queue<G>,
}

impl RateLimiter {
    /// Full quotas, nobody waiting. With no quota at all the server's limits are learned, see
    /// [`set_learning`](RateLimiter::set_learning).
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Self {
        Self::before(Quotas::new(quotas, rand::random()))
    }
}

impl<G: Source> RateLimiter<G> {
    pub(crate) fn before(gate: G) -> Self {
        Self { queue: Queue::new(gate, QueueLimits::new(), LogEvents) }
    }

    /// Sets what a call does that can not go at once: it waits in line unless set.
    pub fn set_waiting(&self, waiting: Waiting) {
        self.set_queue_limits(|limits| waiting.bound(limits));
    }

    /// Changes the bounds of the line. Those who wait keep the ones they came under.
    pub fn set_queue_limits(&self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        self.queue.set_limits(change);
    }

    /// Sets the longest that a throttled response pauses everybody: 120 s unless set. Where a server
    /// asks for more, calls are refused instead of waiting.
    pub fn set_max_pause(&self, longest: Duration) {
        self.with(|quotas, _| quotas.set_max_pause(longest));
    }

    /// Sets how long after a pause it takes until calls go as before: 2 s unless set.
    pub fn set_ramp(&self, ramp: Duration) {
        self.with(|quotas, _| quotas.set_ramp(ramp));
    }

    /// Sets whether quotas that nobody configured are learned, from what the server says of its limits
    /// or, where no quota is configured and the server says nothing, from its refusals: so unless set.
    pub fn set_learning(&self, learning: bool) {
        self.with(|quotas, _| quotas.set_learning(learning));
    }

    /// Seeds the jitter of pauses for which the server names no time, so that they are repeatable: for
    /// tests and simulations. Default: a random seed.
    pub fn set_seed(&self, seed: u64) {
        self.with(|quotas, _| quotas.set_seed(seed));
    }

    /// Puts other quotas in force, while calls come and go; see [`Quotas::set_quotas`] for what becomes
    /// of what has been drawn.
    pub fn set_quotas(&self, quotas: impl IntoIterator<Item = Quota>) {
        // Not under the lock: what makes them is the caller's.
        let quotas: Vec<Quota> = quotas.into_iter().collect();
        self.with(|gate, now| gate.set_quotas(quotas, now));
    }

    /// What was learned of the server's limits: for a later run that shall not start blind.
    pub fn learned(&self) -> Learned {
        self.with(|quotas, _| quotas.learned())
    }

    /// Starts with what was learned in an earlier run. What is configured goes before it, and what the
    /// server says from now on as well.
    pub fn remember(&self, learned: &Learned) {
        self.with(|quotas, now| quotas.remember(learned, now));
    }

    /// Waits until `charge` is there, takes it, and returns a permit to make one call.
    ///
    /// The permit wants to be told how the call went: see [`RateLimitPermit`](crate::RateLimitPermit). Dropping the future
    /// leaves the line without a trace. The call's options are those of the task, see
    /// [`CallOptions::scope`].
    ///
    /// The future ends in [`RateLimited`](crate::RateLimited) where the charge exceeds a quota for good, where
    /// the wait can not end in time, and where too many wait or the limiter is closed. It panics if it
    /// has to wait outside of a tokio runtime with time enabled.
    pub fn acquire(&self, charge: Charge) -> AcquireFuture<G> {
        self.acquire_with(charge, &CallOptions::current().unwrap_or_default())
    }

    /// Waits like [`acquire`](RateLimiter::acquire), with these options: a deadline, a priority.
    pub fn acquire_with(&self, charge: Charge, options: &CallOptions) -> AcquireFuture<G> {
        AcquireFuture::new(self.queue.acquire(charge, Wait::from(options)), *options)
    }

    #[inline]
    pub(crate) const fn queue(&self) -> &Queue<G> {
        &self.queue
    }

    fn with<T>(&self, change: impl FnOnce(&mut Quotas, Instant) -> T) -> T {
        self.queue.with(|gate, now| gate.quotas(now, change))
    }

    /// What the limiter looks like now.
    #[must_use]
    pub fn snapshot(&self) -> RateLimitSnapshot {
        let (waiting, oldest_wait) = (self.queue.waiting(), self.queue.oldest_wait());
        self.with(|quotas, now| RateLimitSnapshot::of(quotas, waiting, oldest_wait, now))
    }

    /// Refuses new calls from now on; those who wait are served or refused, as `closing` says.
    pub fn close(&self, closing: Closing) {
        self.queue.close(closing);
    }
}

impl<G: Source> Clone for RateLimiter<G> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<G: Source> fmt::Debug for RateLimiter<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("queue", &self.queue).finish()
    }
}
