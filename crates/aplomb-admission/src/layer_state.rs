//! The state of a layer, and the configuration it is made from.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aplomb_core::{CallOptions, KeyLabel};

use crate::{Entries, Evictable, Gate, Handle, Queue, Rejected};

/// The state of a layer: its queues, and what it does with the calls they reject. Clones share everything.
pub trait LayerState: Clone {
    /// The settings from before the state is made.
    type Config: Clone;

    /// The gate of the layer.
    type Gate: Evictable + Gate;

    /// The error of a call that was rejected.
    type Error;

    /// Makes the state.
    fn new(config: &Self::Config) -> Self;

    /// The state of a layer with this queue alone, which is that of one key.
    #[must_use]
    fn of_key(&self, queue: Queue<Self::Gate>) -> Self;

    /// The queues.
    fn entries(&self) -> &Entries<Self::Gate>;

    /// Reports a call that was rejected, and makes its error; `key` is the label of its key, if there is a gate for each.
    fn rejection(
        &self,
        rejected: &Rejected<<Self::Gate as Gate>::Reason>,
        key: Option<KeyLabel>,
        options: &CallOptions,
    ) -> Self::Error;
}

/// The configuration of a layer, and the state made from it on first use.
///
/// Clones of a layer share the state, whichever of them is used first. A change concerns one layer only: it gives the
/// layer a state of its own, unless no clone exists and nothing was made from the state yet. So handles that were taken
/// before the last setter follow the layer, as long as neither has been used.
pub struct Configured<S: LayerState> {
    /// One for each layer that shares the state: handles do not hold it.
    layer: Arc<()>,
    handle: Handle<S>,
}

/// State that is made from its configuration on first use.
pub(crate) struct Lazy<S: LayerState> {
    config: Mutex<Arc<S::Config>>,
    state: OnceLock<S>,
}

impl<S: LayerState> Configured<S> {
    /// A layer with a state of its own.
    #[must_use]
    pub fn new(config: S::Config) -> Self {
        Self::made_of(Lazy::new(Arc::new(config), OnceLock::new()))
    }

    fn made_of(lazy: Lazy<S>) -> Self {
        Self { layer: Arc::new(()), handle: Handle::new(lazy) }
    }

    /// A layer that shares the state of `handle`, which is in use from now on: no setter of this layer changes it.
    #[must_use]
    pub fn of(handle: Handle<S>) -> Self {
        handle.state();
        Self { layer: Arc::new(()), handle }
    }

    /// Changes the configuration of this layer.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut S::Config)) -> Self {
        let is_only_layer = Arc::get_mut(&mut self.layer).is_some();
        let lazy = self.handle.lazy();
        let mut changed = {
            let mut config = lazy.lock();
            if is_only_layer && lazy.state.get().is_none() {
                change(Arc::make_mut(&mut config));
                drop(config);
                return self;
            }
            Arc::clone(&config)
        };
        change(Arc::make_mut(&mut changed));
        Self::made_of(Lazy::new(changed, OnceLock::new()))
    }

    /// The state, which is made on first use.
    pub fn state(&self) -> &S {
        self.handle.state()
    }

    /// A handle on the state. It does not make it.
    #[must_use]
    pub const fn handle(&self) -> &Handle<S> {
        &self.handle
    }
}

impl<S: LayerState> Lazy<S> {
    const fn new(config: Arc<S::Config>, state: OnceLock<S>) -> Self {
        Self { config: Mutex::new(config), state }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<S::Config>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> &S {
        self.state.get_or_init(|| {
            // Under the lock: a change sees that the state exists, or the state is made with it.
            let config = self.lock();
            S::new(&config)
        })
    }

    /// The state of the key with this queue.
    pub(crate) fn of_key(&self, queue: Queue<S::Gate>) -> Self {
        let state = self.state().of_key(queue);
        Self::new(Arc::clone(&self.lock()), OnceLock::from(state))
    }
}

impl<S: LayerState> Clone for Configured<S> {
    fn clone(&self) -> Self {
        Self { layer: Arc::clone(&self.layer), handle: self.handle.clone() }
    }
}

impl<S: LayerState<Config: fmt::Debug>> fmt::Debug for Configured<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = Arc::clone(&self.handle.lazy().lock());
        config.fmt(f)
    }
}

impl<S: LayerState> fmt::Debug for Lazy<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A look at it does not make it.
        self.state.get().map(S::entries).fmt(f)
    }
}
