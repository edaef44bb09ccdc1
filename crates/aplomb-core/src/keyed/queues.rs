//! A queue before a gate for each key: in full while it is in use, and at rest otherwise.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, PoisonError};
#[cfg(not(aplomb_loom))]
use std::sync::{Mutex, MutexGuard};

#[cfg(aplomb_loom)]
use loom::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::notice::{KeyNotice, ObserveKey, Teller};
use super::room::{Full, Room, Search, Swept};
use super::shards::{Hashed, Shards};
use super::table::{FEW, Table};
use crate::{Acquire, Closing, Idle, Observe, Queue, QueueLimits, Rests, TurnedBecause, Wait};

/// A [`Queue`] before a gate of its own for each key: made on first use, at rest while nobody uses it,
/// forgotten when idle, bounded.
///
/// A key is *in use* while somebody waits in its queue or holds a permit or a handle; there is never
/// more than one queue of a key, and whatever a permit reports reaches the gate that gave it. When
/// nobody uses it any more, only [what the gate wants to be kept](Rests::Rest) stays, and not even
/// that where the gate is as good as new. This happens bit by bit, as in [`Keyed`](super::Keyed):
/// whenever a key comes into use, and with every sixteenth call otherwise, a hand moves over four of
/// the keys in use, and over four of those at rest. A key that has been used since the hand last came
/// by stays.
///
/// There are never more than `max_keys` keys, in use or at rest. Where there is no room, and none of up
/// to 64 keys that are looked at can be forgotten, callers with a new key are turned away
/// ([`TurnedBecause::TooManyKeys`]).
///
/// Clones share everything.
pub struct Queues<K, G: Rests>(Arc<Shared<K, G>>);

struct Shared<K, G: Rests> {
    shards: Shards<Shard<K, G>>,
    room: Room,
    policy: Box<dyn Fn(&K) -> G + Send + Sync>,
    observer: Arc<ObserveKey<K, G::Notice>>,
    settings: Mutex<Settings>,
}

/// What is the same for all keys.
#[derive(Clone, Copy)]
struct Settings {
    limits: QueueLimits,
    closed: Option<Closing>,
}

/// A key is in one of the two tables, and changes over under the lock of the shard.
struct Shard<K, G: Rests> {
    live: Table<K, Live<G>>,
    rest: Table<K, G::Rest>,
}

struct Live<G: Rests> {
    queue: Queue<G>,
    /// Since the hand last came by.
    used: bool,
}

