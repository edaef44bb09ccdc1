//! A queue before a gate for each key: in full while it is in use, and at rest otherwise.

mod all;

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, PoisonError};
#[cfg(not(aplomb_loom))]
use std::sync::{Mutex, MutexGuard};
use std::task::Context;

#[cfg(aplomb_loom)]
use loom::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::notice::{KeyNotice, ObserveKey, Teller};
use super::room::{Full, Room, Search, Swept};
use super::shards::{Hashed, Shards};
use super::table::{FEW, Table};
use crate::{
    Acquire, Closing, Idle, Permit, Queue, QueueLimits, RejectReason, Rejected, Rests, Stopped, Wait,
};
use aplomb_core::Observe;

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
/// There are never more than `max_keys` keys, in use or at rest. Where there is no room, one goes of which
/// no more is kept than can be [spared](Idle::is_spare). If none of up to 64 keys that are looked at can be
/// forgotten or spared, callers with a new key are turned away
/// ([`RejectReason::TooManyKeys`]).
///
/// Clones share everything.
pub struct Queues<K, G: Rests>(Arc<Shared<K, G>>);

struct Shared<K, G: Rests> {
    shards: Shards<Shard<K, G>>,
    room: Room,
    policy: Box<dyn Fn(&K) -> G + Send + Sync>,
    observer: Arc<ObserveKey<K, G::Event>>,
    settings: Mutex<Settings>,
}

/// What is the same for all keys.
#[derive(Clone, Copy)]
struct Settings {
    limits: QueueLimits,
    closed: Option<Closing>,
    /// How often what the policy says has changed.
    generation: u64,
}

/// A key is in one of the two tables, and changes over under the lock of the shard.
struct Shard<K, G: Rests> {
    live: Table<K, Live<G>>,
    rest: Table<K, G::Rest>,
}

/// How a hand deals with the keys it passes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sweep {
    /// A key that was used since the hand last came by stays in use.
    Gently,
    /// All that can be are put to rest, and forgotten.
    Thoroughly,
    /// The same, and one may be forgotten that is only [spare](Idle::is_spare).
    ForRoom,
}

/// A queue that has just been made, and under which generation of what the policy says.
struct Fresh<K, G: Rests> {
    key: K,
    queue: Queue<G>,
    generation: u64,
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
    /// again when the key comes back into use after a rest, so what it says may change; see
    /// [`renew`](Queues::renew). `observer` is told the notices of all gates.
    pub fn new(
        max_keys: usize,
        limits: QueueLimits,
        policy: impl Fn(&K) -> G + Send + Sync + 'static,
        observer: impl for<'a> Observe<KeyNotice<'a, K, G::Event>> + Send + Sync + 'static,
    ) -> Self {
        let shard = || Shard { live: Table::new(), rest: Table::new() };
        Self(Arc::new(Shared {
            shards: Shards::new(max_keys, shard),
            room: Room::new(max_keys),
            policy: Box::new(policy),
            observer: Arc::new(observer),
            settings: Mutex::new(Settings { limits, closed: None, generation: 0 }),
        }))
    }

    /// Asks the gate of `key` to be let through, and waits for it in its line: as
    /// [`Queue::acquire`], and turned away with [`RejectReason::TooManyKeys`] where there is no room
    /// for the key.
    pub fn acquire(&self, key: &K, ask: G::Cost, wait: Wait) -> Acquire<G> {
        match self.queue(key) {
            Ok(queue) => queue.acquire(ask, wait),
            Err(Full { .. }) => Acquire::turned_away(RejectReason::TooManyKeys),
        }
    }

    /// Asks the gate of `key`, and takes a place in its line where that is necessary: as [`Queue::ask`],
    /// and turned away as by [`acquire`](Queues::acquire).
    pub fn ask(
        &self,
        key: &K,
        ask: G::Cost,
        wait: Wait,
        cx: &Context<'_>,
        permit: &mut Option<Permit<G>>,
    ) -> Option<Stopped<G>> {
        match self.queue(key) {
            Ok(queue) => queue.ask(ask, wait, cx, permit),
            Err(Full { .. }) => Some(Stopped::Rejected(Rejected::at_once(RejectReason::TooManyKeys))),
        }
    }

