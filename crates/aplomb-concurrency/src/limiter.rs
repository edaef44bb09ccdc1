//! The limits of a layer at work, with or without a service.

use std::hash::Hash;
use std::task::{Context, Waker};
use std::time::Duration;

use aplomb_admission::{Closing, Full, Lazy, Queue, QueueLimits, Stopped, Wait};
use aplomb_core::{BoxError, CallOptions, Classify, KeyLabel, Outcome, Rejection, find};
use tokio::time::Instant;

use crate::limits::{Config, Limits};
use crate::{AtCapacity, ConcurrencyLimitLayer, ConcurrencyPermit, ConcurrencySnapshot, Limit, Slots};

/// Reads, changes and uses the limit of a [`ConcurrencyLimitLayer`], or one of its limits if there is one for each key.
///
/// Clones share the limits and the queues. It may be used from anywhere, including an observer; also without a service.
///
/// With a limit for each key, [`get`](Self::get) and [`of`](Self::of) return a limiter for one key. Methods that
/// concern one limit panic if there are several and the limiter was not narrowed to one.
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
pub struct ConcurrencyLimiter {
    layer: Lazy<Config, Limits>,
    /// The limit of one key.
    one: Option<Queue<Slots>>,
}

impl ConcurrencyLimiter {
    /// One limit for all calls: a number, or an [`Adaptive`](crate::Adaptive) one. For more settings, see
    /// [`ConcurrencyLimitLayer::limiter`].
    #[must_use]
    pub fn new(limit: impl Into<Limit>) -> Self {
        ConcurrencyLimitLayer::new(limit).limiter()
    }

    pub(crate) const fn of_layer(layer: Lazy<Config, Limits>) -> Self {
        Self { layer, one: None }
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.layer.get_or_make(Limits::new)
    }

    pub(crate) fn into_layer(self) -> Lazy<Config, Limits> {
        self.layer
    }

    /// The queue before the limit.
    fn queue(&self) -> &Queue<Slots> {
        match (&self.one, self.limits().entries.single()) {
            (Some(queue), _) | (None, Some(queue)) => queue,
            (None, None) => panic!("there is a limit for each key: use `of` or `get` to choose one"),
        }
    }

    fn key(&self) -> Option<KeyLabel> {
        self.one.as_ref().and_then(Queue::key_label)
    }
}

/// One limit. With a limit for each key, these methods panic on a limiter that was not narrowed to one.
impl ConcurrencyLimiter {
    /// The limit and its use.
    #[must_use]
    pub fn snapshot(&self) -> ConcurrencySnapshot {
        snapshot(self.queue())
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
        match self.queue().acquire((), Wait::from(options)).await {
            Ok(permit) => Ok(ConcurrencyPermit::new(permit)),
            Err(rejected) => Err(self.limits().rejection(&rejected, self.key(), options)),
        }
    }

    /// Takes a slot for one call, if one is free and no call waits for it. `None` if not, and if the limiter is closed.
    #[must_use]
    pub fn try_acquire(&self) -> Option<ConcurrencyPermit> {
        let context = Context::from_waker(Waker::noop());
        match self.queue().ask((), Wait::default(), &context) {
            Ok(permit) => Some(ConcurrencyPermit::new(permit)),
            // A place in the queue is left at once.
            Err(Stopped::Queued(_) | Stopped::Rejected(_)) => None,
        }
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
        let permit = self.acquire(&CallOptions::current().unwrap_or_default()).await?;
        let result = operation().await.map_err(Into::into);
        permit.end(match &result {
            Ok(_) => Outcome::success(),
            Err(error) if find::<Rejection>(&**error).is_some() => Outcome::local(),
            Err(_) => Outcome::transient(),
        });
        result
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
        let permit = self.acquire(&CallOptions::current().unwrap_or_default()).await?;
        let result = operation().await;
        permit.end(classifier.classify(result.as_ref()).outcome());
        result.map_err(Into::into)
    }
}

