//! A handle on the queues of a layer.

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

use aplomb_core::{BoxError, CallOptions, Classify, KeyLabel, Outcome, Rejection, find};
use tokio::time::Instant;

use crate::key::ErasedKey;
use crate::layer_state::Lazy;
use crate::{Closing, End, Entries, Full, Gate, LayerState, Permit, Queue, QueueLimits, Wait};

/// A handle on the queues and gates of a layer: on all of them, or on those of one key. Clones are handles on the same.
///
/// The state of the layer is made when a handle is first used, if it was not made before.
pub struct Handle<S: LayerState>(Arc<Lazy<S>>);

impl<S: LayerState> Handle<S> {
    pub(crate) fn new(lazy: Lazy<S>) -> Self {
        Self(Arc::new(lazy))
    }

    pub(crate) fn lazy(&self) -> &Lazy<S> {
        &self.0
    }

    /// The state of the layer.
    pub fn state(&self) -> &S {
        self.0.state()
    }

    fn entries(&self) -> &Entries<S::Gate> {
        self.state().entries()
    }

    /// The queue of all calls, or of the key that this is a handle on. `None` if each key has one.
    #[must_use]
    pub fn single(&self) -> Option<&Queue<S::Gate>> {
        self.entries().single()
    }

    /// The same.
    ///
    /// # Panics
    ///
    /// Panics if each key has a queue of its own, and this is not a handle on one of them.
    #[must_use]
    #[track_caller]
    pub fn queue(&self) -> &Queue<S::Gate> {
        self.single().expect("each key has a queue of its own: choose one with `of` or `get`")
    }

    /// The label of the key that this is a handle on.
    #[must_use]
    pub fn key(&self) -> Option<KeyLabel> {
        self.single().and_then(Queue::key_label)
    }

    /// A handle on the queue of `key`, if the key is in use. It is not evicted while the handle exists.
    ///
    /// # Panics
    ///
    /// Panics if the keys of the layer are of another type, as all methods that take a key do.
    #[must_use]
    #[track_caller]
    pub fn get<K: ErasedKey>(&self, key: &K) -> Option<Self> {
        self.entries_of(key).get(key).map(|queue| Self::new(self.0.of_key(queue)))
    }

    /// A handle on the queue of `key`, which is made if the key is new.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and there is no room for it.
    ///
    /// # Panics
    ///
    /// As [`get`](Self::get).
    #[track_caller]
    pub fn of<K: ErasedKey>(&self, key: &K) -> Result<Self, Full> {
        self.entries_of(key).queue(key).map(|queue| Self::new(self.0.of_key(queue)))
    }

    #[track_caller]
    fn entries_of<K: ErasedKey>(&self, key: &K) -> &Entries<S::Gate> {
        let entries = self.entries();
        assert!(entries.is_key(key), "the keys of this layer are not {}", type_name::<K>());
        entries
    }

    /// Waits for a permit for one call, of [`queue`](Self::queue).
    ///
    /// # Errors
    ///
    /// The layer's own, if the call is rejected.
    ///
    /// # Panics
    ///
    /// As [`queue`](Self::queue); and if it has to wait for an instant outside of a tokio runtime with time enabled.
    pub async fn acquire(
        &self,
        cost: <S::Gate as Gate>::Cost,
        options: &CallOptions,
    ) -> Result<Permit<S::Gate>, S::Error> {
        let acquired = self.queue().acquire(cost, Wait::from(options)).await;
        acquired.map_err(|rejected| self.state().rejection(&rejected, self.key(), options))
    }

    /// Waits for a permit for one call of `key`, which is made if it is new.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), and if the key is new and there is no room for it.
    ///
    /// # Panics
    ///
    /// As [`get`](Self::get); and if it has to wait for an instant outside of a tokio runtime with time enabled.
    pub async fn acquire_for<K: ErasedKey>(
        &self,
        key: &K,
        cost: <S::Gate as Gate>::Cost,
        options: &CallOptions,
    ) -> Result<Permit<S::Gate>, S::Error> {
        let acquired = self.entries_of(key).acquire(key, cost, Wait::from(options)).await;
        acquired.map_err(|rejected| {
            let label = self.look_at(key, Queue::key_label).flatten();
            self.state().rejection(&rejected, label, options)
        })
    }

