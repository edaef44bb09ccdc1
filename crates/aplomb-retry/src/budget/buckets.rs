//! The buckets of a budget: one, or one for each key.

use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use aplomb_admission::{Evictable, Keyed, Worth};
use aplomb_core::RequestView;
use tokio::time::Instant;

use super::token_bucket::{Rates, TokenBucket};

/// The buckets of a budget.
pub(super) trait Buckets: Send + Sync {
    /// The bucket that pays for the retries of `request`.
    fn bucket_for(&self, request: &RequestView<'_>, rates: &Rates, now: Instant) -> Arc<TokenBucket>;

    /// The tokens in the emptiest bucket and the number of keys.
    fn summary(&self, rates: &Rates) -> (u32, usize);

    /// The same buckets, all full, and state for at most `max_keys`.
    fn refilled(&self, max_keys: usize) -> Box<dyn Buckets>;
}

/// One bucket for all requests.
#[derive(Default)]
pub(super) struct SingleBucket(OnceLock<Arc<TokenBucket>>);

impl Buckets for SingleBucket {
    fn bucket_for(&self, _: &RequestView<'_>, rates: &Rates, now: Instant) -> Arc<TokenBucket> {
        Arc::clone(self.0.get_or_init(|| Arc::new(TokenBucket::new(rates, now))))
    }

    fn summary(&self, rates: &Rates) -> (u32, usize) {
        (self.0.get().map_or(rates.capacity, |bucket| bucket.left(rates)), 0)
    }

    fn refilled(&self, _: usize) -> Box<dyn Buckets> {
        Box::<Self>::default()
    }
}

/// A bucket for each key.
pub(super) struct KeyedBuckets<K> {
    key_of: Arc<KeyOf<K>>,
    buckets: Keyed<K, KeyState>,
    began: OnceLock<Instant>,
    /// Pays for the keys for which there was no room.
    others: SingleBucket,
}

type KeyOf<K> = dyn Fn(&RequestView<'_>) -> K + Send + Sync;

struct KeyState {
    bucket: Arc<TokenBucket>,
    rates: Rates,
}

impl Evictable for KeyState {
    fn worth(&mut self, now: Instant) -> Worth {
        // A call that still holds the bucket may yet pay; and a new key must not erase what was spent.
        if self.bucket.is_as_new(&self.rates, now) && Arc::strong_count(&self.bucket) == 1 {
            Worth::FRESH
        } else {
            Worth::IN_USE
        }
    }
}

impl<K: Clone + Hash + Eq> KeyedBuckets<K> {
    pub(super) fn new(max_keys: usize, key_of: Arc<KeyOf<K>>) -> Self {
        let buckets = Keyed::new(max_keys);
        Self { key_of, buckets, began: OnceLock::new(), others: SingleBucket::default() }
    }
}

impl<K: Clone + Hash + Eq + Send + Sync + 'static> Buckets for KeyedBuckets<K> {
    fn bucket_for(&self, request: &RequestView<'_>, rates: &Rates, now: Instant) -> Arc<TokenBucket> {
        let key = (self.key_of)(request);
        let began = *self.began.get_or_init(|| now);
        let make = |_: &K| KeyState { bucket: Arc::new(TokenBucket::new(rates, began)), rates: *rates };
        self.buckets
            .with(&key, now, make, |state| Arc::clone(&state.bucket))
            .unwrap_or_else(|_| self.others.bucket_for(request, rates, now))
    }

    fn summary(&self, rates: &Rates) -> (u32, usize) {
        let others = self.others.summary(rates).0;
        let least = self.buckets.snapshot(|_, state| state.bucket.left(rates)).fold(others, u32::min);
        (least, self.buckets.len())
    }

    fn refilled(&self, max_keys: usize) -> Box<dyn Buckets> {
        Box::new(Self::new(max_keys, Arc::clone(&self.key_of)))
    }
}
