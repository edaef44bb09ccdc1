//! The settings of a layer, and the limiter that is made of them.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aplomb_admission::{Entries, ErasedKey, KeyBy, QueueLimits};
use aplomb_core::{LogEvents, Observe};

use crate::limiter_gate::LimiterGate;
use crate::{Learned, Pool, Quota, Quotas, RateLimiter};

/// The settings of a layer.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) source: Source,
    /// Says which key a call has, if each has quotas of its own.
    pub(crate) key_by: Option<KeyBy>,
    pub(crate) quotas_of: Option<Arc<QuotasOf>>,
    pub(crate) max_keys: usize,
    pub(crate) limits: QueueLimits,
    pub(crate) max_pause: Option<Duration>,
    pub(crate) ramp: Option<Duration>,
    pub(crate) learning: bool,
    pub(crate) learned: Option<Learned>,
    pub(crate) seed: Option<u64>,
    /// The quotas of keys that have those of the layer: clones share everything but their levels.
    pub(crate) template: OnceLock<Quotas>,
    pub(crate) observer: Arc<dyn Observe + Send + Sync>,
}

/// The quotas of a key; `None` if it has those of the layer.
pub(crate) type QuotasOf = dyn Fn(&dyn ErasedKey) -> Option<Vec<Quota>> + Send + Sync;

/// Where the quotas come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Quotas(Vec<Quota>),
    Pool(Pool),
    /// A limiter that exists.
    Limiter(RateLimiter),
}

impl Config {
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            key_by: None,
            quotas_of: None,
            max_keys: Entries::<LimiterGate>::MAX_KEYS,
            limits: QueueLimits::new(),
            max_pause: None,
            ramp: None,
            learning: true,
            learned: None,
            seed: None,
            template: OnceLock::new(),
            observer: Arc::new(LogEvents),
        }
    }

    /// The limiter with these settings. A pool keeps its own settings of pauses and learning, and a limiter that exists
    /// all of them.
    pub(crate) fn limiter(&self) -> RateLimiter {
        match &self.source {
            Source::Limiter(limiter) => limiter.clone(),
            Source::Quotas(_) | Source::Pool(_) => RateLimiter::with_config(self.clone()),
        }
    }

    /// The gate of a key, or of all calls.
    pub(crate) fn gate(&self, key: Option<&dyn ErasedKey>) -> LimiterGate {
        match &self.source {
            Source::Pool(pool) => LimiterGate::Pooled(pool.member()),
            Source::Quotas(quotas) => {
                let own = key.and_then(|key| self.quotas_of.as_ref()?(key));
                LimiterGate::Own(match own {
                    Some(own) => self.quotas(own),
                    None => self.template.get_or_init(|| self.quotas(quotas.iter().copied())).clone(),
                })
            }
            Source::Limiter(_) => LimiterGate::Own(self.quotas([])),
        }
    }

    fn quotas(&self, quotas: impl IntoIterator<Item = Quota>) -> Quotas {
        let mut quotas = Quotas::new(quotas, self.seed.unwrap_or_else(rand::random));
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
            quotas.remember(learned, tokio::time::Instant::now());
        }
        quotas
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, max_keys, limits, max_pause, ramp, learning, learned, seed, .. } = self;
        f.debug_struct("Config")
            .field("source", source)
            .field("max_keys", max_keys)
            .field("limits", limits)
            .field("max_pause", max_pause)
            .field("ramp", ramp)
            .field("learning", learning)
            .field("learned", learned)
            .field("seed", seed)
            .finish_non_exhaustive()
    }
}