    /// Runs an operation with a permit: `Ok` counts as a success, `Err` as a failure of the peer, except for rejections by
    /// aplomb layers. The options of the call are those of the current scope.
    ///
    /// # Errors
    ///
    /// The error of the operation, or of [`acquire`](Self::acquire); boxed.
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn run<T, E, F>(
        &self,
        cost: <S::Gate as Gate>::Cost,
        operation: impl FnOnce() -> F,
    ) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
        S::Error: Into<BoxError>,
    {
        let permit = self.permit(cost).await?;
        let result = operation().await.map_err(Into::into);
        permit.end(judged(match &result {
            Ok(_) => Outcome::success(),
            Err(error) if find::<Rejection>(&**error).is_some() => Outcome::local(),
            Err(_) => Outcome::transient(),
        }));
        result
    }

    /// Runs an operation with a permit, judged by a classifier.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn run_classified<T, E, F>(
        &self,
        cost: <S::Gate as Gate>::Cost,
        classifier: &impl Classify<T, E>,
        operation: impl FnOnce() -> F,
    ) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
        S::Error: Into<BoxError>,
    {
        let permit = self.permit(cost).await?;
        let result = operation().await;
        permit.end(judged(classifier.classify(result.as_ref()).outcome()));
        result.map_err(Into::into)
    }

    /// A permit for an operation that begins now.
    async fn permit(&self, cost: <S::Gate as Gate>::Cost) -> Result<Permit<S::Gate>, BoxError>
    where
        S::Error: Into<BoxError>,
    {
        let options = CallOptions::current().unwrap_or_default();
        self.acquire(cost, &options).await.map(Permit::sent_by_caller).map_err(Into::into)
    }

    /// A look at the queue of `key`, if the key is in use.
    ///
    /// # Panics
    ///
    /// As [`get`](Self::get).
    #[track_caller]
    pub fn look_at<K: ErasedKey, T>(&self, key: &K, look: impl FnOnce(&Queue<S::Gate>) -> T) -> Option<T> {
        self.entries_of(key).get(key).map(|queue| look(&queue))
    }

    /// A look at every queue, with the label of its key.
    pub fn look_at_each<T>(&self, look: impl Fn(&Queue<S::Gate>) -> T) -> Vec<(Option<KeyLabel>, T)> {
        let mut looks = Vec::new();
        self.entries().for_each(|key, queue| looks.push((key.cloned(), look(queue))));
        looks
    }

    /// Calls `act` with every queue.
    pub fn for_each(&self, mut act: impl FnMut(&Queue<S::Gate>)) {
        self.entries().for_each(|_, queue| act(queue));
    }

    /// The number of callers that wait, in all queues.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let mut waiting = 0;
        self.for_each(|queue| waiting += queue.waiting());
        waiting
    }

    /// The number of keys in use; `None` if there is one queue for all calls.
    #[must_use]
    pub fn keys(&self) -> Option<usize> {
        self.entries().keys()
    }

    /// Evicts all keys whose gates equal fresh ones, and returns their number.
    pub fn forget_idle(&self) -> usize {
        self.entries().evict_fresh(Instant::now())
    }

    /// Changes the limits of all queues of the layer, also if this is a handle on one key. Callers that wait keep those under which they came.
    pub fn set_queue_limits(&self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        self.entries().set_limits(change);
    }

    /// Rejects new calls from now on: of every key, or of the key that this is a handle on.
    pub fn close(&self, closing: Closing) {
        self.entries().close(closing);
    }
}

const fn judged(outcome: Outcome) -> End {
    End::Judged { outcome, usage: None }
}

impl<S: LayerState> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: LayerState> fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.0).finish()
    }
}
