//! The settings of a layer, and the gates that are made of them.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aplomb_admission::{Entries, ErasedKey, KeyBy, QueueLimits};
use aplomb_core::{Event, KeyLabel, LogEvents, Observe, notify};
use tokio::time::Instant;

use crate::limiter_gate::LimiterGate;
use crate::{Learned, Pool, Quota, Quotas};

pub(crate) type Observer = Arc<dyn Observe + Send + Sync>;

/// The settings of a layer.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) source: Source,
    pub(crate) keys: Option<Keys>,
    pub(crate) max_keys: usize,
    pub(crate) limits: QueueLimits,
    pub(crate) max_pause: Option<Duration>,
    pub(crate) ramp: Option<Duration>,
    pub(crate) learning: bool,
    pub(crate) learned: Option<Learned>,
    pub(crate) seed: Option<u64>,
    pub(crate) observer: Observer,
}

/// The source of the quotas.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Quotas(Vec<Quota>),
    Pool(Pool),
}

/// The key of a request, and the quotas of a key where they are not the same for all.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) by: KeyBy,
    pub(crate) quotas_of: Option<Arc<QuotasOf>>,
    pub(crate) is_key: fn(&dyn Any) -> bool,
}

pub(crate) type QuotasOf = dyn Fn(&dyn ErasedKey) -> Vec<Quota> + Send + Sync;

impl Config {
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            keys: None,
            max_keys: Entries::<LimiterGate>::MAX_KEYS,
            limits: QueueLimits::new(),
            max_pause: None,
            ramp: None,
            learning: true,
            learned: None,
            seed: None,
            observer: Arc::new(LogEvents),
        }
    }

    /// The queues of a limiter with these settings, and what makes the gates of new keys.
    pub(crate) fn entries(&self) -> (Entries<LimiterGate>, Option<Arc<Template>>) {
        let observer = Arc::clone(&self.observer);
        let observe = move |event: &Event, key: Option<&KeyLabel>| match key {
            None => notify(&*observer, event),
            Some(_) => notify(&*observer, &event.clone().with_key(key.cloned())),
        };
        let Some(Keys { by, quotas_of, .. }) = self.keys.clone() else {
            return (Entries::one(self.gate(), self.limits, observe), None);
        };
        let template = Arc::new(match &self.source {
            Source::Quotas(_) => Template::Quotas(Mutex::new(QuotasTemplate::new(self.quotas(), quotas_of))),
            Source::Pool(pool) => Template::Pool(pool.clone()),
        });
        let make = {
            let template = Arc::clone(&template);
            move |key: &dyn ErasedKey| template.gate(key)
        };
        (Entries::keyed(by, self.max_keys, self.limits, make, observe), Some(template))
    }

    fn gate(&self) -> LimiterGate {
        match &self.source {
            Source::Quotas(_) => LimiterGate::Own(self.quotas()),
            Source::Pool(pool) => LimiterGate::Pooled(Box::new(pool.member())),
        }
    }

    fn quotas(&self) -> Quotas {
        let configured = match &self.source {
            Source::Quotas(configured) => &**configured,
            Source::Pool(_) => &[],
        };
        let mut quotas = Quotas::new(configured.iter().copied());
        if let Some(seed) = self.seed {
            quotas.set_seed(seed);
        }
        if let Some(longest) = self.max_pause {
            quotas.set_max_pause(longest);
        }
        if let Some(ramp) = self.ramp {
            quotas.set_ramp(ramp);
        }
        if !self.learning {
            quotas.set_learning(false);
        }
        if let Some(learned) = &self.learned {
            quotas.remember(learned, Instant::now());
        }
        quotas
    }
}

/// Makes the gates of new keys.
pub(crate) enum Template {
    Quotas(Mutex<QuotasTemplate>),
    Pool(Pool),
}

/// Makes the quotas of new keys. Keys with equal quotas share their settings, so that they take less memory.
pub(crate) struct QuotasTemplate {
    common: Quotas,
    quotas_of: Option<Arc<QuotasOf>>,
    /// The latest quotas of single keys.
    recent: Vec<(Vec<Quota>, Quotas)>,
}

/// So many different lists of quotas are shared: a plan or tier each.
const MAX_RECENT: usize = 32;

impl Template {
    fn gate(&self, key: &dyn ErasedKey) -> LimiterGate {
        match self {
            Self::Pool(pool) => LimiterGate::Pooled(Box::new(pool.member())),
            Self::Quotas(template) => {
                let lock = || template.lock().unwrap_or_else(PoisonError::into_inner);
                let quotas_of = lock().quotas_of.clone();
                // Not under the lock: the function is the caller's.
                let configured = quotas_of.map(|quotas_of| quotas_of(key));
                LimiterGate::Own(lock().quotas(configured))
            }
        }
    }

    /// Changes the quotas of keys that are new from now on.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Quotas)) {
        match self {
            Self::Pool(_) => {}
            Self::Quotas(template) => {
                let mut template = template.lock().unwrap_or_else(PoisonError::into_inner);
                template.recent.clear();
                change(&mut template.common);
            }
        }
    }

    /// Gives all keys that are new from now on these quotas.
    pub(crate) fn set_quotas(&self, quotas: &[Quota]) {
        if let Self::Quotas(template) = self {
            template.lock().unwrap_or_else(PoisonError::into_inner).quotas_of = None;
        }
        self.change(|common| common.set_quotas(quotas.iter().copied(), Instant::now()));
    }
}

impl QuotasTemplate {
    fn new(common: Quotas, quotas_of: Option<Arc<QuotasOf>>) -> Self {
        Self { common, quotas_of, recent: Vec::new() }
    }

    fn quotas(&mut self, configured: Option<Vec<Quota>>) -> Quotas {
        let Some(configured) = configured else {
            return self.common.fresh();
        };
        if let Some((_, known)) = self.recent.iter().find(|(of, _)| *of == configured) {
            return known.fresh();
        }
        let mut quotas = self.common.clone();
        quotas.set_quotas(configured.iter().copied(), Instant::now());
        if self.recent.len() == MAX_RECENT {
            self.recent.remove(0);
        }
        let fresh = quotas.fresh();
        self.recent.push((configured, quotas));
        fresh
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("source", &self.source)
            .field("by_key", &self.keys.is_some())
            .field("max_keys", &self.max_keys)
            .field("limits", &self.limits)
            .field("max_pause", &self.max_pause)
            .field("ramp", &self.ramp)
            .field("learning", &self.learning)
            .field("learned", &self.learned)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
