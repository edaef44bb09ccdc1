//! Quotas that several queues draw on.

mod member;
mod order;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use aplomb_admission::QueueLimits;
use aplomb_core::LogEvents;
use tokio::time::Instant;

pub use self::member::PoolMember;
use self::shared::Shared;
use crate::limiter_gate::LimiterGate;
use crate::{Learned, Quota, Quotas, RateLimitSnapshot, RateLimiter};

/// Quotas that the callers in several lines share: two models on one quota, each with a line, a circuit
/// and quotas of its own.
///
/// Each line has a [`PoolMember`]: a gate that draws on the pool, decides in one step with the other gates of
/// its queue, and holds nothing while those are waited for. All members together never draw more than the
/// quotas let through, and a throttled response of one pauses all.
///
/// The heads of the lines are served in the order in which they came to wait for the pool, so nobody
/// starves, and lines that are equally long get equal shares, whatever the length of each. A line has one
/// place among the others: if its head goes away, the next one takes it. Priorities count within a line.
///
/// Clones share everything. Dropping a pool does not concern its members.
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
    /// Full quotas, all of which have to admit a call. With no quota at all the server's limits are
    /// learned, see [`set_learning`](Pool::set_learning).
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Self {
        Self::of(Quotas::new(quotas, rand::random()))
    }

    /// The same, where there is more to set than quotas.
    pub fn of(quotas: Quotas) -> Self {
        Self(Arc::new(Shared::new(quotas)))
    }

    /// A gate that draws on this pool, for one queue.
    #[must_use]
    pub fn member(&self) -> PoolMember {
        PoolMember::new(Arc::clone(&self.0))
    }

    /// A limiter that draws on this pool, and has a line of its own.
    ///
    /// What is set or read by it of quotas, pauses, learning and calls in flight is the pool's; waiting,
    /// bounds and closing are its own.
    #[must_use]
    pub fn limiter(&self) -> RateLimiter {
        RateLimiter::before(LimiterGate::Pooled(self.member()), QueueLimits::new(), Arc::new(LogEvents))
    }

    /// Sets the longest that a throttled response pauses everybody: 120 s unless set. Where a server
    /// asks for more, calls are refused instead of waiting.
    pub fn set_max_pause(&self, longest: Duration) {
        self.with(|quotas, _| quotas.set_max_pause(longest));
    }

    /// The same where it is shorter so far. An endpoint that draws on the pool does this when it is made and
    /// when its policy changes, so that nobody is refused for what its policy would wait for.
    pub fn raise_max_pause(&self, longest: Duration) {
        self.with(|quotas, _| quotas.raise_max_pause(longest));
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

    /// What the pool looks like now: calls in flight are those of all members, and what waits is lines,
    /// each with its head.
    #[must_use]
    pub fn snapshot(&self) -> RateLimitSnapshot {
        let mut order = self.0.lock();
        let now = order.tick(Instant::now());
        RateLimitSnapshot::of(order.quotas(), order.waiting(), None, now)
    }

    /// Looks at the quotas, or changes them; then lets go whom that admits.
    fn with<T>(&self, change: impl FnOnce(&mut Quotas, Instant) -> T) -> T {
        let result = self.0.lock().with(Instant::now(), change);
        self.0.wake_who_is_due();
        result
    }
}
