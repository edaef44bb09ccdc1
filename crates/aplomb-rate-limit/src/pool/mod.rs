//! Quotas that several queues draw on.

mod member;
mod order;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use self::member::PoolMember;
use self::shared::Shared;
use crate::{Learned, Quota, Quotas, RateLimitLayer, RateLimitSnapshot, RateLimiter};

/// Quotas that several limiters share, for example two models on one account, each with a queue, a circuit and quotas
/// of its own.
///
/// Each limiter, or endpoint, has a [`PoolMember`]: a gate that draws on the pool, decides together with the other gates
/// of its queue, and holds nothing while those make a call wait. All members together never draw more than the
/// quotas allow, and a throttled response of one pauses all.
///
/// The heads of the queues are served in the order in which they began to wait for the pool, so none
/// starves, and queues that are never empty get equal shares, whatever their length. A queue has one
/// place among the others: if its head leaves, the next call takes the place. Priorities count within a queue.
///
/// Clones share everything. Dropping a pool does not affect its members.
///
/// # Examples
///
/// ```
/// use aplomb_rate_limit::{Charge, Pool, Quota};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb_rate_limit::RateLimited> {
/// let account = Pool::new([Quota::tokens_per_minute(90_000)]);
/// let (small, large) = (account.limiter(), account.limiter());
/// let one = small.acquire(Charge::request().input_tokens(1_000)).await?;
/// let other = large.acquire(Charge::request().input_tokens(50_000)).await?;
/// assert_eq!(account.snapshot().available()[0].1, 39_000);
/// # drop((one, other)); Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Pool(Arc<Shared>);

impl Pool {
    /// Full quotas, all of which have to admit a call. Without any quota the server's
    /// limits are learned, see [`set_learning`](Pool::set_learning).
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Self {
        Self::of(Quotas::new(quotas))
    }

    /// A pool of quotas with other settings.
    #[doc(hidden)]
    pub fn of(quotas: Quotas) -> Self {
        Self(Arc::new(Shared::new(quotas)))
    }

    /// A gate that draws on this pool, for one queue.
    #[doc(hidden)]
    #[must_use]
    pub fn member(&self) -> PoolMember {
        PoolMember::new(Arc::clone(&self.0))
    }

    /// A limiter that draws on this pool, with a queue of its own.
    ///
    /// Its quotas, pauses, learning and calls in flight are the pool's; its waits, their limits and
    /// closing are its own.
    #[must_use]
    pub fn limiter(&self) -> RateLimiter {
        RateLimitLayer::with_pool(self).limiter()
    }

    /// Sets the longest time that calls wait because the server names it. Default: 120 s. If a server asks for more, calls are
    /// rejected instead of waiting.
    pub fn set_max_pause(&self, longest: Duration) {
        self.with(|quotas, now| quotas.set_max_pause(longest, now));
    }

    /// Raises the longest pause to this if it is shorter: an endpoint that draws on the pool does so, so that its calls
    /// are not rejected for a pause that its policy would wait for.
    #[doc(hidden)]
    pub fn raise_max_pause(&self, longest: Duration) {
        self.with(|quotas, now| quotas.raise_max_pause(longest, now));
    }

    /// Sets whether limits that nobody configured are learned: from what the server reports, and from what it refuses.
    /// Default: true.
    pub fn set_learning(&self, learning: bool) {
        self.with(|quotas, now| quotas.set_learning(learning, now));
    }

    /// Seeds the random part of the time between probes while the server lets nobody through, so that it is repeatable: for
    /// tests and simulations. Default: random.
    pub fn set_seed(&self, seed: u64) {
        self.with(|quotas, now| quotas.set_seed(seed, now));
    }

    /// Replaces the quotas. They keep their levels, and calls in flight are settled as before.
    pub fn set_quotas(&self, quotas: impl IntoIterator<Item = Quota>) {
        // Not under the lock: the iterator is the caller's.
        let quotas: Vec<Quota> = quotas.into_iter().collect();
        self.with(|gate, now| gate.set_quotas(quotas, now));
    }

    /// The learned limits of the server, for a later run.
    pub fn learned(&self) -> Learned {
        self.with(|quotas, _| quotas.learned())
    }

    /// Starts with what was learned in an earlier run. Configured quotas take precedence, and so does what the
    /// server reports from now on.
    pub fn remember(&self, learned: &Learned) {
        self.with(|quotas, now| quotas.remember(learned, now));
    }

    /// The current state: the calls in flight of all members, and the number of queues whose head waits for the pool.
    #[must_use]
    pub fn snapshot(&self) -> RateLimitSnapshot {
        let mut order = self.0.lock();
        let now = order.tick(Instant::now());
        RateLimitSnapshot::of(order.quotas(), order.waiting(), None, now)
    }

    /// Reads or changes the quotas, and wakes the queues whose head may go afterwards.
    fn with<T>(&self, change: impl FnOnce(&mut Quotas, Instant) -> T) -> T {
        let result = self.0.lock().with(Instant::now(), change);
        self.0.wake_due();
        result
    }
}
