//! Many locks instead of one.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::PoisonError;
#[cfg(not(aplomb_loom))]
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
#[cfg(not(aplomb_loom))]
use std::sync::{Mutex, MutexGuard};

#[cfg(aplomb_loom)]
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
#[cfg(aplomb_loom)]
use loom::sync::{Mutex, MutexGuard};

/// As many keys as can be copied in a moment, when a shard grows.
const KEYS_PER_SHARD: usize = 4_096;
#[cfg(not(aplomb_loom))]
const FEWEST: usize = 16;
#[cfg(aplomb_loom)]
const FEWEST: usize = 1;
const MOST: usize = 1_024;

/// State that is spread over shards by a hash of its key that those who choose the keys cannot predict.
pub(super) struct Shards<T> {
    each: Box<[Shard<T>]>,
    hasher: RandomState,
    /// The shard that is swept next.
    next: AtomicUsize,
}

/// In a cache line of its own: other threads use its neighbours.
#[repr(align(64))]
struct Shard<T>(Mutex<T>);

/// The shard of a key, and its hash there.
#[derive(Clone, Copy)]
pub(super) struct Hashed {
    shard: usize,
    /// The hash within the shard.
    pub(super) within: u32,
}

impl<T> Shards<T> {
    /// Shards for at most this many keys.
    pub(super) fn new(keys: usize, mut make: impl FnMut() -> T) -> Self {
        let shards = (keys / KEYS_PER_SHARD).clamp(FEWEST, MOST).next_power_of_two();
        Self {
            each: (0..shards).map(|_| Shard(Mutex::new(make()))).collect(),
            hasher: RandomState::new(),
            next: AtomicUsize::new(0),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "each half of the hash serves one purpose"
    )]
    pub(super) fn hash(&self, key: &(impl Hash + ?Sized)) -> Hashed {
        let hash = self.hasher.hash_one(key);
        Hashed { shard: (hash >> 32) as usize & (self.each.len() - 1), within: hash as u32 }
    }

    pub(super) fn lock(&self, key: Hashed) -> MutexGuard<'_, T> {
        self.lock_shard(key.shard)
    }

    pub(super) fn lock_shard(&self, shard: usize) -> MutexGuard<'_, T> {
        // Whoever panicked had changed one value; the others must still be found.
        self.each[shard].0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard whose turn it is to be swept.
    pub(super) fn next(&self) -> usize {
        self.next.fetch_add(1, Relaxed) & (self.each.len() - 1)
    }

    pub(super) fn len(&self) -> usize {
        self.each.len()
    }
}
