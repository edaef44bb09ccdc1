//! One queue, or one for each key.

use std::fmt;
#[cfg(not(aplomb_loom))]
use std::sync::Mutex;
#[cfg(not(aplomb_loom))]
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::Context;

use aplomb_core::{KeyLabel, RequestView};
#[cfg(aplomb_loom)]
use loom::sync::Mutex;
#[cfg(aplomb_loom)]
use loom::sync::atomic::{AtomicU32, Ordering};
use tokio::time::Instant;

use crate::key::{ErasedKey, KeyBy};
use crate::queue::{QueueSettings, Stopped};
use crate::{
    Acquire, Closing, Evictable, Full, Gate, Keyed, Permit, Queue, QueueLimits, RejectReason, Rejected, Wait,
    Worth,
};

/// The queues of a layer: the one that all calls share, or one for each key. Clones share everything.
pub struct Entries<G: Evictable + Gate>(Inner<G>);

enum Inner<G: Evictable + Gate> {
    One(Queue<G>),
    Keyed(Arc<KeyedQueues<G>>),
}

/// A queue before a gate of its own for each key, made on first use.
struct KeyedQueues<G: Gate> {
    by: KeyBy,
    queues: Keyed<Arc<dyn ErasedKey>, Entry<G>>,
    make: Box<MakeGate<G>>,
    settings: Arc<QueueSettings<G::Event>>,
    closed: Mutex<Option<Closing>>,
    /// How often something has changed that concerns the gates of all keys.
    generation: AtomicU32,
}

type MakeGate<G> = dyn Fn(&dyn ErasedKey) -> G + Send + Sync;

struct Entry<G: Gate> {
    queue: Queue<G>,
    /// Under which the gate was made.
    generation: u32,
}

impl<G: Evictable + Gate> Evictable for Entry<G> {
    fn worth(&mut self, now: Instant) -> Worth {
        self.queue.worth(now)
    }
}

impl<G: Evictable + Gate> Entries<G> {
    /// The default number of keys.
    pub const MAX_KEYS: usize = 100_000;

    /// One queue for all calls. `observer` receives the events of its gate.
    pub fn one(
        gate: G,
        limits: QueueLimits,
        observer: impl Fn(&G::Event, Option<&KeyLabel>) + Send + Sync + 'static,
    ) -> Self {
        let settings = QueueSettings::new(limits, observer, KeyBy::hashed);
        Self(Inner::One(Queue::with_settings(gate, settings, None)))
    }

    /// A queue that is there already.
    pub const fn of(queue: Queue<G>) -> Self {
        Self(Inner::One(queue))
    }

    /// A queue for each key, and no more than `max_keys` of them.
    ///
    /// `make` makes the gate of a key when the key is first used; no lock is held meanwhile. `observer` receives the
    /// events of all gates, with the labels of their keys.
    pub fn keyed(
        by: KeyBy,
        max_keys: usize,
        limits: QueueLimits,
        make: impl Fn(&dyn ErasedKey) -> G + Send + Sync + 'static,
        observer: impl Fn(&G::Event, Option<&KeyLabel>) + Send + Sync + 'static,
    ) -> Self {
        let settings = QueueSettings::new(limits, observer, by.label());
        Self(Inner::Keyed(Arc::new(KeyedQueues {
            by,
            queues: Keyed::new(max_keys),
            make: Box::new(make),
            settings,
            closed: Mutex::new(None),
            generation: AtomicU32::new(0),
        })))
    }

