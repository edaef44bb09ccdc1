//! State by key: made on first use, evicted when it is worth nothing or there is no room, bounded.

mod room;
mod shards;
mod table;

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;

use tokio::time::Instant;

pub use self::room::Full;
use self::room::Room;
use self::shards::{Hashed, Shards};
use self::table::{FEW, Table};
use crate::{Evictable, Worth};

/// How many entries are looked at for one to evict, before a full map rejects a key.
const LOOKED_AT: usize = 64;

/// How often room is made for one key before it is rejected: others may take it.
const TRIES: usize = 4;

/// A bounded map of values, each made when its key is first used.
///
/// Values are changed in place under a short lock of one of many shards; keys are spread over these by a hash that
/// an attacker cannot predict. The memory of keys that are not used comes back bit by bit: whenever a key is added, and with
/// every sixteenth call otherwise, a clock hand moves over the next four entries and evicts those whose [`Worth`] is
/// that of a fresh one, unless they have been used since it last passed them. No call waits for a sweep of the whole map, and none for the growth
/// of more than a shard.
///
/// There are never more than `max_keys` keys. If the map is full, the one with the least worth of up to 64 entries is
/// evicted; if all of them are in use, the new key is rejected with [`Full`].
///
/// It reads no clock: callers pass the time. Share it in an `Arc`.
///
/// # Examples
///
/// ```
/// use aplomb_admission::{Evictable, Keyed, Worth};
/// use tokio::time::{Duration, Instant};
///
/// /// When a key was last seen: forgotten a minute later.
/// struct Seen { times: u32, last: Instant }
///
/// impl Evictable for Seen {
///     fn worth(&mut self, now: Instant) -> Worth {
///         if now > self.last + Duration::from_secs(60) { Worth::FRESH } else { Worth::IN_USE }
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
/// assert_eq!(see("c", later), Ok(1), "a or b has been evicted");
/// ```
pub struct Keyed<K, V> {
    shards: Shards<Table<K, Entry<V>>>,
    room: Room,
}

struct Entry<V> {
    value: V,
    /// Since the clock hand last came by.
    used: bool,
}

/// The entry that is worth the least, of those that were looked at.
struct Candidate<K> {
    key: K,
    hashed: Hashed,
    worth: Worth,
    used: bool,
}

/// How the clock hand treats the entries it passes.
enum Sweep<'a, K> {
    /// An entry that was used since the clock hand last passed it stays.
    Gentle,
    /// Every entry that equals a fresh one goes.
    Thorough,
    /// There must be room for one: notes the entry that is worth the least, if none goes.
    ForRoom(&'a mut Option<Candidate<K>>),
}

/// The result of a sweep.
struct Swept {
    looked_at: usize,
    evicted: usize,
}

impl<K: Clone + Hash + Eq, V: Evictable> Keyed<K, V> {
    /// An empty map for at most `max_keys` keys (and at most 2³² − 1).
    #[must_use]
    pub fn new(max_keys: usize) -> Self {
        Self { shards: Shards::new(max_keys, Table::new), room: Room::new(max_keys) }
    }

    /// Changes the value of `key`, which `make` makes if there is none yet.
    ///
    /// `make` is called without a lock. If two callers make a value for one key, one of the values is dropped unused.
    /// `change` is called under the lock of the key's shard: it must be short, and must not use the map.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new, the map is full, and all keys that were looked at are in use.
    pub fn with<T>(
        &self,
        key: &K,
        now: Instant,
        make: impl Fn(&K) -> V,
        change: impl FnOnce(&mut V) -> T,
    ) -> Result<T, Full> {
        self.obtain(key, || now, || (key.clone(), make(key)), |_| true, change)
    }

    /// The same for a key that is owned only if it is new. `accepts` is asked about a value that has just been made, under
    /// the lock of the shard; one that it does not accept is made again. `now` is called only if entries are looked at.
    pub(crate) fn obtain<Q: Hash + Eq + ?Sized, T>(
        &self,
        key: &Q,
        now: impl Fn() -> Instant,
        make: impl Fn() -> (K, V),
        accepts: impl Fn(&V) -> bool,
        change: impl FnOnce(&mut V) -> T,
    ) -> Result<T, Full>
    where
        K: Borrow<Q>,
    {
        let hashed = self.shards.hash(key);
        let (mut fresh, mut tries) = (None, 0);
        loop {
            let mut table = self.shards.lock(hashed);
            if let Some(entry) = table.get_mut(hashed.within, key) {
                entry.used = true;
                let changed = change(&mut entry.value);
                let is_time = table.is_time_to_sweep();
                drop(table);
                if is_time {
                    self.sweep(self.shards.next(), now(), &mut Sweep::Gentle);
                }
                return Ok(changed);
            }
            if fresh.as_ref().is_some_and(|(_, value)| !accepts(value)) {
                drop(table);
                // Dropped without a lock, as is one that is not needed.
                fresh = None;
                continue;
            }
            let is_made = fresh.is_some();
            if is_made && self.room.take() {
                if let Some((key, value)) = fresh {
                    let entry = table.insert(hashed.within, key, Entry { value, used: true });
                    return Ok(change(&mut entry.value));
                }
            }
            let is_full = self.room.is_full();
            drop(table);
            if is_full {
                tries += 1;
                if tries > TRIES || !self.make_room(now()) {
                    return Err(Full::of(&self.room));
                }
            } else if !is_made {
                // The caller's code: no lock is held.
                fresh = Some(make());
                self.sweep(self.shards.next(), now(), &mut Sweep::Gentle);
            }
        }
    }

