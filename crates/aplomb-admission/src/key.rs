//! Keys of any type, and which one a request has.

use std::any::Any;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use aplomb_core::{CallKey, KeyLabel, RequestView};

/// A key whose type has been erased.
///
/// A request's key is compared with those in a map as a reference; only a new one is cloned.
pub trait ErasedKey: Send + Sync + 'static {
    /// Feeds the key to a hasher.
    fn feed(&self, hasher: &mut dyn Hasher);

    /// Returns whether both are of one type, and equal.
    fn equals(&self, other: &dyn ErasedKey) -> bool;

    /// The key, as one of its own type.
    fn as_any(&self) -> &dyn Any;

    /// A clone.
    fn to_shared(&self) -> Arc<dyn ErasedKey>;
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> ErasedKey for K {
    fn feed(&self, mut hasher: &mut dyn Hasher) {
        self.hash(&mut hasher);
    }

    fn equals(&self, other: &dyn ErasedKey) -> bool {
        other.as_any().downcast_ref().is_some_and(|other| self == other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn to_shared(&self) -> Arc<dyn ErasedKey> {
        Arc::new(self.clone())
    }
}

impl Hash for dyn ErasedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.feed(state);
    }
}

impl PartialEq for dyn ErasedKey {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

impl Eq for dyn ErasedKey {}

/// Says which key a request has, and how the key is shown.
///
/// A [`CallKey`] of the same type in the extensions of a request takes precedence.
#[derive(Clone)]
pub struct KeyBy {
    find: Arc<Find>,
    label: fn(&dyn ErasedKey) -> KeyLabel,
    is_key: fn(&dyn Any) -> bool,
}

/// Passes the key of a request on as a reference: nothing is allocated for it.
type Find = dyn Fn(&RequestView<'_>, &mut dyn FnMut(&dyn ErasedKey)) + Send + Sync;

/// Hashes the labels of keys, with a seed that is drawn when the process starts.
static LABELS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl KeyBy {
    /// Keys that are shown as a hash: they may be secret.
    #[must_use]
    pub fn secret<K: Hash + Eq + Clone + Send + Sync + 'static>(
        key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
    ) -> Self {
        Self::with_label(key_of, Self::hashed)
    }

    /// Keys that are shown in errors and events.
    #[must_use]
    pub fn public<K: Hash + Eq + Clone + fmt::Display + Send + Sync + 'static>(
        key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
    ) -> Self {
        Self::with_label(key_of, |key| {
            let of_its_type: Option<&K> = key.as_any().downcast_ref();
            of_its_type.map_or_else(|| Self::hashed(key), |key| KeyLabel::public(key.to_string()))
        })
    }

    /// The account of each request: the server and the credential, of which a hash is kept and shown.
    #[must_use]
    pub fn account() -> Self {
        Self::public(|request: &RequestView<'_>| request.account())
    }

    fn with_label<K: Hash + Eq + Clone + Send + Sync + 'static>(
        key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
        label: fn(&dyn ErasedKey) -> KeyLabel,
    ) -> Self {
        let find = move |request: &RequestView<'_>, found: &mut dyn FnMut(&dyn ErasedKey)| {
            let of_the_call = request.extensions().and_then(|extensions| extensions.get::<CallKey<K>>());
            match of_the_call {
                Some(CallKey(key)) => found(key),
                None => found(&key_of(request)),
            }
        };
        Self { find: Arc::new(find), label, is_key: <dyn Any>::is::<K> }
    }

    /// Calls `act` with the key of `request`.
    #[inline]
    pub(crate) fn with_key<T>(&self, request: &RequestView<'_>, act: impl FnOnce(&dyn ErasedKey) -> T) -> T {
        let (mut act, mut result) = (Some(act), None);
        (self.find)(request, &mut |key| result = act.take().map(|act| act(key)));
        result.expect("a request has a key")
    }

    /// The label of the key of `request`.
    #[must_use]
    pub fn label_of(&self, request: &RequestView<'_>) -> KeyLabel {
        self.with_key(request, |key| (self.label)(key))
    }

    pub(crate) fn label(&self) -> fn(&dyn ErasedKey) -> KeyLabel {
        self.label
    }

    /// Whether requests have keys of the type of `key`.
    pub(crate) fn is_key(&self, key: &dyn ErasedKey) -> bool {
        (self.is_key)(key.as_any())
    }

    /// The label of a key that is not shown.
    pub(crate) fn hashed(key: &dyn ErasedKey) -> KeyLabel {
        KeyLabel::hashed(LABELS.hash_one(key))
    }
}

impl fmt::Debug for KeyBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyBy").finish_non_exhaustive()
    }
}
