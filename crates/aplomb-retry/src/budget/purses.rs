//! Whose tokens they are.

use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use aplomb_admission::{Idle, Keyed};
use aplomb_core::RequestHead;
use tokio::time::Instant;

use super::purse::{Purse, Rates};

/// The purses of a budget.
pub(super) trait Purses: Send + Sync {
    /// The purse that pays for the retries of `request`.
    fn open(&self, request: &dyn RequestHead, rates: &Rates, now: Instant) -> Arc<Purse>;

    /// The tokens in the emptiest purse, and the number of keys.
    fn summary(&self, rates: &Rates) -> (u32, usize);

    /// The same, with nothing spent.
    fn anew(&self) -> Box<dyn Purses>;
}

/// One purse for all.
#[derive(Default)]
pub(super) struct One(OnceLock<Arc<Purse>>);

impl Purses for One {
    fn open(&self, _: &dyn RequestHead, rates: &Rates, now: Instant) -> Arc<Purse> {
        Arc::clone(self.0.get_or_init(|| Arc::new(Purse::new(rates, now))))
    }

    fn summary(&self, rates: &Rates) -> (u32, usize) {
        (self.0.get().map_or(rates.capacity, |purse| purse.left(rates)), 0)
    }

    fn anew(&self) -> Box<dyn Purses> {
        Box::<Self>::default()
    }
}

/// A purse for every key.
pub(super) struct Keys<K> {
    key: Arc<KeyOf<K>>,
    most: usize,
    purses: Keyed<K, Held>,
    began: OnceLock<Instant>,
    /// Pays for the keys that found no room.
    others: One,
}

type KeyOf<K> = dyn Fn(&dyn RequestHead) -> K + Send + Sync;

struct Held {
    purse: Arc<Purse>,
    rates: Rates,
}

impl Idle for Held {
    fn is_idle(&self, now: Instant) -> bool {
        // As new, and in nobody's hands: a call that holds it may yet pay.
        self.purse.is_as_new(&self.rates, now) && Arc::strong_count(&self.purse) == 1
    }
}

impl<K: Clone + Hash + Eq> Keys<K> {
    pub(super) fn new(max_keys: usize, key: impl Fn(&dyn RequestHead) -> K + Send + Sync + 'static) -> Self {
        Self::with(max_keys, Arc::new(key))
    }

    fn with(max_keys: usize, key: Arc<KeyOf<K>>) -> Self {
        Self {
            key,
            most: max_keys,
            purses: Keyed::new(max_keys),
            began: OnceLock::new(),
            others: One::default(),
        }
    }
}

impl<K: Clone + Hash + Eq + Send + Sync + 'static> Purses for Keys<K> {
    fn open(&self, request: &dyn RequestHead, rates: &Rates, now: Instant) -> Arc<Purse> {
        let key = (self.key)(request);
        let began = *self.began.get_or_init(|| now);
        let make = |_: &K| Held { purse: Arc::new(Purse::new(rates, began)), rates: *rates };
        self.purses
            .with(&key, now, make, |held| Arc::clone(&held.purse))
            .unwrap_or_else(|_| self.others.open(request, rates, now))
    }

    fn summary(&self, rates: &Rates) -> (u32, usize) {
        let others = self.others.summary(rates).0;
        let least = self.purses.snapshot(|_, held| held.purse.left(rates)).fold(others, u32::min);
        (least, self.purses.len())
    }

    fn anew(&self) -> Box<dyn Purses> {
        Box::new(Self::with(self.most, Arc::clone(&self.key)))
    }
}
