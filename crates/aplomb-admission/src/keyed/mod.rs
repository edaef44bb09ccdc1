//! State by key: made on first use, forgotten when idle, bounded.

mod door;
mod idle;
mod key;
mod notice;
mod queues;
mod refused;
mod room;
mod shards;
mod table;

use std::fmt;
use std::hash::Hash;

use tokio::time::Instant;

pub use self::door::{KeyedDoor, Terms};
pub use self::idle::{Idle, Rests};
pub use self::key::KeyOf;
pub use self::notice::KeyNotice;
pub use self::queues::Queues;
pub use self::refused::KeyRefused;
pub use self::room::Full;
use self::room::{Room, Search, Swept};
use self::shards::Shards;
use self::table::{FEW, Table};

/// A bounded map of small values, each made when its key is first used and forgotten when it is idle.
///
/// Values are changed in place under a short lock of one of many shards; keys are spread over these by
/// a hash that strangers can not foresee. The memory of idle keys comes back bit by bit: whenever a key
/// is added, and with every sixteenth call otherwise, a hand moves over the next four entries and
/// forgets those that are [`Idle`]. No call waits for a sweep of the whole map, and none for the growth
/// of more than a shard.
///
/// There are never more than `max_keys` keys. Where the map is full, up to 64 entries are looked at for
/// one that may be forgotten; if none may, the new key is refused with [`Full`]. A key that is not idle
/// is never forgotten.
///
/// It reads no clock: callers hand in the time. Share it in an `Arc`.
///
/// # Examples
///
/// ```
/// use aplomb_admission::{Full, Idle, Keyed};
/// use tokio::time::{Duration, Instant};
///
/// /// When a key was last seen: forgotten a minute later.
/// struct Seen { times: u32, last: Instant }
///
/// impl Idle for Seen {
///     fn is_idle(&self, now: Instant) -> bool {
///         now > self.last + Duration::from_secs(60)
///     }
/// }
///
/// let now = Instant::now();
/// let seen = Keyed::new(2);
/// let see = |key: &'static str, now| {
///     seen.with(&key, now, |_| Seen { times: 0, last: now }, |seen| {
///         seen.times += 1;
///         seen.last = now;
///         seen.times
///     })
/// };
/// assert_eq!((see("a", now), see("b", now), see("a", now)), (Ok(1), Ok(1), Ok(2)));
/// assert_eq!(see("c", now).unwrap_err().max_keys(), 2);
///
/// let later = now + Duration::from_secs(61);
/// assert_eq!(see("c", later), Ok(1), "a or b has been forgotten");
/// ```
pub struct Keyed<K, V> {
    shards: Shards<Table<K, V>>,
    room: Room,
}

impl<K: Clone + Hash + Eq, V: Idle> Keyed<K, V> {
    /// An empty map for at most `max_keys` keys (and at most 2³² − 1).
    #[must_use]
    pub fn new(max_keys: usize) -> Self {
        Self { shards: Shards::new(max_keys, Table::new), room: Room::new(max_keys) }
    }

    /// Changes the value of `key`, which `make` makes where there is none yet.
    ///
    /// `make` is called without a lock. Where two callers make a value for one key, one of the values
    /// is dropped unused. `change` is called under the lock of the key's shard: it must be short, and
    /// must not use the map.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new, and there are as many keys as may be, with none found to forget.
    pub fn with<T>(
        &self,
        key: &K,
        now: Instant,
        make: impl FnOnce(&K) -> V,
        change: impl FnOnce(&mut V) -> T,
    ) -> Result<T, Full> {
        let hashed = self.shards.hash(key);
        let (mut make, mut fresh, mut search) = (Some(make), None, Search::default());
        loop {
            let mut table = self.shards.lock(hashed);
            if let Some(value) = table.get_mut(hashed.within, key) {
                let changed = change(value);
                let is_time = table.is_time_to_sweep();
                drop(table);
                if is_time {
                    self.sweep(self.shards.next(), now);
                }
                return Ok(changed);
            }
            if fresh.is_some()
                && self.room.take()
                && let Some((key, value)) = fresh
            {
                return Ok(change(table.insert(hashed.within, key, value)));
            }
            let is_full = self.room.is_full();
            drop(table);
            if is_full {
                if !search.go_on(self.shards.len(), || self.sweep(self.shards.next(), now)) {
                    return Err(Full::of(&self.room));
                }
            } else if let Some(make) = make.take() {
                // The caller's code: no lock is held; nor is one where they are dropped unused.
                fresh = Some((key.clone(), make(key)));
                self.sweep(self.shards.next(), now);
            }
        }
    }

    /// Looks at the value of `key`, if there is one, under the lock of its shard.
    pub fn peek<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        let hashed = self.shards.hash(key);
        let mut table = self.shards.lock(hashed);
        table.get_mut(hashed.within, key).map(|value| look(value))
    }

    /// What `look` says of each key, shard by shard.
    ///
    /// `look` is called under the lock of a shard; what it returned is handed out when the lock has
    /// been released. Keys that come and go meanwhile may be seen or not.
    pub fn snapshot<T>(&self, mut look: impl FnMut(&K, &V) -> T) -> impl Iterator<Item = T> {
        (0..self.shards.len()).flat_map(move |shard| {
            let table = self.shards.lock_shard(shard);
            let looked: Vec<_> = table.iter().map(|(key, value)| look(key, value)).collect();
            drop(table);
            looked
        })
    }

    /// Forgets every key that is idle at `now`, and says how many those were.
    ///
    /// It need not be called: idle keys are forgotten as others are used. No lock is held longer than
    /// for a few entries.
    pub fn forget_idle(&self, now: Instant) -> usize {
        let rounds = |shard| self.shards.lock_shard(shard).rewind().div_ceil(FEW);
        let swept = (0..self.shards.len()).flat_map(|shard| (0..rounds(shard)).map(move |_| shard));
        swept.map(|shard| self.sweep(shard, now).forgotten).sum()
    }

    /// Moves the hand of a shard over the next few entries.
    fn sweep(&self, shard: usize, now: Instant) -> Swept {
        // Dropped after the lock: dropping keys and values is the caller's code.
        let mut gone = [const { None }; FEW];
        let rehash = |key: &K| self.shards.hash(key).within;
        let idle = |value: &mut V| value.is_idle(now).then_some(());
        let looked_at = self.shards.lock_shard(shard).sweep(rehash, idle, &mut gone);
        let forgotten = gone.iter().flatten().count();
        self.room.free(forgotten);
        Swept { looked_at, forgotten }
    }
}

impl<K, V> Keyed<K, V> {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.room.taken()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys there may be.
    pub const fn max_keys(&self) -> usize {
        self.room.max()
    }
}

impl<K, V> fmt::Debug for Keyed<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed")
            .field("keys", &self.len())
            .field("max_keys", &self.max_keys())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(aplomb_loom)))]
mod tests;
