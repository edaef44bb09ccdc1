//! The limits of a layer, and the calls they reject.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aplomb_admission::{Entries, ErasedKey, KeyBy, LayerState, Queue, QueueLimits, Rejected};
use aplomb_core::{CallOptions, KeyLabel, LogEvents, Observe, notify_rejected};

use crate::{AtCapacity, Limit, LimitChange, Occupancy, Slots};

/// The slots of a key, or of all calls.
type SlotsOf = dyn Fn(Option<&dyn ErasedKey>) -> Slots + Send + Sync;

/// The configuration of a layer.
#[derive(Clone)]
#[expect(unnameable_types, reason = "it is the layer's own")]
pub struct Config {
    pub(crate) slots_of: Arc<SlotsOf>,
    pub(crate) abandoned: Option<Duration>,
    pub(crate) queue: QueueLimits,
    pub(crate) observer: Arc<dyn Observe>,
    pub(crate) key_by: Option<KeyBy>,
    pub(crate) max_keys: usize,
}

impl Config {
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            slots_of: Arc::new(move |_| Slots::new(limit)),
            abandoned: None,
            queue: QueueLimits::new(),
            observer: Arc::new(LogEvents),
            key_by: None,
            max_keys: Entries::<Slots>::MAX_KEYS,
        }
    }

    fn slots(&self, key: Option<&dyn ErasedKey>) -> Slots {
        let mut slots = (self.slots_of)(key);
        if let Some(max) = self.abandoned {
            slots.set_abandoned(max);
        }
        slots
    }
}

/// The limits of a layer: one, or one for each key. Clones share them.
#[derive(Clone)]
pub struct Limits {
    entries: Entries<Slots>,
    observer: Arc<dyn Observe>,
}

impl LayerState for Limits {
    type Config = Config;
    type Gate = Slots;
    type Error = AtCapacity;

    fn new(config: &Config) -> Self {
        let observer = Arc::clone(&config.observer);
        let report = {
            let observer = Arc::clone(&observer);
            move |change: &LimitChange, key: Option<&KeyLabel>| change.report(&*observer, key)
        };
        let queue = config.queue;
        let entries = match config.key_by.clone() {
            None => Entries::one(config.slots(None), queue, report),
            Some(by) => {
                let (max_keys, config) = (config.max_keys, config.clone());
                Entries::keyed(by, max_keys, queue, move |key| config.slots(Some(key)), report)
            }
        };
        Self { entries, observer }
    }

    fn of_key(&self, queue: Queue<Slots>) -> Self {
        Self { entries: Entries::of(queue), observer: Arc::clone(&self.observer) }
    }

    #[inline]
    fn entries(&self) -> &Entries<Slots> {
        &self.entries
    }

    fn rejection(
        &self,
        rejected: &Rejected<Occupancy>,
        key: Option<KeyLabel>,
        options: &CallOptions,
    ) -> AtCapacity {
        let error = AtCapacity::new(rejected, options).with_key(key);
        notify_rejected(&*self.observer, || error.event());
        error
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("by_key", &self.key_by.is_some()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("entries", &self.entries).finish_non_exhaustive()
    }
}