    /// Asks for a call to be admitted, by the queue of its key if there is one for each. `view` is called only in that
    /// case. The permit is put into `permit`.
    ///
    /// # Errors
    ///
    /// As [`Queue::ask`]; and with [`RejectReason::TooManyKeys`] if there is no room for the key.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a permit is large, and made in its place instead of being moved"
    )]
    pub(crate) fn ask<'r>(
        &self,
        permit: &mut Option<Permit<G>>,
        view: impl FnOnce() -> RequestView<'r>,
        cost: impl FnOnce() -> G::Cost,
        wait: Wait,
        cx: &Context<'_>,
    ) -> Result<(), Stopped<G>> {
        let of_key;
        let queue = match &self.0 {
            Inner::One(queue) => queue,
            Inner::Keyed(keyed) => match keyed.by.with_key(&view(), |key| keyed.queue(key)) {
                Ok(queue) => {
                    of_key = queue;
                    &of_key
                }
                Err(Full { .. }) => {
                    return Err(Stopped::Rejected(Rejected::at_once(RejectReason::TooManyKeys)));
                }
            },
        };
        queue.ask(permit, cost, wait, cx)
    }

    /// Asks for a call with this key to be admitted, and waits for it: as [`Queue::acquire`], and rejected with
    /// [`RejectReason::TooManyKeys`] if there is no room for the key.
    pub fn acquire(&self, key: &dyn ErasedKey, cost: G::Cost, wait: Wait) -> Acquire<G> {
        match self.queue(key) {
            Ok(queue) => queue.acquire(cost, wait),
            Err(Full { .. }) => Acquire::rejected(RejectReason::TooManyKeys),
        }
    }

    /// A copy of a call's key, and its label, if there is a queue for each.
    pub fn key_of<'r>(
        &self,
        view: impl FnOnce() -> RequestView<'r>,
    ) -> Option<(Arc<dyn ErasedKey>, KeyLabel)> {
        match &self.0 {
            Inner::One(_) => None,
            Inner::Keyed(keyed) => {
                keyed.by.with_key(&view(), |key| Some((key.to_shared(), (keyed.by.label())(key))))
            }
        }
    }

    /// The label of a call's key, if there is a queue for each.
    pub fn label_of<'r>(&self, view: impl FnOnce() -> RequestView<'r>) -> Option<KeyLabel> {
        match &self.0 {
            Inner::One(_) => None,
            Inner::Keyed(keyed) => Some(keyed.by.label_of(&view())),
        }
    }

    /// The one queue of all calls; `None` if there is one for each key.
    pub fn single(&self) -> Option<&Queue<G>> {
        match &self.0 {
            Inner::One(queue) => Some(queue),
            Inner::Keyed(_) => None,
        }
    }

    /// The queue of a call's key, if the key is there: it is not made, and does not count as used.
    pub fn find<'r>(&self, view: impl FnOnce() -> RequestView<'r>) -> Option<Queue<G>> {
        match &self.0 {
            Inner::One(queue) => Some(queue.clone()),
            Inner::Keyed(keyed) => keyed.by.with_key(&view(), |key| self.get(key)),
        }
    }

    /// The queue of `key`, if the key is there: it is not made, and does not count as used. The one queue of all calls if
    /// there are no keys.
    pub fn get(&self, key: &dyn ErasedKey) -> Option<Queue<G>> {
        match &self.0 {
            Inner::One(queue) => Some(queue.clone()),
            Inner::Keyed(keyed) => keyed.queues.peek(key, |entry| entry.queue.clone()),
        }
    }

    /// Whether requests have keys of the type of `key`; any will do if there are no keys.
    pub fn is_key(&self, key: &dyn ErasedKey) -> bool {
        match &self.0 {
            Inner::One(_) => true,
            Inner::Keyed(keyed) => keyed.by.is_key(key),
        }
    }

    /// The queue of `key`, which is made if it is not there, and kept for as long as this is held. The one queue of all
    /// calls if there are no keys.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and there is no room for it.
    pub fn queue(&self, key: &dyn ErasedKey) -> Result<Queue<G>, Full> {
        match &self.0 {
            Inner::One(queue) => Ok(queue.clone()),
            Inner::Keyed(keyed) => keyed.queue(key),
        }
    }

    /// Calls `act` with every queue and the label of its key, outside of all locks.
    pub fn for_each(&self, mut act: impl FnMut(Option<&KeyLabel>, &Queue<G>)) {
        match &self.0 {
            Inner::One(queue) => act(queue.key_label().as_ref(), queue),
            Inner::Keyed(keyed) => {
                // A shard at a time, so that no more keys than that are held at once.
                for queue in keyed.queues.snapshot(|_, entry| entry.queue.clone()) {
                    act(queue.key_label().as_ref(), &queue);
                }
            }
        }
    }

    /// Makes a change that concerns the gates of all keys. `change` is called with each of them, and what makes new ones must
    /// have been changed before: a gate that is just being made is made again.
    pub fn for_each_gate(&self, mut change: impl FnMut(Option<&dyn ErasedKey>, &Queue<G>)) {
        match &self.0 {
            Inner::One(queue) => change(None, queue),
            Inner::Keyed(keyed) => {
                keyed.generation.fetch_add(1, Ordering::AcqRel);
                for (key, queue) in keyed.queues.snapshot(|key, entry| (Arc::clone(key), entry.queue.clone()))
                {
                    change(Some(&*key), &queue);
                }
            }
        }
    }

    /// Changes the limits of all queues. Callers that wait keep those under which they came.
    pub fn set_limits(&self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        match &self.0 {
            Inner::One(queue) => queue.set_limits(change),
            Inner::Keyed(keyed) => keyed.settings.set_limits(change),
        }
    }

    /// Rejects new calls of every key from now on. Calls that have been admitted end as they would have.
    pub fn close(&self, closing: Closing) {
        if let Inner::Keyed(keyed) = &self.0 {
            *keyed.closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(closing);
        }
        self.for_each_gate(|_, queue| queue.close(closing));
    }

    /// How many keys there are; `None` if there is one queue for all calls.
    pub fn keys(&self) -> Option<usize> {
        match &self.0 {
            Inner::One(_) => None,
            Inner::Keyed(keyed) => Some(keyed.queues.len()),
        }
    }

    /// Evicts every key whose gate equals a fresh one, and returns their number.
    pub fn evict_fresh(&self, now: Instant) -> usize {
        match &self.0 {
            Inner::One(_) => 0,
            Inner::Keyed(keyed) => keyed.queues.evict_fresh(now),
        }
    }
}

impl<G: Evictable + Gate> KeyedQueues<G> {
    fn queue(&self, key: &dyn ErasedKey) -> Result<Queue<G>, Full> {
        let current = || self.generation.load(Ordering::Acquire);
        let make = || {
            let generation = current();
            let owned = key.to_shared();
            let mut queue =
                Queue::with_settings((self.make)(key), Arc::clone(&self.settings), Some(Arc::clone(&owned)));
            queue.set_closed(*self.closed.lock().unwrap_or_else(PoisonError::into_inner));
            (owned, Entry { queue, generation })
        };
        // Under the lock of the shard: a change for all keys finds this queue there, or is noticed here.
        let accepts = |entry: &Entry<G>| entry.generation == current();
        self.queues.obtain(key, Instant::now, make, accepts, |entry| entry.queue.clone())
    }
}

impl<G: Evictable + Gate> Clone for Entries<G> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Inner::One(queue) => Inner::One(queue.clone()),
            Inner::Keyed(keyed) => Inner::Keyed(Arc::clone(keyed)),
        })
    }
}

impl<G: Evictable + Gate> fmt::Debug for Entries<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the keys: they may be secrets.
        let mut debug = f.debug_struct("Entries");
        match &self.0 {
            Inner::One(queue) => debug.field("waiting", &queue.waiting()).finish_non_exhaustive(),
            Inner::Keyed(keyed) => debug.field("keys", &keyed.queues.len()).finish_non_exhaustive(),
        }
    }
}
