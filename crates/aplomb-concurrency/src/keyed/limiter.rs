//! A limit for each key, with or without a service.

use std::fmt;
use std::hash::Hash;

use aplomb_admission::{Closing, KeyNotice, Permit, QueueLimits, Queues, Wait};
use aplomb_core::{CallOptions, Observe};
use tokio::time::Instant;

use crate::{AtCapacity, ConcurrencySnapshot, LimitChange, Slots};

/// A limit on calls in flight for each key, of which none affects another: a host, a model, a deployment, an
/// account.
///
/// The limit of a key is made when the key is first used, as the policy says. A key is busy while calls with it
/// are in flight or waiting, and while abandoned ones count as in flight. Of one that is not, only what was
/// learned is kept: its limit and ceiling, what answers are compared with, and how it last moved. Where
/// nothing was learned, or nobody has used it for an hour, nothing is. There are never more than `max_keys`
/// keys: where another one comes, what one of them has learned is forgotten; where all of those looked at
/// are busy, the call is refused.
///
/// Clones share everything. It may be used from anywhere, from an observer too. See [`Queues`] for how keys
/// come and go.
///
/// # Examples
///
/// ```
/// use aplomb_concurrency::{Adaptive, KeyedLimiter, Limit};
/// use aplomb_core::CallOptions;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb_concurrency::AtCapacity> {
/// let limiter = KeyedLimiter::new(10_000, |model: &String| match model.as_str() {
///     "large" => Limit::Fixed(2),
///     _ => Adaptive::new().max(64).into(),
/// });
/// let large = "large".to_owned();
/// let permit = limiter.acquire(&large, &CallOptions::new()).await?;
/// assert_eq!(limiter.snapshot(&large).unwrap().in_flight(), 1);
/// assert_eq!(limiter.keys(), 1);
/// # drop(permit); Ok(()) }
/// ```
pub struct KeyedLimiter<K> {
    queues: Queues<K, Slots>,
}

impl<K: Clone + Hash + Eq + Send + Sync + 'static> KeyedLimiter<K> {
    /// Room for `max_keys` keys; `policy` says which limit each has: a number, an
    /// [`Adaptive`](crate::Adaptive) or any [`Limit`](crate::Limit), or [`Slots`] where there is more to set.
    ///
    /// It is asked whenever a key comes into use, outside of any lock. What it says may change: an adaptive
    /// limit goes on from what was learned, within the new bounds, and a fixed one is what is said.
    pub fn new<G: Into<Slots>>(max_keys: usize, policy: impl Fn(&K) -> G + Send + Sync + 'static) -> Self {
        Self::with_observer(max_keys, policy, ())
    }

    /// The same, with an observer that is told every move of any limit, with its key.
    ///
    /// It is called outside of any lock, so it may use this. [`TracingObserver`](crate::TracingObserver)
    /// writes to the log. Nothing is told where a key is put to rest or forgotten.
    pub fn with_observer<G: Into<Slots>>(
        max_keys: usize,
        policy: impl Fn(&K) -> G + Send + Sync + 'static,
        observer: impl for<'a> Observe<KeyNotice<'a, K, LimitChange>> + Send + Sync + 'static,
    ) -> Self {
        let policy = move |key: &K| policy(key).into();
        Self { queues: Queues::new(max_keys, QueueLimits::new(), policy, observer) }
    }

    /// Waits for a place under the limit of `key`, takes it, and returns a permit to make one call, as
    /// [`Limiter::acquire`](crate::Limiter::acquire) does. Dropping the future leaves the line without a trace.
    ///
    /// # Errors
    ///
    /// [`AtCapacity`] where the wait can not end in time, where too many wait or the limiter is closed, and at
    /// once where there is no room for the key.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait for an instant (a deadline, an abandoned call) outside of a tokio runtime
    /// with time enabled.
    pub async fn acquire(&self, key: &K, options: &CallOptions) -> Result<Permit<Slots>, AtCapacity> {
        let place = self.queues.acquire(key, (), Wait::from(options));
        place.await.map_err(|turned| AtCapacity::new(&turned, options))
    }

    /// What the limit of `key` looks like now, in use or at rest, if the key is there.
    pub fn snapshot(&self, key: &K) -> Option<ConcurrencySnapshot> {
        self.queues.look(key, Slots::snapshot)
    }

    /// Every key, and what its limit looks like, a few at a time. Keys that come and go meanwhile may be seen or
    /// not.
    pub fn snapshots(&self) -> impl Iterator<Item = (K, ConcurrencySnapshot)> {
        self.queues
            .snapshot(|key, slots, waiting, now| (key.clone(), slots.snapshot(waiting, now)))
    }

    /// Changes the bounds of every key's line. Those who wait keep the ones they came under.
    pub fn set_queue_limits(&self, change: impl Fn(QueueLimits) -> QueueLimits) {
        self.queues.set_limits(change);
    }

    /// Refuses new calls of every key from now on; those who wait are served or refused, as `closing` says.
    pub fn close(&self, closing: Closing) {
        self.queues.close(closing);
    }

    /// Forgets every key that can be forgotten now without loss, and says how many those were. It need not be
    /// called: that happens bit by bit.
    pub fn forget_idle(&self) -> usize {
        self.queues.forget_idle(Instant::now())
    }
}

impl<K> KeyedLimiter<K> {
    /// How many keys there are, busy or at rest.
    pub fn keys(&self) -> usize {
        self.queues.len()
    }

    /// How many keys there may be.
    pub fn max_keys(&self) -> usize {
        self.queues.max_keys()
    }

    pub(super) const fn queues(&self) -> &Queues<K, Slots> {
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
