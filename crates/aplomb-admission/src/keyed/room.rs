//! How many keys there are, and may be.

use std::error::Error;
use std::fmt;
#[cfg(not(aplomb_loom))]
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[cfg(aplomb_loom)]
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::table::FEW;

/// How many entries are looked at for one that may be forgotten, before a full map refuses.
pub(super) const LOOKED_AT: usize = 64;

/// How many keys there are, and may be.
pub(super) struct Room {
    taken: AtomicUsize,
    max: usize,
}

/// A full map's search for room: how far it has got.
#[derive(Default)]
pub(super) struct Search {
    swept: usize,
    looked_at: usize,
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

    /// Takes room for one key, if there is any. Under the lock of the key's shard, as the key moves in:
    /// nobody holds room for a key that is not there, so that one is not refused for its own sake.
    pub(super) fn take(&self) -> bool {
        let one_more = |taken: usize| (taken < self.max).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    /// So many keys have moved out.
    pub(super) fn free(&self, keys: usize) {
        self.taken.fetch_sub(keys, Relaxed);
    }
}

impl Search {
    /// Sweeps a little further, unless enough has been looked at.
    pub(super) fn go_on(&mut self, shards: usize, sweep: impl FnOnce() -> Swept) -> bool {
        // Shards may be empty: there is an end to that as well.
        let goes_on = self.looked_at < LOOKED_AT && self.swept < shards + LOOKED_AT / FEW;
        if goes_on {
            self.swept += 1;
            self.looked_at += sweep().looked_at;
        }
        goes_on
    }
}

/// What a hand has passed, and what it has let go.
pub(super) struct Swept {
    pub(super) looked_at: usize,
    pub(super) forgotten: usize,
}

/// A map of keys is full, and no key was found in it that may be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    max_keys: usize,
}

impl Full {
    pub(super) const fn of(room: &Room) -> Self {
        Self { max_keys: room.max }
    }

    /// How many keys there are, and may be.
    pub const fn max_keys(&self) -> usize {
        self.max_keys
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "as many keys as may be are in use ({})", self.max_keys)
    }
}

impl Error for Full {}
