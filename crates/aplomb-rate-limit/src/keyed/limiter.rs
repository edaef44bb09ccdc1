//! A limiter for each key, with or without a service.

use std::fmt;
use std::hash::Hash;

use aplomb_admission::{Closing, KeyNotice, QueueLimits, Queues, Wait};
use aplomb_core::{CallOptions, Event, LogEvents, Observe};
use tokio::time::Instant;

use crate::limiter_gate::LimiterGate;
use crate::{AcquireFuture, Charge, Quota, Quotas, RateLimitSnapshot};

/// Quotas for each key, of which none affects another: an account, a model, a tenant, a host.
///
/// The quotas of a key are made when it is first used, as the policy says. While nobody uses it, a word
/// for each quota is kept; when all that was drawn has flowed back and no pause is left, not even
/// that. There are never more than `max_keys` keys: where all of them are in use, in debt or paused, a call
/// with another key is refused. What was learned of a key's server goes after an hour, or sooner where
/// another key needs the room.
///
/// Clones share everything. See [`Queues`] for how keys come and go.
///
/// # Examples
///
/// ```
/// use aplomb_core::{CallOptions, Event, LogEvents, Observe};
/// use aplomb_rate_limit::{Charge, KeyedLimiter, Quota};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb_rate_limit::RateLimited> {
/// let limiter = KeyedLimiter::new(100_000, |tenant: &u64| {
///     let paying = *tenant < 1_000;
///     [Quota::requests_per_minute(if paying { 6_000 } else { 60 })]
/// });
/// let permit = limiter.acquire(&7, Charge::request(), &CallOptions::new()).await?;
/// assert_eq!(limiter.keys(), 1);
/// # drop(permit); Ok(()) }
/// ```
pub struct KeyedLimiter<K> {
    queues: Queues<K, LimiterGate>,
}

impl<K: Clone + Hash + Eq + Send + Sync + 'static> KeyedLimiter<K> {
    /// Room for `max_keys` keys; `policy` says which quotas each has.
    ///
    /// It is asked whenever a key comes into use, outside of any lock. What it says may change: the
    /// level of a quota is kept by its place in the list, or by its dimension and window where the server
    /// has told of limits of its own.
    pub fn new<Q>(max_keys: usize, policy: impl Fn(&K) -> Q + Send + Sync + 'static) -> Self
    where
        Q: IntoIterator<Item = Quota>,
    {
        Self::with_gates(max_keys, move |key| Quotas::new(policy(key), rand::random()))
    }

    /// The same, where there is more to set than quotas.
    pub fn with_gates(max_keys: usize, policy: impl Fn(&K) -> Quotas + Send + Sync + 'static) -> Self {
        Self {
            queues: Queues::new(
                max_keys,
                QueueLimits::new(),
                move |key| LimiterGate::Own(policy(key)),
                |event: &KeyNotice<'_, K, Event>| LogEvents.on_event(event.notice()),
            ),
        }
    }

    /// Waits until `charge` is there for `key`, takes it, and returns a permit to make one call, as
    /// [`RateLimiter::acquire_with`](crate::RateLimiter::acquire_with) does. Where there is no room for the key,
    /// the future ends in [`RateLimited`](crate::RateLimited) at once.
    ///
    /// Dropping the future leaves the line without a trace. It panics if it has to wait outside of a
    /// tokio runtime with time enabled.
    pub fn acquire(&self, key: &K, charge: Charge, options: &CallOptions) -> AcquireFuture {
        AcquireFuture::new(self.queues.acquire(key, charge, Wait::from(options)), *options)
    }

    /// What every key looks like now, a few at a time. Keys that come and go meanwhile may be seen or not.
    pub fn snapshot(&self) -> impl Iterator<Item = (K, RateLimitSnapshot)> {
        self.queues.snapshot(|key, quotas, waiting, now| {
            let of = |quotas: &mut Quotas, now| RateLimitSnapshot::of(quotas, waiting, None, now);
            (key.clone(), quotas.quotas(now, of))
        })
    }

    /// Changes the bounds of every key's line. Those who wait keep the ones they came under.
    pub fn set_queue_limits(&self, change: impl Fn(QueueLimits) -> QueueLimits) {
        self.queues.set_limits(change);
    }

    /// Refuses new calls from now on; those who wait are served or refused, as `closing` says.
    pub fn close(&self, closing: Closing) {
        self.queues.close(closing);
    }

    /// Forgets every key that can be forgotten now, and says how many those were. It need not be called:
    /// that happens bit by bit.
    pub fn forget_idle(&self) -> usize {
        self.queues.forget_idle(Instant::now())
    }
}

impl<K> KeyedLimiter<K> {
    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.queues.len()
    }

    /// How many keys there may be.
    pub fn max_keys(&self) -> usize {
        self.queues.max_keys()
    }

    pub(super) const fn queues(&self) -> &Queues<K, LimiterGate> {
        &self.queues
    }
}

impl<K> Clone for KeyedLimiter<K> {
    fn clone(&self) -> Self {
        Self { queues: self.queues.clone() }
    }
}

impl<K> fmt::Debug for KeyedLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLimiter").field("queues", &self.queues).finish()
    }
}