    /// Reads the value of `key`, if there is one, under the lock of its shard. The key does not count as used.
    pub fn peek<Q: Hash + Eq + ?Sized, T>(&self, key: &Q, look: impl FnOnce(&V) -> T) -> Option<T>
    where
        K: Borrow<Q>,
    {
        let hashed = self.shards.hash(key);
        let mut table = self.shards.lock(hashed);
        table.get_mut(hashed.within, key).map(|entry| look(&entry.value))
    }

    /// Calls `look` for each key, shard by shard, and returns the results.
    ///
    /// `look` is called under the lock of a shard; what it returned is passed on when the lock has been released. Keys
    /// that come and go meanwhile may be seen or not.
    pub fn snapshot<T>(&self, mut look: impl FnMut(&K, &V) -> T) -> impl Iterator<Item = T> {
        (0..self.shards.len()).flat_map(move |shard| {
            let table = self.shards.lock_shard(shard);
            let looked: Vec<_> = table.iter().map(|(key, entry)| look(key, &entry.value)).collect();
            drop(table);
            looked
        })
    }

    /// Evicts every key whose value equals a fresh one at `now`, and returns their number.
    ///
    /// It need not be called: that happens bit by bit. No lock is held longer than for a few entries.
    pub fn evict_fresh(&self, now: Instant) -> usize {
        let rounds = |shard| self.shards.lock_shard(shard).rewind().div_ceil(FEW);
        let swept = (0..self.shards.len()).flat_map(|shard| (0..rounds(shard)).map(move |_| shard));
        swept.map(|shard| self.sweep(shard, now, &mut Sweep::Thorough).evicted).sum()
    }

    /// Evicts one key: of those that are looked at, the one that is worth the least.
    fn make_room(&self, now: Instant) -> bool {
        let mut candidate = None;
        let (mut looked_at, mut sweeps) = (0, 0);
        // Shards may be empty: the number of sweeps is limited as well.
        while looked_at < LOOKED_AT && sweeps < self.shards.len() + LOOKED_AT / FEW {
            let swept = self.sweep(self.shards.next(), now, &mut Sweep::ForRoom(&mut candidate));
            if swept.evicted > 0 {
                return true;
            }
            looked_at += swept.looked_at;
            sweeps += 1;
        }
        candidate.is_some_and(|candidate| self.evict(&candidate, now))
    }

    fn evict(&self, candidate: &Candidate<K>, now: Instant) -> bool {
        let rehash = |key: &K| self.shards.hash(key).within;
        // It may have come into use since.
        let judge = |entry: &mut Entry<V>| entry.value.worth(now) < Worth::IN_USE;
        let mut table = self.shards.lock(candidate.hashed);
        let evicted = table.remove_if(candidate.hashed.within, &candidate.key, judge, rehash);
        drop(table);
        let is_evicted = evicted.is_some();
        self.room.free(usize::from(is_evicted));
        is_evicted
    }

    /// Moves the clock hand of a shard over the next few entries.
    fn sweep(&self, shard: usize, now: Instant, how: &mut Sweep<'_, K>) -> Swept {
        // Dropped after the lock: dropping keys and values is the caller's code.
        let mut gone = [const { None }; FEW];
        let mut has_room = false;
        let judge = |key: &K, entry: &mut Entry<V>| {
            let worth = entry.value.worth(now);
            match how {
                Sweep::Gentle => !std::mem::take(&mut entry.used) && worth == Worth::FRESH,
                Sweep::Thorough => worth == Worth::FRESH,
                Sweep::ForRoom(candidate) => {
                    let used = std::mem::take(&mut entry.used);
                    if has_room || worth == Worth::IN_USE {
                        return false;
                    }
                    has_room = !used && worth <= Worth::LOW;
                    let is_less = |least: &Candidate<K>| (worth, used) < (least.worth, least.used);
                    if !has_room && candidate.as_ref().is_none_or(is_less) {
                        let hashed = self.shards.hash(key);
                        **candidate = Some(Candidate { key: key.clone(), hashed, worth, used });
                    }
                    has_room
                }
            }
        };
        let rehash = |key: &K| self.shards.hash(key).within;
        let looked_at = self.shards.lock_shard(shard).sweep(rehash, judge, &mut gone);
        let evicted = gone.iter().flatten().count();
        self.room.free(evicted);
        Swept { looked_at, evicted }
    }
}

impl<K, V> Keyed<K, V> {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.room.taken()
    }

    /// Returns whether there is no key.
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