/// All limits: that of all calls, or those of all keys in use. A limiter for one key changes that of its key.
impl ConcurrencyLimiter {
    /// A limiter for `key`, if the key is in use. It is not evicted while the limiter exists.
    #[must_use]
    pub fn get<K: Hash + Eq + Clone + Send + Sync + 'static>(&self, key: &K) -> Option<Self> {
        let queue = self.limits().entries.get(key)?;
        Some(Self { layer: self.layer.clone(), one: Some(queue) })
    }

    /// A limiter for `key`, whose limit is made if the key is new.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and there is no room for it.
    pub fn of<K: Hash + Eq + Clone + Send + Sync + 'static>(&self, key: &K) -> Result<Self, Full> {
        let queue = self.limits().entries.queue(key)?;
        Ok(Self { layer: self.layer.clone(), one: Some(queue) })
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
        match self.limits().entries.acquire(key, (), Wait::from(options)).await {
            Ok(permit) => Ok(ConcurrencyPermit::new(permit)),
            Err(rejected) => {
                let label = self.get(key).and_then(|of_key| of_key.key());
                Err(self.limits().rejection(&rejected, label, options))
            }
        }
    }

    /// The limit of `key` and its use, if the key is in use.
    #[must_use]
    pub fn snapshot_of<K: Hash + Eq + Clone + Send + Sync + 'static>(
        &self,
        key: &K,
    ) -> Option<ConcurrencySnapshot> {
        self.limits().entries.get(key).map(|queue| snapshot(&queue))
    }

    /// All limits and their use, with the labels of their keys. Keys that come and go meanwhile may be missing.
    #[must_use]
    pub fn snapshots(&self) -> Vec<(Option<KeyLabel>, ConcurrencySnapshot)> {
        let mut snapshots = Vec::new();
        self.limits()
            .entries
            .for_each(|key, queue| snapshots.push((key.cloned(), snapshot(queue))));
        snapshots
    }

    /// The number of keys in use; `None` if there is one limit for all calls.
    #[must_use]
    pub fn keys(&self) -> Option<usize> {
        self.limits().entries.keys()
    }

    /// Evicts all keys whose limits equal fresh ones, and returns their number. It need not be called: that happens bit
    /// by bit.
    pub fn forget_idle(&self) -> usize {
        self.limits().entries.evict_fresh(Instant::now())
    }

    /// Changes the limit. Calls in flight stay, and so does how long abandoned ones count. An adaptive limit that is
    /// already set keeps its state; another one continues from what was learned, within its own bounds. Keys that are not in
    /// use keep the setting of the layer.
    pub fn set_limit(&self, limit: impl Into<Limit>) {
        let limit = limit.into();
        self.for_each(|queue| queue.with(|slots, now| slots.set_limit(limit, now)));
    }

    /// Sets how long a call that was abandoned before it was answered counts as in flight, at most.
    pub fn set_abandoned(&self, max: Duration) {
        self.for_each(|queue| queue.with(|slots, _| slots.set_abandoned(max)));
    }

    /// Changes the limits of the queues, for all keys. Calls that wait keep those under which they came.
    pub fn set_queue_limits(&self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        self.limits().entries.set_limits(change);
    }

    /// Rejects all new calls from now on; those that wait are served or rejected, as `closing` says.
    pub fn close(&self, closing: Closing) {
        self.limits().entries.close(closing);
    }

    fn for_each(&self, mut change: impl FnMut(&Queue<Slots>)) {
        match &self.one {
            Some(queue) => change(queue),
            None => self.limits().entries.for_each(|_, queue| change(queue)),
        }
    }
}

fn snapshot(queue: &Queue<Slots>) -> ConcurrencySnapshot {
    let waiting = queue.waiting();
    queue.with(|slots, now| slots.snapshot(waiting, now))
}
