//! The limiter: quotas and a queue, with or without a service.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use aplomb_admission::{Closing, Entries, ErasedKey, Full, Queue, Wait};
use aplomb_core::{CallOptions, Event, KeyLabel, Observe, notify};
use tokio::time::Instant;

use crate::config::{Config, Source};
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
    entries: Entries<LimiterGate>,
    /// By which gates of new keys are made.
    config: Arc<RwLock<Config>>,
    observer: Arc<dyn Observe + Send + Sync>,
}

impl RateLimiter {
    /// Full quotas, and an empty queue. Without any quota the server's limits are learned, see
    /// [`set_learning`](RateLimiter::set_learning). For quotas by key, see [`RateLimitLayer`](crate::RateLimitLayer).
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Self {
        Self::with_config(Config::new(Source::Quotas(quotas.into_iter().collect())))
    }

    pub(crate) fn with_config(config: Config) -> Self {
        let (observer, limits, max_keys) = (Arc::clone(&config.observer), config.limits, config.max_keys);
        let by = config.key_by.clone();
        let config = Arc::new(RwLock::new(config));
        let events = {
            let observer = Arc::clone(&observer);
            move |event: &Event, key: Option<&KeyLabel>| match key {
                None => notify(&observer, event),
                Some(key) => notify(&observer, &event.clone().with_key(Some(key.clone()))),
            }
        };
        let entries = match by {
            None => Entries::one(read(&config).gate(None), limits, events),
            Some(by) => {
                let config = Arc::clone(&config);
                let make = move |key: &dyn ErasedKey| {
                    let own = read(&config).quotas_of.clone();
                    match own {
                        None => read(&config).gate(Some(key)),
                        // Not under the lock: what returns the quotas is the caller's.
                        Some(_) => read(&config).clone().gate(Some(key)),
                    }
                };
                Entries::keyed(by, max_keys, limits, make, events)
            }
        };
        Self { entries, config, observer }
    }

    pub(crate) fn observer(&self) -> &(dyn Observe + Send + Sync) {
        &*self.observer
    }

    pub(crate) const fn entries(&self) -> &Entries<LimiterGate> {
        &self.entries
    }

    /// Sets how long a call may wait. A call that would wait longer is rejected immediately if that can be
    /// predicted, and at the timeout otherwise; zero rejects every call that would have to wait. Calls that
    /// wait already keep their limit. Default: as long as a call's own deadline allows.
    pub fn set_max_wait(&self, wait: Duration) {
        self.entries.set_limits(|limits| limits.max_wait(wait));
    }

    /// Sets how many calls may wait. Default: 65,536.
    pub fn set_max_waiting(&self, calls: usize) {
        self.entries.set_limits(|limits| limits.max_waiting(calls));
    }

    /// Sets how much a level of priority is worth: a call goes before those of the next level that arrived less than
    /// this long before it. Default: 30 s.
    pub fn set_ageing(&self, ageing: Duration) {
        self.entries.set_limits(|limits| limits.ageing(ageing));
    }

    /// Sets the longest pause of all callers after a throttled response. Default: 120 s. If a server
    /// asks for more, calls are rejected instead of waiting.
    pub fn set_max_pause(&self, longest: Duration) {
        self.change(|config| config.max_pause = Some(longest), |quotas, _| quotas.set_max_pause(longest));
    }

    /// Sets how long it takes after a pause until calls go as before. Default: 2 s.
    pub fn set_ramp(&self, ramp: Duration) {
        self.change(|config| config.ramp = Some(ramp), |quotas, _| quotas.set_ramp(ramp));
    }

    /// Sets whether limits that nobody configured are learned: from what the server reports
    /// or, if no quota is configured and the server reports nothing, from its refusals. Default: true.
    pub fn set_learning(&self, learning: bool) {
        self.change(|config| config.learning = learning, |quotas, _| quotas.set_learning(learning));
    }

    /// Replaces the quotas of all calls, or of every key. They keep their levels, and calls in flight are settled as before: see
    /// [`Quotas::set_quotas`].
    pub fn set_quotas(&self, quotas: impl IntoIterator<Item = Quota>) {
        // Not under the lock: the iterator is the caller's.
        let quotas: Vec<Quota> = quotas.into_iter().collect();
        let set = |config: &mut Config| {
            config.quotas_of = None;
            if let Source::Quotas(configured) = &mut config.source {
                configured.clone_from(&quotas);
            }
        };
        self.change(set, |gate, now| gate.set_quotas(quotas.iter().copied(), now));
    }

    /// Changes a setting of the gates there are, and of those that will be made.
    fn change(&self, set: impl FnOnce(&mut Config), change: impl Fn(&mut Quotas, Instant)) {
        {
            let mut config = self.config.write().unwrap_or_else(PoisonError::into_inner);
            set(&mut config);
            config.template = OnceLock::new();
        }
        self.entries.for_each_gate(|_, queue| queue.with(|gate, now| gate.quotas(now, &change)));
    }

