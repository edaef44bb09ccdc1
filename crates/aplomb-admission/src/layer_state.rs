//! The state of a layer, which its clones share.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// The state of a layer, made when it is first needed. Clones share it.
///
/// A layer is configuration: a setter on it replaces this by a new one, so that it changes nothing that runs.
pub struct LayerState<T>(Arc<OnceLock<T>>);

impl<T> LayerState<T> {
    /// State that has not been made.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(OnceLock::new()))
    }

    /// State that has been made.
    #[must_use]
    pub fn of(state: T) -> Self {
        Self(Arc::new(OnceLock::from(state)))
    }

    /// The state, which `make` makes if it has not been made.
    pub fn get_or_make(&self, make: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(make)
    }
}

impl<T> Default for LayerState<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for LayerState<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for LayerState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LayerState").field(&self.0.get()).finish()
    }
}
