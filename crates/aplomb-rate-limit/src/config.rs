//! The settings of a layer, and the limiter that is made of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aplomb_admission::QueueLimits;
use aplomb_core::{LogEvents, Observe};

use crate::limiter_gate::LimiterGate;
use crate::{Learned, Pool, Quota, Quotas, RateLimiter};

/// The settings of a layer.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) source: Source,
    pub(crate) limits: QueueLimits,
    pub(crate) max_pause: Option<Duration>,
    pub(crate) ramp: Option<Duration>,
    pub(crate) learning: bool,
    pub(crate) learned: Option<Learned>,
    pub(crate) seed: Option<u64>,
    pub(crate) observer: Arc<dyn Observe + Send + Sync>,
}

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
            limits: QueueLimits::new(),
            max_pause: None,
            ramp: None,
            learning: true,
            learned: None,
            seed: None,
            observer: Arc::new(LogEvents),
        }
    }

    /// The limiter with these settings. A pool keeps its own settings of pauses and learning, and a limiter that exists
    /// all of them.
    pub(crate) fn limiter(&self) -> RateLimiter {
        let gate = match &self.source {
            Source::Quotas(quotas) => LimiterGate::Own(self.quotas(quotas.iter().copied())),
            Source::Pool(pool) => LimiterGate::Pooled(pool.member()),
            Source::Limiter(limiter) => return limiter.clone(),
        };
        RateLimiter::before(gate, self.limits, Arc::clone(&self.observer))
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
        let Self { source, limits, max_pause, ramp, learning, learned, seed, observer: _ } = self;
        f.debug_struct("Config")
            .field("source", source)
            .field("limits", limits)
            .field("max_pause", max_pause)
            .field("ramp", ramp)
            .field("learning", learning)
            .field("learned", learned)
            .field("seed", seed)
            .finish_non_exhaustive()
    }
}