    /// A limiter of the quotas of `key` alone, which are made if they are not there, and kept for as long as it is held.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and there is no room for it.
    pub fn of<K>(&self, key: &K) -> Result<Self, Full>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.entries.queue(key).map(|queue| self.one(queue))
    }

    /// A limiter of the quotas of `key` alone, if the key is there.
    #[must_use]
    pub fn get<K>(&self, key: &K) -> Option<Self>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.entries.get(key).map(|queue| self.one(queue))
    }

    fn one(&self, queue: Queue<LimiterGate>) -> Self {
        let config = Arc::new(RwLock::new(read(&self.config).clone()));
        Self { entries: Entries::of(queue), config, observer: Arc::clone(&self.observer) }
    }

    /// What was learned of the server's limits, for a later run.
    ///
    /// # Panics
    ///
    /// Panics if each key has quotas of its own: see [`get`](Self::get).
    pub fn learned(&self) -> Learned {
        self.with(|quotas, _| quotas.learned())
    }

    /// Starts with what was learned in an earlier run. Configured quotas take precedence, and so does what the
    /// server reports from now on.
    ///
    /// # Panics
    ///
    /// Panics if each key has quotas of its own: see [`of`](Self::of).
    pub fn remember(&self, learned: &Learned) {
        self.with(|quotas, now| quotas.remember(learned, now));
    }

    /// Waits until `charge` can be drawn, draws it, and returns a permit to make one call.
    ///
    /// Tell the permit how the call went: see [`RateLimitPermit`](crate::RateLimitPermit). Dropping the future
    /// leaves the queue without a trace. The call's options are those of the task, see
    /// [`CallOptions::scope`].
    ///
    /// The future ends in [`RateLimited`](crate::RateLimited) if the charge exceeds a quota for good, if
    /// the wait cannot end in time, and if too many wait or the limiter is closed.
    ///
    /// # Panics
    ///
    /// Panics if each key has quotas of its own: see [`acquire_for`](Self::acquire_for). The future panics if it has to wait
    /// outside of a tokio runtime with time enabled.
    pub fn acquire(&self, charge: Charge) -> AcquireFuture {
        self.acquire_with(charge, &CallOptions::current().unwrap_or_default())
    }

    /// Waits like [`acquire`](RateLimiter::acquire), with these options: a deadline, a priority.
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    pub fn acquire_with(&self, charge: Charge, options: &CallOptions) -> AcquireFuture {
        AcquireFuture::new(self.single().acquire(charge, Wait::from(options)), *options)
    }

    /// Waits like [`acquire_with`](RateLimiter::acquire_with), for the quotas of `key`. If there is no room for the key, the
    /// future ends in [`RateLimited`](crate::RateLimited).
    pub fn acquire_for<K>(&self, key: &K, charge: Charge, options: &CallOptions) -> AcquireFuture
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        AcquireFuture::new(self.entries.acquire(key, charge, Wait::from(options)), *options)
    }

    fn with<T>(&self, change: impl FnOnce(&mut Quotas, Instant) -> T) -> T {
        self.single().with(|gate, now| gate.quotas(now, change))
    }

    fn single(&self) -> &Queue<LimiterGate> {
        self.entries.single().expect("each key has quotas of its own")
    }

    /// The quotas in force and what each has left: for `x-ratelimit-remaining` and the like. Negative where a quota
    /// is in debt.
    ///
    /// # Panics
    ///
    /// Panics if each key has quotas of its own: see [`get`](Self::get).
    #[must_use]
    pub fn available(&self) -> Vec<(Quota, i64)> {
        self.with(|quotas, now| quotas.available(now).collect())
    }

    /// The current state.
    ///
    /// # Panics
    ///
    /// Panics if each key has quotas of its own: see [`snapshot_of`](Self::snapshot_of).
    #[must_use]
    pub fn snapshot(&self) -> RateLimitSnapshot {
        snapshot(self.single())
    }

    /// The current state of the quotas of `key`, if the key is there. Looking at it does not keep it.
    #[must_use]
    pub fn snapshot_of<K>(&self, key: &K) -> Option<RateLimitSnapshot>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.entries.get(key).map(|queue| snapshot(&queue))
    }

    /// The current states of all keys, with their labels; or the one of all calls.
    #[must_use]
    pub fn snapshots(&self) -> Vec<(Option<KeyLabel>, RateLimitSnapshot)> {
        let mut snapshots = Vec::new();
        self.entries.for_each(|label, queue| snapshots.push((label.cloned(), snapshot(queue))));
        snapshots
    }

    /// How many keys there are; `None` if all calls have the same quotas.
    #[must_use]
    pub fn keys(&self) -> Option<usize> {
        self.entries.keys()
    }

    /// Rejects new calls from now on. Calls that wait are served or rejected, as `closing` says.
    pub fn close(&self, closing: Closing) {
        self.entries.close(closing);
    }

    /// Forgets every key that can be forgotten without loss, and returns their number. It need not be called: that happens bit
    /// by bit.
    pub fn forget_idle(&self) -> usize {
        self.entries.evict_fresh(Instant::now())
    }
}

fn snapshot(queue: &Queue<LimiterGate>) -> RateLimitSnapshot {
    let (waiting, oldest_wait) = (queue.waiting(), queue.oldest_wait());
    queue.with(|gate, now| {
        gate.quotas(now, |quotas, now| RateLimitSnapshot::of(quotas, waiting, oldest_wait, now))
    })
}

fn read(config: &RwLock<Config>) -> RwLockReadGuard<'_, Config> {
    config.read().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("entries", &self.entries).finish_non_exhaustive()
    }
}
