//! The limiter: quotas and a queue, with or without a service.

use std::hash::Hash;
use std::time::Duration;

use aplomb_admission::{Closing, Full, Handle, LayerState, Queue, Wait};
use aplomb_core::{BoxError, CallOptions, Classify, KeyLabel, RequestView};

use crate::limiter_gate::LimiterGate;
use crate::limits::RateLimits;
use crate::{
    Charge, Learned, Quota, Quotas, RateLimitLayer, RateLimitPermit, RateLimitSnapshot, RateLimited,
};

/// Quotas, and a queue of the calls that wait for them.
///
/// It is the handle of a [`RateLimitLayer`](crate::RateLimitLayer), see
/// [`limiter`](crate::RateLimitLayer::limiter), and can be used without a service. Its setters change what
/// is running. The quotas are its own, or those of a [`Pool`](crate::Pool); there is one queue, or one for each key, of
/// which [`get`](Self::get) and [`of`](Self::of) return a limiter.
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
#[derive(Clone, Debug)]
pub struct RateLimiter(pub(crate) Handle<RateLimits>);

impl RateLimiter {
    /// Full quotas, and an empty queue. Without any quota the server's limits are learned, see
    /// [`set_learning`](RateLimiter::set_learning).
    ///
    /// A [`RateLimitLayer`](crate::RateLimitLayer) makes a limiter with other settings, and one with quotas for each
    /// key.
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Self {
        RateLimitLayer::new(quotas).limiter()
    }

