//! The settings of a layer, and the gates that are made of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aplomb_admission::{Entries, ErasedKey, KeyBy, QueueLimits};
use aplomb_core::{LogEvents, Observe};
use tokio::time::Instant;

use crate::limiter_gate::LimiterGate;
use crate::{Learned, Pool, Quota, Quotas};

pub(crate) type Observer = Arc<dyn Observe + Send + Sync>;

/// The settings of a layer.
#[derive(Clone)]
#[expect(unnameable_types, reason = "it is the layer's own")]
pub struct Config {
    pub(crate) source: Source,
    pub(crate) keys: Option<Keys>,
    pub(crate) max_keys: usize,
    pub(crate) limits: QueueLimits,
    pub(crate) max_pause: Option<Duration>,
    pub(crate) learning: bool,
    pub(crate) inbound: bool,
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
            learning: true,
            inbound: false,
            learned: None,
            seed: None,
            observer: Arc::new(LogEvents),
        }
    }

    /// Makes it a limit on calls that arrive.
    pub(crate) const fn make_inbound(&mut self) {
        self.inbound = true;
        self.learning = false;
    }

    /// Makes it the limit on the calls of tenants, with nothing of the account's but how long they wait.
    pub(crate) fn make_of_tenants(&mut self) {
        self.make_inbound();
        (self.source, self.learned) = (Source::Quotas(Vec::new()), None);
    }

    /// The gate of all calls, if there are no keys.
    pub(crate) fn gate(&self) -> LimiterGate {
        match &self.source {
            Source::Quotas(_) => LimiterGate::Own(self.quotas()),
            Source::Pool(pool) => LimiterGate::Pooled(Box::new(pool.member())),
        }
    }

    /// Full quotas.
    pub(crate) fn quotas(&self) -> Quotas {
        let configured = match &self.source {
            Source::Quotas(configured) => &**configured,
            Source::Pool(_) => &[],
        };
        let now = Instant::now();
        let mut quotas = Quotas::new(configured.iter().copied());
        if let Some(seed) = self.seed {
            quotas.set_seed(seed, now);
        }
        if let Some(longest) = self.max_pause {
            quotas.set_max_pause(longest, now);
        }
        if !self.learning {
            quotas.set_learning(false, now);
        }
        if self.inbound {
            quotas.set_inbound();
        }
        if let Some(learned) = &self.learned {
            quotas.remember(learned, now);
        }
        quotas
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
            .field("learning", &self.learning)
            .field("inbound", &self.inbound)
            .field("learned", &self.learned)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
