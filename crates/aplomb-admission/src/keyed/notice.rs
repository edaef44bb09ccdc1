//! What the gates of keys have to tell.

use std::sync::Arc;

use aplomb_core::Observe;

/// What the gate of one key has to tell an observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyNotice<'a, K, N> {
    key: &'a K,
    notice: &'a N,
}

impl<'a, K, N> KeyNotice<'a, K, N> {
    /// The key.
    pub const fn key(&self) -> &'a K {
        self.key
    }

    /// What its gate tells.
    pub const fn notice(&self) -> &'a N {
        self.notice
    }

    /// Another notice of the same key: a part of this one.
    #[must_use]
    pub const fn part<M>(&self, notice: &'a M) -> KeyNotice<'a, K, M> {
        KeyNotice { key: self.key, notice }
    }
}

/// The observer of all keys.
pub(super) type ObserveKey<K, N> = dyn for<'a> Observe<KeyNotice<'a, K, N>> + Send + Sync;

/// The observer of one key's queue: adds the key.
pub(super) struct Teller<K, N> {
    key: K,
    observer: Arc<ObserveKey<K, N>>,
}

impl<K, N> Teller<K, N> {
    pub(super) const fn new(key: K, observer: Arc<ObserveKey<K, N>>) -> Self {
        Self { key, observer }
    }
}

impl<K, N> Observe<N> for Teller<K, N> {
    fn on_event(&self, notice: &N) {
        self.observer.on_event(&KeyNotice { key: &self.key, notice });
    }
}
