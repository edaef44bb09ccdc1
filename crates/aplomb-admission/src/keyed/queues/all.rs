//! What concerns all keys.

use std::hash::Hash;

use tokio::time::Instant;

use super::{Queues, Shard, Sweep};
use crate::keyed::table::FEW;
use crate::{Closing, Gate, Queue, QueueLimits, Rests};

impl<K, G> Queues<K, G>
where
    K: Clone + Hash + Eq + Send + Sync + 'static,
    G: Rests,
{
    /// Puts to rest and forgets what can be, of all keys, and says how many were forgotten.
    ///
    /// It need not be called: it happens bit by bit. No lock is held longer than for a few keys.
    pub fn forget_idle(&self, now: Instant) -> usize {
        let rounds = |index| {
            let mut shard = self.0.shards.lock_shard(index);
            // Those that are put to rest on the way are forgotten there and then, or stay; a hand that
            // meets one of them has a look less for those that were at rest before.
            (shard.live.rewind() + shard.rest.rewind()).div_ceil(FEW)
        };
        let swept = (0..self.0.shards.len()).flat_map(|shard| (0..rounds(shard)).map(move |_| shard));
        swept.map(|shard| self.sweep(shard, now, Sweep::Thoroughly).forgotten).sum()
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
            let live = shard.in_use();
            let rest: Vec<_> = shard.rest.iter().map(|(key, rest)| (key.clone(), rest.clone())).collect();
            drop(shard);
            let mut looked = Vec::with_capacity(live.len() + rest.len());
            for (key, queue) in live {
                looked.push(in_use(&queue, |gate, waiting, now| look(&key, gate, waiting, now)));
            }
            for (key, rest) in rest {
                looked.push(self.at_rest(&key, rest, |gate, waiting, now| look(&key, gate, waiting, now)));
            }
            looked
        })
    }

    /// What `look` says of the gate of one key, if the key is there: told the gate, how many callers wait,
    /// and the time. As [`snapshot`](Self::snapshot); the key stays in use, or at rest.
    pub fn look<T>(&self, key: &K, look: impl FnOnce(&mut G, usize, Instant) -> T) -> Option<T> {
        let hashed = self.0.shards.hash(key);
        let mut shard = self.0.shards.lock(hashed);
        let live = shard.live.get_mut(hashed.within, key).map(|live| live.queue.clone());
        let rest = shard.rest.get_mut(hashed.within, key).map(|rest| rest.clone());
        drop(shard);
        match live {
            Some(queue) => Some(in_use(&queue, look)),
            None => Some(self.at_rest(key, rest?, look)),
        }
    }

    /// Looks at a copy of a gate at rest.
    fn at_rest<T>(&self, key: &K, rest: G::Rest, look: impl FnOnce(&mut G, usize, Instant) -> T) -> T {
        let mut gate = (self.0.policy)(key);
        gate.resume(rest);
        look(&mut gate, 0, Instant::now())
    }

    /// Changes the bounds of every line. Those who wait keep the ones they came under.
    ///
    /// `change` is called under locks: it must be short, and must not use these queues.
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

    /// Says that the policy says something else from now on. A gate that is being made for a key at this very
    /// moment is made again; those of keys in use are as they were, until they are
    /// [changed](Queues::for_each_in_use).
    pub fn renew(&self) {
        self.settings().generation += 1;
    }

    /// Does something with every queue that is in use, outside of any lock: for changes that must not
    /// wait until a key comes into use again, and is made as the policy says then.
    pub fn for_each_in_use(&self, mut act: impl FnMut(&K, &Queue<G>)) {
        for index in 0..self.0.shards.len() {
            let shard = self.0.shards.lock_shard(index);
            let live = shard.in_use();
            drop(shard);
            for (key, queue) in live {
                act(&key, &queue);
            }
        }
    }
}

/// Looks at a gate under the lock of its queue.
fn in_use<G: Gate, T>(queue: &Queue<G>, look: impl FnOnce(&mut G, usize, Instant) -> T) -> T {
    let waiting = queue.waiting();
    queue.with(|gate, now| look(gate, waiting, now))
}

impl<K: Clone, G: Rests> Shard<K, G> {
    /// The keys in use; they stay so for as long as this is held.
    fn in_use(&self) -> Vec<(K, Queue<G>)> {
        self.live.iter().map(|(key, live)| (key.clone(), live.queue.clone())).collect()
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
