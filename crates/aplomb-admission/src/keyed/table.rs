//! The entries of one shard, and the clock hand that sweeps over them: a plain data structure.

use std::borrow::Borrow;
use std::hash::Hash;

use hashbrown::HashTable;

/// How many entries the clock hand looks at when it moves: few, so that no call waits for it.
pub(super) const FEW: usize = 4;

/// One of this many calls that find their key moves the clock hand too.
const CALLS_PER_MOVE: u8 = 16;

/// Tables up to this capacity are not made smaller.
const SPACIOUS: usize = 64;

/// Entries that were let go, to be dropped when no lock is held.
pub(super) type Gone<K, V> = [Option<(K, V)>; FEW];

/// A hash table whose entries lie next to each other in memory.
///
/// Growing copies whole entries, and eight bytes for each key: no key is hashed or compared again. There are no gaps
/// between entries, and unused capacity for a quarter of them at most.
pub(super) struct Table<K, V> {
    places: HashTable<Place>,
    entries: Vec<(K, V)>,
    hand: usize,
    calls: u8,
}

#[derive(Clone, Copy)]
struct Place {
    hash: u32,
    entry: u32,
}

impl Place {
    /// The table uses the upper bits for one purpose and the lower ones for another.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }

    fn index(self) -> usize {
        self.entry as usize
    }
}

