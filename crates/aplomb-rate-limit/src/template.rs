//! The gates of new keys.

use std::sync::{Arc, Mutex, PoisonError};

use aplomb_admission::ErasedKey;
use tokio::time::Instant;

use crate::config::{Config, QuotasOf, Source};
use crate::limiter_gate::LimiterGate;
use crate::{Pool, Quota, Quotas};

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
    pub(crate) fn new(config: &Config, quotas_of: Option<Arc<QuotasOf>>) -> Self {
        match &config.source {
            Source::Quotas(_) => Self::Quotas(Mutex::new(QuotasTemplate::new(config.quotas(), quotas_of))),
            Source::Pool(pool) => Self::Pool(pool.clone()),
        }
    }

    pub(crate) fn gate(&self, key: &dyn ErasedKey) -> LimiterGate {
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