    /// The queue of `key`, which is in use for as long as this is held.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and there is no room for it.
    pub fn queue(&self, key: &K) -> Result<Queue<G>, Full> {
        let hashed = self.0.shards.hash(key);
        let (mut fresh, mut search): (Option<Fresh<K, G>>, _) = (None, Search::default());
        loop {
            let mut shard = self.0.shards.lock(hashed);
            if let Some(live) = shard.live.get_mut(hashed.within, key) {
                let queue = live.take_up();
                let is_time = shard.live.is_time_to_sweep();
                drop(shard);
                if is_time {
                    self.sweep(self.0.shards.next(), Instant::now(), Sweep::Gently);
                }
                return Ok(queue);
            }
            let at_rest = shard.rest.get_mut(hashed.within, key).is_some();
            // Read under the lock of the shard: who changes something for all queues finds this one, or is
            // found by it.
            let settings = *self.settings();
            if let Some(outdated) = fresh.take_if(|fresh| fresh.generation != settings.generation) {
                drop(shard);
                drop(outdated);
                continue;
            }
            if fresh.is_some()
                && (at_rest || self.0.room.take())
                && let Some(fresh) = fresh
            {
                return Ok(self.put_to_use(&mut shard, hashed, fresh, settings));
            }
            let is_full = !at_rest && self.0.room.is_full();
            drop(shard);
            if is_full {
                let sweep = || self.sweep(self.0.shards.next(), Instant::now(), Sweep::ForRoom);
                if !search.go_on(self.0.shards.len(), sweep) {
                    return Err(Full::of(&self.0.room));
                }
            } else if fresh.is_none() {
                // The caller's code, and memory: no lock is held; nor is one where it is dropped unused.
                let observer = Teller::new(key.clone(), Arc::clone(&self.0.observer));
                let queue = Queue::new((self.0.policy)(key), QueueLimits::new(), observer);
                fresh = Some(Fresh { key: key.clone(), queue, generation: settings.generation });
                self.sweep(self.0.shards.next(), Instant::now(), Sweep::Gently);
            }
        }
    }

    /// The queue of `key` if it is in use: a key that is at rest, or not there, stays so.
    pub fn get(&self, key: &K) -> Option<Queue<G>> {
        let hashed = self.0.shards.hash(key);
        let mut shard = self.0.shards.lock(hashed);
        shard.live.get_mut(hashed.within, key).map(|live| live.queue.clone())
    }

    /// A key changes over to those in use, with a queue that has just been made.
    fn put_to_use(
        &self,
        shard: &mut Shard<K, G>,
        hashed: Hashed,
        fresh: Fresh<K, G>,
        settings: Settings,
    ) -> Queue<G> {
        let Fresh { key, mut queue, .. } = fresh;
        let rest = shard.rest.remove(hashed.within, &key, |key| self.rehash(key)).map(|(_, rest)| rest);
        queue.resume(rest, settings.limits, settings.closed);
        shard.live.insert(hashed.within, key, Live { queue, used: true }).take_up()
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rehash(&self, key: &K) -> u32 {
        self.0.shards.hash(key).within
    }

    /// Moves the hands of a shard over the next few keys.
    fn sweep(&self, shard: usize, now: Instant, how: Sweep) -> Swept {
        // All that goes is dropped after the lock: it is the caller's code.
        let mut unused = [const { None }; FEW];
        let mut forgotten = [const { None }; FEW];
        let mut queues = [const { None }; FEW];
        let mut shard = self.0.shards.lock_shard(shard);
        let Shard { live, rest } = &mut *shard;
        let put_to_rest = |live: &mut Live<G>| {
            let stays = std::mem::take(&mut live.used) && how == Sweep::Gently;
            if stays { None } else { live.queue.rest(now) }
        };
        // Where there has to be room, one that is only spare goes, and no more than one.
        let mut room_for_one = how == Sweep::ForRoom;
        let mut goes = |rest: &G::Rest| {
            rest.is_idle(now) || (room_for_one && rest.is_spare(now) && std::mem::take(&mut room_for_one))
        };
        let forget = |rest: &mut G::Rest| goes(rest).then_some(());
        let looked_at = live.sweep(|key| self.rehash(key), put_to_rest, &mut unused)
            + rest.sweep(|key| self.rehash(key), forget, &mut forgotten);
        let mut count = forgotten.iter().flatten().count();
        for (unused, queue) in unused.iter_mut().zip(&mut queues) {
            if let Some((key, live, kept)) = unused.take() {
                if goes(&kept) {
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