impl<K, G> Queues<K, G>
where
    K: Clone + Hash + Eq + Send + Sync + 'static,
    G: Rests,
{
    /// No keys yet, and room for `max_keys`.
    ///
    /// `policy` makes the gate of a key when it comes into use; no lock is held meanwhile. It is asked
    /// again when the key comes back into use after a rest, so what it says may change. `observer` is
    /// told the notices of all gates.
    pub fn new(
        max_keys: usize,
        limits: QueueLimits,
        policy: impl Fn(&K) -> G + Send + Sync + 'static,
        observer: impl for<'a> Observe<KeyNotice<'a, K, G::Notice>> + Send + Sync + 'static,
    ) -> Self {
        let shard = || Shard { live: Table::new(), rest: Table::new() };
        Self(Arc::new(Shared {
            shards: Shards::new(max_keys, shard),
            room: Room::new(max_keys),
            policy: Box::new(policy),
            observer: Arc::new(observer),
            settings: Mutex::new(Settings { limits, closed: None }),
        }))
    }

    /// Asks the gate of `key` to be let through, and waits for it in its line: as
    /// [`Queue::acquire`], and turned away with [`TurnedBecause::TooManyKeys`] where there is no room
    /// for the key.
    pub fn acquire(&self, key: &K, ask: G::Ask, wait: Wait) -> Acquire<G> {
        match self.queue(key) {
            Ok(queue) => queue.acquire(ask, wait),
            Err(Full { .. }) => Acquire::turned_away(TurnedBecause::TooManyKeys),
        }
    }

    /// The queue of `key`, which is in use for as long as this is held.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and there is no room for it.
    pub fn queue(&self, key: &K) -> Result<Queue<G>, Full> {
        let hashed = self.0.shards.hash(key);
        let (mut fresh, mut search) = (None, Search::default());
        loop {
            let mut shard = self.0.shards.lock(hashed);
            if let Some(live) = shard.live.get_mut(hashed.within, key) {
                let queue = live.take_up();
                let is_time = shard.live.is_time_to_sweep();
                drop(shard);
                if is_time {
                    self.sweep(self.0.shards.next(), Instant::now(), false);
                }
                return Ok(queue);
            }
            let at_rest = shard.rest.get_mut(hashed.within, key).is_some();
            if fresh.is_some()
                && (at_rest || self.0.room.take())
                && let Some((key, queue)) = fresh
            {
                return Ok(self.put_to_use(&mut shard, hashed, key, queue));
            }
            let is_full = !at_rest && self.0.room.is_full();
            drop(shard);
            if is_full {
                let sweep = || self.sweep(self.0.shards.next(), Instant::now(), true);
                if !search.go_on(self.0.shards.len(), sweep) {
                    return Err(Full::of(&self.0.room));
                }
            } else if fresh.is_none() {
                // The caller's code, and memory: no lock is held; nor is one where it is dropped unused.
                let observer = Teller::new(key.clone(), Arc::clone(&self.0.observer));
                fresh = Some((key.clone(), Queue::new((self.0.policy)(key), QueueLimits::new(), observer)));
                self.sweep(self.0.shards.next(), Instant::now(), false);
            }
        }
    }

    /// A key changes over to those in use, with a queue that has just been made.
    fn put_to_use(&self, shard: &mut Shard<K, G>, hashed: Hashed, key: K, mut queue: Queue<G>) -> Queue<G> {
        let rest = shard.rest.remove(hashed.within, &key, |key| self.rehash(key)).map(|(_, rest)| rest);
        // Read under the lock of the shard: who closes all queues finds this one, or is found by it.
        let Settings { limits, closed } = *self.settings();
        queue.resume(rest, limits, closed);
        shard.live.insert(hashed.within, key, Live { queue, used: true }).take_up()
    }

    /// Puts to rest and forgets what can be, of all keys, and says how many were forgotten.
    ///
    /// It need not be called: it happens bit by bit. No lock is held longer than for a few keys.
    pub fn forget_idle(&self, now: Instant) -> usize {
        let rounds = |index| {
            let mut shard = self.0.shards.lock_shard(index);
            // Those that are put to rest on the way are forgotten there and then, or stay.
            shard.live.rewind().max(shard.rest.rewind()).div_ceil(FEW)
        };
        let swept = (0..self.0.shards.len()).flat_map(|shard| (0..rounds(shard)).map(move |_| shard));
        swept.map(|shard| self.sweep(shard, now, true).forgotten).sum()
    }

    /// What `look` says of each gate, shard by shard: told its key, the gate, how many callers wait,
    /// and the time.
    ///
    /// A key in use is looked at under the lock of its queue. One at rest is looked at as a copy, made
    /// as if the key came into use; changing that has no effect.
    pub fn snapshot<T>(
        &self,
        mut look: impl FnMut(&K, &mut G, usize, Instant) -> T,
    ) -> impl Iterator<Item = T> {
        (0..self.0.shards.len()).flat_map(move |index| {
            let shard = self.0.shards.lock_shard(index);
            let live: Vec<_> =
                shard.live.iter().map(|(key, live)| (key.clone(), live.queue.clone())).collect();
            let rest: Vec<_> = shard.rest.iter().map(|(key, rest)| (key.clone(), rest.clone())).collect();
            drop(shard);
            let mut looked = Vec::with_capacity(live.len() + rest.len());
            for (key, queue) in live {
                let waiting = queue.waiting();
                looked.push(queue.with(|gate, now| look(&key, gate, waiting, now)));
            }
            for (key, rest) in rest {
                let mut gate = (self.0.policy)(&key);
                gate.resume(rest);
                looked.push(look(&key, &mut gate, 0, Instant::now()));
            }
            looked
        })
    }

    /// Changes the bounds of every line. Those who wait keep the ones they came under.
    pub fn set_limits(&self, change: impl Fn(QueueLimits) -> QueueLimits) {
        {
            let mut settings = self.settings();
            settings.limits = change(settings.limits);
        }
        self.for_each_in_use(|_, queue| queue.set_limits(&change));
    }

    /// Refuses new callers of every key from now on. Those who were let through end as they would have.
    pub fn close(&self, closing: Closing) {
        self.settings().closed = Some(closing);
        self.for_each_in_use(|_, queue| queue.close(closing));
    }

    /// Does something with every queue that is in use, outside of any lock: for changes that must not
    /// wait until a key comes into use again, and is made as the policy says then.
    pub fn for_each_in_use(&self, mut act: impl FnMut(&K, &Queue<G>)) {
        for index in 0..self.0.shards.len() {
            let shard = self.0.shards.lock_shard(index);
            let live: Vec<_> =
                shard.live.iter().map(|(key, live)| (key.clone(), live.queue.clone())).collect();
            drop(shard);
            for (key, queue) in live {
                act(&key, &queue);
            }
        }
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rehash(&self, key: &K) -> u32 {
        self.0.shards.hash(key).within
    }

    /// Moves the hands of a shard over the next few keys. Unless `urgent`, a key that was
    /// used since the hand last came by stays in use.
    fn sweep(&self, shard: usize, now: Instant, urgent: bool) -> Swept {
        // All that goes is dropped after the lock: it is the caller's code.
        let mut unused = [const { None }; FEW];
        let mut forgotten = [const { None }; FEW];
        let mut queues = [const { None }; FEW];
        let mut shard = self.0.shards.lock_shard(shard);
        let Shard { live, rest } = &mut *shard;
        let put_to_rest = |live: &mut Live<G>| {
            let stays = std::mem::take(&mut live.used) && !urgent;
            if stays { None } else { live.queue.rest(now) }
        };
        let forget = |rest: &mut G::Rest| rest.is_idle(now).then_some(());
        let looked_at = live.sweep(|key| self.rehash(key), put_to_rest, &mut unused)
            + rest.sweep(|key| self.rehash(key), forget, &mut forgotten);
        let mut count = forgotten.iter().flatten().count();
        for (unused, queue) in unused.iter_mut().zip(&mut queues) {
            if let Some((key, live, kept)) = unused.take() {
                if kept.is_idle(now) {
                    *unused = Some((key, live, kept));
                    count += 1;
                } else {
                    rest.insert(self.rehash(&key), key, kept);
                    *queue = Some(live);
                }
            }
        }
        drop(shard);
        self.0.room.free(count);
        Swept { looked_at, forgotten: count }
    }
}

impl<K, G: Rests> Queues<K, G> {
    /// How many keys there are, in use or at rest.
    pub fn len(&self) -> usize {
        self.0.room.taken()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys there may be.
    pub fn max_keys(&self) -> usize {
        self.0.room.max()
    }

    /// How many keys are in use, or have been a short while ago: the others are at rest.
    pub fn in_use(&self) -> usize {
        (0..self.0.shards.len()).map(|shard| self.0.shards.lock_shard(shard).live.len()).sum()
    }
}

impl<G: Rests> Live<G> {
    fn take_up(&mut self) -> Queue<G> {
        self.used = true;
        self.queue.clone()
    }
}

impl<K, G: Rests> Clone for Queues<K, G> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, G: Rests> fmt::Debug for Queues<K, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the keys: they may be secrets.
        f.debug_struct("Queues")
            .field("keys", &self.len())
            .field("max_keys", &self.max_keys())
            .finish_non_exhaustive()
    }
}
