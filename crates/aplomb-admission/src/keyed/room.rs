//! The number of keys, and its limit.

use std::error::Error;
use std::fmt;
#[cfg(not(aplomb_loom))]
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[cfg(aplomb_loom)]
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The number of keys, and its limit.
pub(super) struct Room {
    taken: AtomicUsize,
    max: usize,
}

impl Room {
    pub(super) fn new(max: usize) -> Self {
        // A place in a table is 32 bits wide.
        Self { taken: AtomicUsize::new(0), max: max.min(u32::MAX as usize) }
    }

    pub(super) const fn max(&self) -> usize {
        self.max
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.taken() >= self.max
    }

    /// Takes room for one key, if there is any. Called under the lock of the key's shard, as the key is inserted: room is
    /// never held for a key that is not there.
    pub(super) fn take(&self) -> bool {
        let one_more = |taken: usize| (taken < self.max).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    /// Returns the room of removed keys.
    pub(super) fn free(&self, keys: usize) {
        self.taken.fetch_sub(keys, Relaxed);
    }
}

/// A map of keys is full, and all keys that were looked at are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    max_keys: usize,
}

impl Full {
    pub(super) const fn of(room: &Room) -> Self {
        Self { max_keys: room.max }
    }

    /// The limit on the number of keys.
    pub const fn max_keys(&self) -> usize {
        self.max_keys
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key limit reached ({} in use)", self.max_keys)
    }
}

impl Error for Full {}
