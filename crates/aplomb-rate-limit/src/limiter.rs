//! The limiter: quotas and a queue, with or without a service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aplomb_admission::{Closing, Queue, QueueLimits, Wait};
use aplomb_core::{CallOptions, LogEvents, Observe};
use tokio::time::Instant;

use crate::limiter_gate::LimiterGate;
use crate::{AcquireFuture, Charge, Learned, Quota, Quotas, RateLimitSnapshot};

/// Quotas, and a queue of the calls that wait for them.
///
/// It is the handle of a [`RateLimitLayer`](crate::RateLimitLayer), see
/// [`limiter`](crate::RateLimitLayer::limiter), and can be used without a service. Its setters change what
/// is running. The quotas are its own, or those of a [`Pool`](crate::Pool).
///
/// Clones share everything.
///
/// # Examples
///
/// ```
/// use aplomb_rate_limit::{Charge, Quota, RateLimiter};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb_rate_limit::RateLimited> {
/// let limiter = RateLimiter::new([Quota::requests_per_minute(600), Quota::tokens_per_minute(90_000)]);
/// let charge = Charge::request().input_tokens(900).output_tokens(100);
/// let mut permit = limiter.acquire(charge).await?;
/// permit.sent();
/// // … make the call; the answer is longer than the estimate:
/// permit.settle(&Charge::request().input_tokens(900).output_tokens(350));
/// assert_eq!(limiter.snapshot().available()[1].1, 88_750);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RateLimiter {
    queue: Queue<LimiterGate>,
    observer: Arc<dyn Observe + Send + Sync>,
}

impl RateLimiter {
    /// Full quotas, and an empty queue. Without any quota the server's limits are learned, see
    /// [`set_learning`](RateLimiter::set_learning).
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Self {
        let quotas = Quotas::new(quotas, rand::random());
        Self::before(LimiterGate::Own(quotas), QueueLimits::new(), Arc::new(LogEvents))
    }

    pub(crate) fn before(
        gate: LimiterGate,
        limits: QueueLimits,
        observer: Arc<dyn Observe + Send + Sync>,
    ) -> Self {
        Self { queue: Queue::new(gate, limits, Arc::clone(&observer)), observer }
    }

    pub(crate) fn observer(&self) -> &(dyn Observe + Send + Sync) {
        &*self.observer
    }

    /// Sets how long a call may wait. A call that would wait longer is rejected immediately if that can be
    /// predicted, and at the timeout otherwise; zero rejects every call that would have to wait. Calls that
    /// wait already keep their limit. Default: as long as a call's own deadline allows.
    pub fn set_max_wait(&self, wait: Duration) {
        self.queue.set_limits(|limits| limits.max_wait(wait));
    }

    /// Sets how many calls may wait. Default: 65,536.
    pub fn set_max_waiting(&self, calls: usize) {
        self.queue.set_limits(|limits| limits.max_waiting(calls));
    }

    /// Sets how much a level of priority is worth: a call goes before those of the next level that arrived less than
    /// this long before it. Default: 30 s.
    pub fn set_ageing(&self, ageing: Duration) {
        self.queue.set_limits(|limits| limits.ageing(ageing));
    }

    /// Sets the longest pause of all callers after a throttled response. Default: 120 s. If a server
    /// asks for more, calls are rejected instead of waiting.
    pub fn set_max_pause(&self, longest: Duration) {
        self.with(|quotas, _| quotas.set_max_pause(longest));
    }

    /// Sets how long it takes after a pause until calls go as before. Default: 2 s.
    pub fn set_ramp(&self, ramp: Duration) {
        self.with(|quotas, _| quotas.set_ramp(ramp));
    }

    /// Sets whether limits that nobody configured are learned: from what the server reports
    /// or, if no quota is configured and the server reports nothing, from its refusals. Default: true.
    pub fn set_learning(&self, learning: bool) {
        self.with(|quotas, _| quotas.set_learning(learning));
    }

    /// Replaces the quotas. They keep their levels, and calls in flight are settled as before: see
    /// [`Quotas::set_quotas`].
    pub fn set_quotas(&self, quotas: impl IntoIterator<Item = Quota>) {
        // Not under the lock: the iterator is the caller's.
        let quotas: Vec<Quota> = quotas.into_iter().collect();
        self.with(|gate, now| gate.set_quotas(quotas, now));
    }

    /// What was learned of the server's limits, for a later run.
    pub fn learned(&self) -> Learned {
        self.with(|quotas, _| quotas.learned())
    }

    /// Starts with what was learned in an earlier run. Configured quotas take precedence, and so does what the
    /// server reports from now on.
    pub fn remember(&self, learned: &Learned) {
        self.with(|quotas, now| quotas.remember(learned, now));
    }

    /// Waits until the quotas have enough for `charge`, takes it, and returns a permit for one call.
    ///
    /// Tell the permit how the call went, see [`RateLimitPermit`](crate::RateLimitPermit). Dropping the future
    /// leaves the queue without a trace. The options of the call are those of the task, see
    /// [`CallOptions::scope`].
    ///
    /// # Errors
    ///
    /// [`RateLimited`](crate::RateLimited) if the charge is more than a quota ever holds, the wait cannot end
    /// in time, or too many calls wait or the limiter is closed: immediately if that is known immediately.
    ///
    /// # Panics
    ///
    /// The future panics if it has to wait outside of a tokio runtime with time enabled.
    pub fn acquire(&self, charge: Charge) -> AcquireFuture {
        self.acquire_with(charge, &CallOptions::current().unwrap_or_default())
    }

    /// Waits like [`acquire`](RateLimiter::acquire), with these options: a deadline, a priority.
    pub fn acquire_with(&self, charge: Charge, options: &CallOptions) -> AcquireFuture {
        AcquireFuture::new(self.queue.acquire(charge, Wait::from(options)), *options)
    }

    #[inline]
    pub(crate) const fn queue(&self) -> &Queue<LimiterGate> {
        &self.queue
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Quotas, Instant) -> T) -> T {
        self.queue.with(|gate, now| gate.quotas(now, change))
    }

    /// The quotas in force and what each has left: for `x-ratelimit-remaining` and the like. Negative where a quota
    /// is in debt.
    #[must_use]
    pub fn available(&self) -> Vec<(Quota, i64)> {
        self.with(|quotas, now| quotas.available(now).collect())
    }

    /// The current state.
    #[must_use]
    pub fn snapshot(&self) -> RateLimitSnapshot {
        let (waiting, oldest_wait) = (self.queue.waiting(), self.queue.oldest_wait());
        self.with(|quotas, now| RateLimitSnapshot::of(quotas, waiting, oldest_wait, now))
    }

    /// Rejects new calls from now on. Calls that wait are served or rejected, as `closing` says.
    pub fn close(&self, closing: Closing) {
        self.queue.close(closing);
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("queue", &self.queue).finish()
    }
}
