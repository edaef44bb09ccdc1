//! The limit itself, with or without a service.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use aplomb_admission::{Acquire, Closing, Entries, Permit, Queue, QueueLimits, Wait};
use aplomb_core::{CallOptions, KeyLabel};
use tokio::time::Instant;

use crate::layer::Settings;
use crate::{AtCapacity, ConcurrencySnapshot, Limit, Slots};

/// A limit on calls in flight, or one for each key, and the callers before it.
///
/// Clones share the limits and the queues. A [`ConcurrencyLimitLayer`](crate::ConcurrencyLimitLayer) has one, see
/// [`limiter`](crate::ConcurrencyLimitLayer::limiter); it can also be used without a service.
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
/// // … make the call, and tell how it ended; dropping the permit gives it back as well.
/// permit.end(End::Judged { outcome: Outcome::success(), usage: None });
/// assert_eq!(limiter.snapshot().in_flight(), 0);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Limiter {
    entries: Entries<Slots>,
    settings: Settings,
}

impl Limiter {
    /// Nobody in flight, nobody waiting. For limits by key, and for more settings, see
    /// [`ConcurrencyLimitLayer::limiter`](crate::ConcurrencyLimitLayer::limiter).
    pub fn new(limit: impl Into<Limit>) -> Self {
        Self::with_settings(Settings::new(limit.into()))
    }

    pub(crate) fn with_settings(settings: Settings) -> Self {
        Self { entries: settings.entries(), settings }
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) const fn entries(&self) -> &Entries<Slots> {
        &self.entries
    }

    /// Changes the limit of all calls, or of every key there is. Calls in flight stay, and so does how long abandoned ones
    /// count. An adaptive limit that is already set keeps its state; another one continues from what was learned, within its
    /// own bounds.
    pub fn set_limit(&self, limit: impl Into<Limit>) {
        let limit = limit.into();
        self.for_each(|_, queue| queue.with(|slots, now| slots.set_limit(limit, now)));
    }

    /// Sets how long a call that was abandoned before its response counts as in flight, at most. Default: 30 s for an adaptive
    /// limit, 0 for a fixed one.
    pub fn set_abandoned(&self, longest: Duration) {
        self.for_each(|_, queue| queue.with(|slots, _| slots.set_abandoned(longest)));
    }

    /// Changes the limits of the queues. Calls that wait keep those under which they came.
    pub fn set_queue_limits(&self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        self.entries.set_limits(change);
    }

    /// Waits for a place, takes it, and returns a permit to make one call.
    ///
    /// Tell the [`Permit`] how the call went. Dropping the future leaves the queue without a trace.
    ///
    /// # Errors
    ///
    /// [`AtCapacity`] if the wait cannot end in time, if too many wait, and if the limiter is closed.
    ///
    /// # Panics
    ///
    /// Panics if there is a limit for each key: use [`acquire_for`](Self::acquire_for). And if it has to wait for an instant
    /// (a deadline, an abandoned call) outside of a tokio runtime with time enabled.
    pub async fn acquire(&self, options: &CallOptions) -> Result<Permit<Slots>, AtCapacity> {
        Self::permit(self.single().acquire((), Wait::from(options)), options).await
    }

    /// Waits for a place under the limit of `key`, as [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire); and [`AtCapacity`] if there is no room for the key.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait for an instant outside of a tokio runtime with time enabled.
    pub async fn acquire_for<K>(&self, key: &K, options: &CallOptions) -> Result<Permit<Slots>, AtCapacity>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        Self::permit(self.entries.acquire(key, (), Wait::from(options)), options).await
    }

    async fn permit(acquire: Acquire<Slots>, options: &CallOptions) -> Result<Permit<Slots>, AtCapacity> {
        acquire.await.map_err(|rejected| AtCapacity::new(&rejected, options))
    }

    /// The limit of all calls.
    ///
    /// # Panics
    ///
    /// Panics if there is one for each key: see [`snapshot_of`](Self::snapshot_of).
    #[must_use]
    pub fn snapshot(&self) -> ConcurrencySnapshot {
        snapshot(self.single())
    }

    /// The limit of `key`, if the key is there. Looking at it does not keep it.
    #[must_use]
    pub fn snapshot_of<K>(&self, key: &K) -> Option<ConcurrencySnapshot>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.entries.get(key).map(|queue| snapshot(&queue))
    }

    /// The limits of all keys, with their labels; or the one of all calls.
    #[must_use]
    pub fn snapshots(&self) -> Vec<(Option<KeyLabel>, ConcurrencySnapshot)> {
        let mut snapshots = Vec::new();
        self.for_each(|label, queue| snapshots.push((label.cloned(), snapshot(queue))));
        snapshots
    }

    /// How many keys there are; `None` if there is one limit for all calls.
    #[must_use]
    pub fn keys(&self) -> Option<usize> {
        self.entries.keys()
    }

    /// Rejects new calls from now on; those that wait are served or rejected, as `closing` says.
    pub fn close(&self, closing: Closing) {
        self.entries.close(closing);
    }

    /// Forgets every key that can be forgotten without loss, and returns their number. It need not be called: that happens bit
    /// by bit.
    pub fn forget_idle(&self) -> usize {
        self.entries.evict_fresh(Instant::now())
    }

    fn single(&self) -> &Queue<Slots> {
        self.entries.single().expect("there is a limit for each key")
    }

    fn for_each(&self, act: impl FnMut(Option<&KeyLabel>, &Queue<Slots>)) {
        self.entries.for_each(act);
    }
}

fn snapshot(queue: &Queue<Slots>) -> ConcurrencySnapshot {
    let waiting = queue.waiting();
    queue.with(|slots, now| slots.snapshot(waiting, now))
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("entries", &self.entries).finish_non_exhaustive()
    }
}
