//! The limit itself, with or without a service.

use std::time::Duration;

use aplomb_admission::{Closing, Permit, Queue, QueueLimits, Wait};
use aplomb_core::{CallOptions, Observe};

use crate::{AtCapacity, ConcurrencySnapshot, Limit, LimitChange, Slots};

/// A limit on calls in flight, and the callers before it.
///
/// Clones share the limit and the line. A [`ConcurrencyLimitLayer`](crate::ConcurrencyLimitLayer) has one,
/// see [`limiter`](crate::ConcurrencyLimitLayer::limiter); it can also be used without a service.
///
/// # Examples
///
/// ```
/// use aplomb_concurrency::Limiter;
/// use aplomb_admission::End;
/// use aplomb_core::{CallOptions, Outcome};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb_concurrency::AtCapacity> {
/// let limiter = Limiter::new(8);
/// let mut permit = limiter.acquire(&CallOptions::new()).await?;
/// permit.sent();
/// assert_eq!(limiter.snapshot().in_flight(), 1);
/// // … make the call, and tell what became of it; dropping the permit gives it back as well.
/// permit.end(End::Judged { outcome: Outcome::success(), usage: None });
/// assert_eq!(limiter.snapshot().in_flight(), 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Limiter {
    queue: Queue<Slots>,
}

impl Limiter {
    /// Nobody in flight, nobody waiting.
    pub fn new(limit: impl Into<Limit>) -> Self {
        Self::with_observer(limit, ())
    }

    /// Tells `observer` of every move of the limit. It is called outside of any lock, so it may use a
    /// limiter.
    pub fn with_observer(
        limit: impl Into<Limit>,
        observer: impl Observe<LimitChange> + Send + Sync + 'static,
    ) -> Self {
        Self { queue: Queue::new(Slots::new(limit), QueueLimits::new(), observer) }
    }

    /// Changes the limit. Calls in flight stay, and so does how long abandoned ones count. An adaptive limit that is
    /// already set keeps its state; another one continues from what was learned, within its own bounds.
    pub fn set_limit(&self, limit: impl Into<Limit>) {
        self.queue.with(|slots, now| slots.set_limit(limit, now));
    }

    /// Sets how long a call that was abandoned before it was answered counts as in flight, at most. Unless
    /// set 30 s where the limit is adaptive, and nothing where it is fixed.
    pub fn set_abandoned(&self, longest: Duration) {
        self.queue.with(|slots, _| slots.set_abandoned(longest));
    }

    /// Changes the bounds of the line. Those who wait keep the ones they came under.
    pub fn set_queue_limits(&self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        self.queue.set_limits(change);
    }

    /// Waits for a place, takes it, and returns a permit to make one call.
    ///
    /// The permit wants to be told how the call went: see [`Permit`]. Dropping the future leaves the line
    /// without a trace.
    ///
    /// # Errors
    ///
    /// [`AtCapacity`] where the wait can not end in time, and where too many wait or the limiter is closed.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait for an instant (a deadline, an abandoned call) outside of a tokio runtime
    /// with time enabled.
    pub async fn acquire(&self, options: &CallOptions) -> Result<Permit<Slots>, AtCapacity> {
        let acquire = self.queue.acquire((), Wait::from(options));
        acquire.await.map_err(|turned| AtCapacity::new(&turned, options))
    }

    #[inline]
    pub(crate) const fn queue(&self) -> &Queue<Slots> {
        &self.queue
    }

    /// What the limit looks like now.
    #[must_use]
    pub fn snapshot(&self) -> ConcurrencySnapshot {
        let waiting = self.queue.waiting();
        self.queue.with(|slots, now| slots.snapshot(waiting, now))
    }

    /// Refuses new calls from now on; those who wait are served or refused, as `closing` says.
    pub fn close(&self, closing: Closing) {
        self.queue.close(closing);
    }
}