impl<K, V> Table<K, V> {
    pub(super) const fn new() -> Self {
        Self { places: HashTable::new(), entries: Vec::new(), hand: 0, calls: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Puts the clock hand before the first entry, and returns the number of entries.
    pub(super) fn rewind(&mut self) -> usize {
        self.hand = 0;
        self.entries.len()
    }

    /// Counts a call, and returns whether it should move the clock hand.
    pub(super) const fn is_time_to_sweep(&mut self) -> bool {
        self.calls = (self.calls + 1) % CALLS_PER_MOVE;
        self.calls == 0
    }
}

impl<K: Hash + Eq, V> Table<K, V> {
    pub(super) fn get_mut<Q: Eq + ?Sized>(&mut self, hash: u32, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let index = self.find(hash, key)?;
        Some(&mut self.entries[index].1)
    }

    /// Adds a key that is not there yet. At most `u32::MAX` of them: the owner of the table counts.
    pub(super) fn insert(&mut self, hash: u32, key: K, value: V) -> &mut V {
        let index = self.entries.len();
        if index == self.entries.capacity() {
            // By a quarter, not twofold: unused capacity counts as well.
            self.entries.reserve_exact((index / 4).max(FEW));
        }
        #[expect(clippy::cast_possible_truncation, reason = "the owner of the table counts")]
        let place = Place { hash, entry: index as u32 };
        self.places.insert_unique(Place::spread(hash), place, |place| Place::spread(place.hash));
        self.entries.push((key, value));
        &mut self.entries[index].1
    }

    /// Removes a key, if `judge` lets it go.
    pub(super) fn remove_if<Q: Eq + ?Sized>(
        &mut self,
        hash: u32,
        key: &Q,
        judge: impl FnOnce(&mut V) -> bool,
        rehash: impl Fn(&K) -> u32,
    ) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        let index = self.find(hash, key)?;
        judge(&mut self.entries[index].1).then(|| self.take(index, hash, rehash))
    }

    /// Moves the clock hand over the next few entries; those that `judge` lets go are moved to `gone`.
    ///
    /// Returns how many it looked at.
    pub(super) fn sweep(
        &mut self,
        rehash: impl Fn(&K) -> u32,
        mut judge: impl FnMut(&K, &mut V) -> bool,
        gone: &mut Gone<K, V>,
    ) -> usize {
        let few = FEW.min(self.entries.len());
        for gone in gone.iter_mut().take(few) {
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let (key, value) = &mut self.entries[self.hand];
            if judge(key, value) {
                // The last entry takes its place, and is looked at next.
                let hash = rehash(key);
                *gone = Some(self.take(self.hand, hash, &rehash));
            } else {
                self.hand += 1;
            }
        }
        few
    }

    fn find<Q: Eq + ?Sized>(&self, hash: u32, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        let same = |place: &Place| place.hash == hash && self.entries[place.index()].0.borrow() == key;
        self.places.find(Place::spread(hash), same).map(|place| place.index())
    }

    fn take(&mut self, index: usize, hash: u32, rehash: impl Fn(&K) -> u32) -> (K, V) {
        let last = self.entries.len() - 1;
        // Hashing is the caller's code: it comes before anything is changed.
        let of_last = rehash(&self.entries[last].0);
        if let Ok(place) = self.places.find_entry(Place::spread(hash), |place| place.index() == index) {
            place.remove();
        }
        if let Some(moved) = self.places.find_mut(Place::spread(of_last), |place| place.index() == last) {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is below the place it replaces"
            )]
            let entry = index as u32;
            moved.entry = entry;
        }
        let taken = self.entries.swap_remove(index);
        if self.entries.capacity() > SPACIOUS && last < self.entries.capacity() / 4 {
            self.entries.shrink_to(last * 2);
            self.places.shrink_to(last * 2, |place| Place::spread(place.hash));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Many keys share a hash, and many hashes a place.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as the table wants it")]
    fn hash(key: &u16) -> u32 {
        u32::from(key % 7)
    }

    fn gone() -> Gone<u16, u32> {
        [const { None }; FEW]
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u16, u32),
        Remove(u16),
        Sweep(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..300_u16, 0..4_u32).prop_map(|(key, value)| Step::Put(key, value)),
            1 => (0..300_u16).prop_map(Step::Remove),
            2 => (0..4_u32).prop_map(Step::Sweep),
        ];
        prop::collection::vec(step, 0..800)
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(steps in steps()) {
            let (mut table, mut model) = (Table::new(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Put(key, value) => {
                        match table.get_mut(hash(&key), &key) {
                            Some(old) => *old = value,
                            None => { table.insert(hash(&key), key, value); }
                        }
                        model.insert(key, value);
                    }
                    Step::Remove(key) => {
                        let removed = table.remove_if(hash(&key), &key, |_| true, hash);
                        prop_assert_eq!(removed, model.remove(&key).map(|value| (key, value)));
                    }
                    Step::Sweep(unwanted) => {
                        let mut gone = gone();
                        let looked = table.sweep(hash, |_, value| *value == unwanted, &mut gone);
                        prop_assert_eq!(looked, model.len().min(FEW));
                        for (key, value) in gone.into_iter().flatten() {
                            prop_assert_eq!(value, unwanted);
                            prop_assert_eq!(model.remove(&key), Some(value));
                        }
                    }
                }
                prop_assert_eq!(table.entries.len(), model.len());
            }
            for (key, value) in &mut model {
                prop_assert_eq!(table.get_mut(hash(key), key), Some(value));
            }
            let listed: BTreeMap<_, _> = table.iter().map(|(key, value)| (*key, *value)).collect();
            prop_assert_eq!(listed, model);
        }
    }

    #[test]
    fn the_clock_hand_passes_every_entry() {
        let mut table = Table::new();
        for key in 0..103 {
            table.insert(hash(&key), key, 0);
        }
        for _ in 0..103_usize.div_ceil(FEW) {
            table.sweep(
                hash,
                |_, looks| {
                    *looks += 1;
                    false
                },
                &mut gone(),
            );
        }
        assert!(table.iter().all(|(_, looks)| *looks >= 1));
        while !table.entries.is_empty() {
            table.sweep(hash, |_, _| true, &mut gone());
        }
        assert!(table.entries.capacity() <= SPACIOUS, "memory is given back");
        assert!(table.places.capacity() <= 2 * SPACIOUS);
    }
}