    /// A limiter of the quotas of `key` alone, which are created if they are not there, and kept for as long as it is held.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and all keys there is room for are in use.
    ///
    /// # Panics
    ///
    /// Panics if the keys of the layer are of another type.
    pub fn of<K>(&self, key: &K) -> Result<Self, Full>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.0.of(key).map(Self)
    }

    /// A limiter of the quotas of `key` alone, if the key is there.
    ///
    /// # Panics
    ///
    /// As [`of`](RateLimiter::of).
    #[must_use]
    pub fn get<K>(&self, key: &K) -> Option<Self>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.0.get(key).map(Self)
    }

    /// Sets how long a call may wait. A call that would wait longer is rejected immediately if that can be
    /// predicted, and at the timeout otherwise; zero rejects every call that would have to wait. Calls that
    /// wait already keep their limit. Default: as long as a call's own deadline allows.
    pub fn set_max_wait(&self, wait: Duration) {
        self.0.set_queue_limits(|limits| limits.max_wait(wait));
    }

    /// Sets how many calls may wait. Default: 65,536.
    pub fn set_max_waiting(&self, calls: usize) {
        self.0.set_queue_limits(|limits| limits.max_waiting(calls));
    }

    /// Sets how much a level of priority is worth: a call goes before those of the next level that arrived less than
    /// this long before it. Default: 30 s.
    pub fn set_ageing(&self, ageing: Duration) {
        self.0.set_queue_limits(|limits| limits.ageing(ageing));
    }

    /// Sets the longest time that calls wait because the server names it. Default: 120 s. If a server asks for more, calls are
    /// rejected instead of waiting.
    pub fn set_max_pause(&self, longest: Duration) {
        self.0.state().change(|quotas, now| quotas.set_max_pause(longest, now));
    }

    /// Sets whether limits that nobody configured are learned: from what the server reports, and from what it refuses.
    /// Default: true.
    pub fn set_learning(&self, learning: bool) {
        self.0.state().change(|quotas, now| quotas.set_learning(learning, now));
    }

    /// Replaces the quotas, those of every key if there are keys.
    ///
    /// A quota of the same dimension and window as before, or else of the same dimension, keeps its
    /// level in units: what has been drawn stays drawn, and calls in flight are settled
    /// and refunded as before. A new one is full. Learned quotas stay, unless they are
    /// configured now.
    pub fn set_quotas(&self, quotas: impl IntoIterator<Item = Quota>) {
        // Not under a lock: the iterator is the caller's.
        let configured: Vec<Quota> = quotas.into_iter().collect();
        self.0.state().set_quotas(&configured);
    }

    /// The learned limits of the server, for a later run. None if there are keys: see [`get`](Self::get).
    pub fn learned(&self) -> Learned {
        self.0.single().map_or_else(Learned::new, |queue| {
            queue.with(|gate, now| gate.quotas(now, |quotas, _| quotas.learned()))
        })
    }

    /// Starts with what was learned in an earlier run. Configured quotas take precedence, and so does what the
    /// server reports from now on.
    pub fn remember(&self, learned: &Learned) {
        self.0.state().change(|quotas, now| quotas.remember(learned, now));
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
    /// Panics if it has to wait outside of a tokio runtime with time enabled, and if there is a queue for each key: use
    /// [`acquire_for`](RateLimiter::acquire_for).
    pub async fn acquire(&self, charge: Charge) -> Result<RateLimitPermit, RateLimited> {
        let options = CallOptions::current().unwrap_or_default();
        self.acquire_with(charge, &options).await
    }

    /// Waits like [`acquire`](RateLimiter::acquire), with these options: a deadline, a priority.
    ///
    /// # Errors
    ///
    /// As [`acquire`](RateLimiter::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire`](RateLimiter::acquire).
    pub async fn acquire_with(
        &self,
        charge: Charge,
        options: &CallOptions,
    ) -> Result<RateLimitPermit, RateLimited> {
        self.0.acquire(charge, options).await.map(RateLimitPermit::new)
    }

    /// Waits like [`acquire_with`](RateLimiter::acquire_with) for the quotas of a key.
    ///
    /// # Errors
    ///
    /// [`RateLimited`](crate::RateLimited) as well if all keys there is room for are in use.
    ///
    /// # Panics
    ///
    /// Panics if the keys of the layer are of another type, and if it has to wait outside of a tokio runtime with time
    /// enabled.
    pub async fn acquire_for<K>(
        &self,
        key: &K,
        charge: Charge,
        options: &CallOptions,
    ) -> Result<RateLimitPermit, RateLimited>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.0.acquire_for(key, charge, options).await.map(RateLimitPermit::new)
    }

    /// Waits for the quotas of a request's key.
    #[doc(hidden)]
    pub fn acquire_viewed<'r>(
        &self,
        view: impl FnOnce() -> RequestView<'r>,
        charge: Charge,
        options: CallOptions,
    ) -> impl Future<Output = Result<RateLimitPermit, RateLimited>> + Send + Sync + 'static {
        let limits = self.0.state().clone();
        let key = limits.entries().key_of(view);
        async move {
            let (wait, entries) = (Wait::from(&options), limits.entries());
            let (acquire, label) = match key {
                Some((key, label)) => (entries.acquire(&*key, charge, wait), Some(label)),
                None => (entries.acquire(&(), charge, wait), None),
            };
            let acquired = acquire.await.map_err(|rejected| limits.rejection(&rejected, label, &options))?;
            Ok(RateLimitPermit::new(acquired))
        }
    }

    /// Takes `charge` if the quotas have enough and no call waits, and returns a permit for one call.
    ///
    /// # Errors
    ///
    /// [`RateLimited`] if the call would have to wait: it says how long, if that is known.
    ///
    /// # Panics
    ///
    /// Panics if the limiter has a queue for each key.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use aplomb_rate_limit::{Charge, Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new([Quota::requests_per_hour(1)]);
    /// let mut permit = limiter.try_acquire(&Charge::request()).unwrap();
    /// permit.sent();
    /// let limited = limiter.try_acquire(&Charge::request()).unwrap_err();
    /// assert!(limited.retry_after() > Some(Duration::from_secs(3_500)));
    /// ```
    #[expect(
        clippy::result_large_err,
        reason = "it is not much larger than the permit, and rejections do not allocate"
    )]
    pub fn try_acquire(&self, charge: &Charge) -> Result<RateLimitPermit, RateLimited> {
        self.0.queue().try_acquire(charge).map(RateLimitPermit::new).map_err(|rejected| {
            let options = CallOptions::current().unwrap_or_default();
            RateLimited::new(&rejected, &options).with_key(self.0.key())
        })
    }

    /// Makes one call as soon as the quotas have enough for `charge`: acquires a permit, runs `call`, and settles. A
    /// call that fails keeps its charge.
    ///
    /// # Errors
    ///
    /// [`RateLimited`](crate::RateLimited) as [`acquire`](RateLimiter::acquire); the error of `call`, unchanged. Both
    /// boxed.
    ///
    /// # Panics
    ///
    /// As [`acquire`](RateLimiter::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_rate_limit::{Charge, Quota, RateLimiter};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb_core::BoxError> {
    /// let limiter = RateLimiter::new([Quota::requests_per_second(10)]);
    /// let answer = limiter.run(Charge::request(), || async { Ok::<_, std::io::Error>(42) }).await?;
    /// assert_eq!(answer, 42);
    /// # Ok(()) }
    /// ```
    pub async fn run<T, E, F>(&self, charge: Charge, call: impl FnOnce() -> F) -> Result<T, BoxError>
    where
        E: Into<BoxError>,
        F: Future<Output = Result<T, E>>,
    {
        self.0.run(charge, call).await
    }

    /// Makes one call like [`run`](RateLimiter::run), judged by a classifier.
    ///
    /// # Errors
    ///
    /// As [`run`](RateLimiter::run).
    ///
    /// # Panics
    ///
    /// As [`acquire`](RateLimiter::acquire).
    pub async fn run_classified<T, E, F>(
        &self,
        charge: Charge,
        classifier: &impl Classify<T, E>,
        call: impl FnOnce() -> F,
    ) -> Result<T, BoxError>
    where
        E: Into<BoxError>,
        F: Future<Output = Result<T, E>>,
    {
        self.0.run_classified(charge, classifier, call).await
    }

    /// The quotas in force and what each has left: for `x-ratelimit-remaining` and the like. Negative where a quota
    /// is in debt. Empty if there are keys: see [`snapshot_of`](RateLimiter::snapshot_of).
    #[must_use]
    pub fn available(&self) -> Vec<(Quota, i64)> {
        self.0.single().map_or_else(Vec::new, |queue| {
            queue.with(|gate, now| gate.quotas(now, |quotas, now| quotas.available(now).collect()))
        })
    }

    /// The current state. If there are keys it has no quotas, and the calls of all keys.
    #[must_use]
    pub fn snapshot(&self) -> RateLimitSnapshot {
        if let Some(queue) = self.0.single() {
            return snapshot(queue);
        }
        let mut sum = RateLimitSnapshot::default();
        self.0.for_each(|queue| sum.add(&snapshot(queue)));
        sum
    }

    /// The current state of a key; `None` if it has not been used, or equals an unused one and has been evicted.
    ///
    /// # Panics
    ///
    /// Panics if the keys of the layer are of another type.
    #[must_use]
    pub fn snapshot_of<K>(&self, key: &K) -> Option<RateLimitSnapshot>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.0.look_at(key, snapshot)
    }

    /// The current state of every key, with its label. Keys that come and go meanwhile may be missing.
    #[must_use]
    pub fn snapshots(&self) -> Vec<(Option<KeyLabel>, RateLimitSnapshot)> {
        self.0.look_at_each(snapshot)
    }

    /// How many keys there are; `None` if there is one queue for all calls.
    #[must_use]
    pub fn keys(&self) -> Option<usize> {
        self.0.keys()
    }

    /// Evicts every key whose state equals that of an unused one, and returns their number. Keys are evicted bit by bit
    /// without it.
    pub fn forget_idle(&self) -> usize {
        self.0.forget_idle()
    }

    /// Rejects new calls from now on. Calls that wait are served or rejected, as `closing` says.
    pub fn close(&self, closing: Closing) {
        self.0.close(closing);
    }
}

fn snapshot(queue: &Queue<LimiterGate>) -> RateLimitSnapshot {
    let (waiting, oldest_wait) = (queue.waiting(), queue.oldest_wait());
    let of = |quotas: &mut Quotas, now| RateLimitSnapshot::of(quotas, waiting, oldest_wait, now);
    queue.with(|gate, now| gate.quotas(now, of))
}
