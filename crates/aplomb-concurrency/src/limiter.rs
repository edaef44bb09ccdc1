//! The limits of a layer at work, with or without a service.

use std::hash::Hash;
use std::time::Duration;

use aplomb_admission::{Closing, Full, Handle, Queue, QueueLimits};
use aplomb_core::{BoxError, CallOptions, Classify, KeyLabel};

use crate::limits::Limits;
use crate::{AtCapacity, ConcurrencyLimitLayer, ConcurrencyPermit, ConcurrencySnapshot, Limit, Slots};

/// Reads, changes and uses the limit of a [`ConcurrencyLimitLayer`], or one of its limits if there is one for each key.
///
/// Clones share the limits and the queues. It may be used from anywhere, including an observer; also without a service.
///
/// With a limit for each key, [`get`](Self::get) and [`of`](Self::of) return a limiter for one key alone. Methods that
/// concern one limit panic on a limiter for several, and those that take a key panic if the keys of the layer are of
/// another type.
///
/// # Examples
///
/// ```
/// use aplomb_concurrency::ConcurrencyLimiter;
/// use aplomb_core::{CallOptions, Outcome};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb_concurrency::AtCapacity> {
/// let limiter = ConcurrencyLimiter::new(8);
/// let permit = limiter.acquire(&CallOptions::new()).await?;
/// assert_eq!(limiter.available(), 7);
/// // … make the call
/// permit.end(Outcome::success());
/// assert_eq!(limiter.available(), 8);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ConcurrencyLimiter(pub(crate) Handle<Limits>);

impl ConcurrencyLimiter {
    /// One limit for all calls: a number, or an [`Adaptive`](crate::Adaptive) one. For more settings, see
    /// [`ConcurrencyLimitLayer::limiter`].
    #[must_use]
    pub fn new(limit: impl Into<Limit>) -> Self {
        ConcurrencyLimitLayer::new(limit).limiter()
    }
}

/// One limit. With a limit for each key, these methods panic on a limiter that is not for one of them.
impl ConcurrencyLimiter {
    /// The limit and its use.
    #[must_use]
    pub fn snapshot(&self) -> ConcurrencySnapshot {
        snapshot(self.0.queue())
    }

    /// The number of calls that would be admitted at once.
    #[must_use]
    pub fn available(&self) -> usize {
        self.snapshot().available()
    }

    /// Waits for a slot, and takes it for one call. Dropping the future leaves the queue.
    ///
    /// # Errors
    ///
    /// [`AtCapacity`] if the wait cannot end in time, if too many calls wait, and if the limiter is closed.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait for an instant (a deadline, an abandoned call) outside of a tokio runtime with time
    /// enabled.
    pub async fn acquire(&self, options: &CallOptions) -> Result<ConcurrencyPermit, AtCapacity> {
        self.0.acquire((), options).await.map(ConcurrencyPermit::new)
    }

    /// Takes a slot for one call, if one is free and no call waits for it. `None` if not, and if the limiter is closed.
    #[must_use]
    pub fn try_acquire(&self) -> Option<ConcurrencyPermit> {
        self.0.queue().try_acquire(&()).ok().map(ConcurrencyPermit::new)
    }

    /// Runs any operation under the limit: `Ok` raises an adaptive limit, `Err` lowers it, except for rejections by aplomb
    /// layers. [`run_classified`](Self::run_classified) decides otherwise.
    ///
    /// Options of the call are those of the current [scope](CallOptions::scope). Dropping the future gives the slot back.
    ///
    /// # Errors
    ///
    /// The error of the operation, or [`AtCapacity`]; boxed.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_concurrency::ConcurrencyLimiter;
    /// # async fn lookup(host: &str) -> std::io::Result<String> { Ok(host.to_owned()) }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb_core::BoxError> {
    /// let limiter = ConcurrencyLimiter::new(8);
    /// let answer = limiter.run(|| lookup("example.com")).await?;
    /// # assert_eq!(answer, "example.com"); Ok(()) }
    /// ```
    pub async fn run<T, E, F>(&self, operation: impl FnOnce() -> F) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        self.0.run((), operation).await
    }

    /// Runs any operation under the limit, judged by a classifier.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_classified<T, E, F>(
        &self,
        classifier: &impl Classify<T, E>,
        operation: impl FnOnce() -> F,
    ) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        self.0.run_classified((), classifier, operation).await
    }
}

/// All limits: that of all calls, or those of all keys in use; of a limiter for one key, that of its key.
impl ConcurrencyLimiter {
    /// A limiter for `key`, if the key is in use. It is not evicted while the limiter exists.
    #[must_use]
    pub fn get<K: Hash + Eq + Clone + Send + Sync + 'static>(&self, key: &K) -> Option<Self> {
        self.0.get(key).map(Self)
    }

    /// A limiter for `key`, whose limit is made if the key is new.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and there is no room for it.
    pub fn of<K: Hash + Eq + Clone + Send + Sync + 'static>(&self, key: &K) -> Result<Self, Full> {
        self.0.of(key).map(Self)
    }

    /// Waits for a slot under the limit of `key`, which is made if the key is new, and takes it for one call.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire); and [`AtCapacity`] if the key is new and there is no room for it.
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_for<K: Hash + Eq + Clone + Send + Sync + 'static>(
        &self,
        key: &K,
        options: &CallOptions,
    ) -> Result<ConcurrencyPermit, AtCapacity> {
        self.0.acquire_for(key, (), options).await.map(ConcurrencyPermit::new)
    }

    /// The limit of `key` and its use, if the key is in use.
    #[must_use]
    pub fn snapshot_of<K: Hash + Eq + Clone + Send + Sync + 'static>(
        &self,
        key: &K,
    ) -> Option<ConcurrencySnapshot> {
        self.0.look_at(key, snapshot)
    }

    /// All limits and their use, with the labels of their keys. Keys that come and go meanwhile may be missing.
    #[must_use]
    pub fn snapshots(&self) -> Vec<(Option<KeyLabel>, ConcurrencySnapshot)> {
        self.0.look_at_each(snapshot)
    }

    /// The number of keys in use; `None` if there is one limit for all calls.
    #[must_use]
    pub fn keys(&self) -> Option<usize> {
        self.0.keys()
    }

    /// Evicts all keys whose limits equal fresh ones, and returns their number. It need not be called: that happens bit
    /// by bit.
    pub fn forget_idle(&self) -> usize {
        self.0.forget_idle()
    }

    /// Changes the limit. Calls in flight stay, and so does how long abandoned ones count. An adaptive limit that is
    /// already set keeps its state; another one continues from what was learned, within its own bounds. Keys that are not in
    /// use keep the setting of the layer.
    pub fn set_limit(&self, limit: impl Into<Limit>) {
        let limit = limit.into();
        self.0.for_each(|queue| queue.with(|slots, now| slots.set_limit(limit, now)));
    }

    /// Sets how long a call that was abandoned before it was answered counts as in flight, at most.
    pub fn set_abandoned(&self, max: Duration) {
        self.0.for_each(|queue| queue.with(|slots, _| slots.set_abandoned(max)));
    }

    /// Changes the limits of the queues, for all keys. Calls that wait keep those under which they came.
    pub fn set_queue_limits(&self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        self.0.set_queue_limits(change);
    }

    /// Rejects all new calls from now on; those that wait are served or rejected, as `closing` says.
    pub fn close(&self, closing: Closing) {
        self.0.close(closing);
    }
}

fn snapshot(queue: &Queue<Slots>) -> ConcurrencySnapshot {
    let waiting = queue.waiting();
    queue.with(|slots, now| slots.snapshot(waiting, now))
}
