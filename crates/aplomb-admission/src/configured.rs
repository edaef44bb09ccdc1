//! The configuration of a layer, and the state made from it on first use.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The configuration of a layer, and the state made from it on first use.
///
/// Clones of a layer share the state, whichever of them is used first. A change concerns one layer only: it gives the
/// layer a state of its own, unless no clone exists and nothing was made from the state yet. So handles that were taken
/// before the last setter follow the layer, as long as neither has been used.
pub struct Configured<C, S> {
    /// One for each layer that shares the state: handles do not hold it.
    layer: Arc<()>,
    lazy: Lazy<C, S>,
}

/// State that is made from its configuration on first use. Clones share it.
pub struct Lazy<C, S>(Arc<Shared<C, S>>);

struct Shared<C, S> {
    config: Mutex<C>,
    state: OnceLock<S>,
}

impl<C: Clone, S> Configured<C, S> {
    /// A layer of its own.
    pub fn new(config: C) -> Self {
        Self { layer: Arc::new(()), lazy: Lazy::new(config) }
    }

    /// A layer that shares state with others.
    pub fn of(lazy: Lazy<C, S>) -> Self {
        Self { layer: Arc::new(()), lazy }
    }

    /// Changes the configuration of this layer.
    pub fn change(&mut self, change: impl FnOnce(&mut C)) {
        let is_only_layer = Arc::get_mut(&mut self.layer).is_some();
        let mut config = self.lazy.0.config.lock().unwrap_or_else(PoisonError::into_inner);
        if is_only_layer && self.lazy.0.state.get().is_none() {
            return change(&mut config);
        }
        let mut config = {
            let copied = config.clone();
            drop(config);
            copied
        };
        change(&mut config);
        *self = Self::new(config);
    }

    /// The state, for handles: made on first use.
    pub const fn lazy(&self) -> &Lazy<C, S> {
        &self.lazy
    }
}

impl<C: Clone, S> Lazy<C, S> {
    fn new(config: C) -> Self {
        Self(Arc::new(Shared { config: Mutex::new(config), state: OnceLock::new() }))
    }

    /// The state; `make` makes it, if it is used for the first time.
    pub fn get_or_make(&self, make: impl FnOnce(C) -> S) -> &S {
        self.0.state.get_or_init(|| {
            let config = self.0.config.lock().unwrap_or_else(PoisonError::into_inner);
            // Under the lock: a change sees that the state exists, or the state is made with it.
            make(config.clone())
        })
    }

    /// A copy of the configuration.
    pub fn config(&self) -> C {
        self.0.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<C, S> Clone for Configured<C, S> {
    fn clone(&self) -> Self {
        Self { layer: Arc::clone(&self.layer), lazy: self.lazy.clone() }
    }
}

impl<C, S> Clone for Lazy<C, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C, S: fmt::Debug> fmt::Debug for Configured<C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lazy.fmt(f)
    }
}

impl<C, S: fmt::Debug> fmt::Debug for Lazy<C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy").field("state", &self.0.state.get()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(lazy: &Lazy<u32, u32>) -> u32 {
        *lazy.get_or_make(|config| config)
    }

    #[test]
    fn handles_follow_a_layer_until_it_is_used() {
        let mut layer = Configured::new(1);
        let handle = layer.lazy().clone();
        layer.change(|config| *config = 2);
        assert_eq!((state(layer.lazy()), state(&handle)), (2, 2));
        layer.change(|config| *config = 3);
        assert_eq!((state(layer.lazy()), state(&handle)), (3, 2));
    }

    #[test]
    fn a_change_of_a_clone_leaves_the_others_alone() {
        let layer = Configured::new(1);
        let (handle, mut other) = (layer.lazy().clone(), layer.clone());
        other.change(|config| *config = 2);
        assert_eq!((state(layer.lazy()), state(&handle), state(other.lazy())), (1, 1, 2));
    }

    #[test]
    fn clones_share_their_state() {
        let layer = Configured::<u32, Arc<()>>::new(1);
        let other = layer.clone();
        let state = |layer: &Configured<u32, Arc<()>>| Arc::clone(layer.lazy().get_or_make(|_| Arc::new(())));
        assert!(Arc::ptr_eq(&state(&layer), &state(&other)));
    }
}
