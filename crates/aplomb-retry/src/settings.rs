//! The configuration of a layer. Its services share it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aplomb_core::{Backoff, Event, LogEvents, Observe, notify};
use http::HeaderName;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::decision::Rules;
use crate::repeatable::Rule;
use crate::{Budget, ByKind, Stop, Throttled};

/// Everything that is configured. The two type parameters depend on the service; the rest does not.
#[derive(Clone)]
pub(crate) struct Config<K, C> {
    pub(crate) replay: K,
    pub(crate) classifier: C,
    pub(crate) settings: Settings,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) rules: Rules,
    pub(crate) backoff: Arc<dyn Backoff>,
    pub(crate) max_elapsed: Option<Duration>,
    pub(crate) stands_down: bool,
    pub(crate) marks_final: bool,
    pub(crate) drains: bool,
    pub(crate) repeatable: Rule,
    pub(crate) stop: Option<Arc<dyn Stop>>,
    pub(crate) cancellation: Option<CancellationToken>,
    pub(crate) budget: Option<Budget>,
    pub(crate) idempotency_key: Option<HeaderName>,
    pub(crate) retry_count: Option<HeaderName>,
    pub(crate) random: RandomSource,
    /// `None` is [`LogEvents`], which ignores what happens on every call: so that need not be reported.
    pub(crate) observer: Option<Arc<dyn Observe + Send + Sync>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: Rules {
                max_retries: 4,
                max_retry_after: Duration::from_secs(120),
                // A server that asks for a minute expects us in a minute.
                max_hint_jitter: Duration::from_secs(5),
                throttled: Throttled::Sleep,
                max_unanswered: u32::MAX,
                max_paced: Duration::from_secs(600),
            },
            backoff: Arc::new(ByKind::default()),
            max_elapsed: None,
            stands_down: true,
            marks_final: false,
            drains: true,
            repeatable: Rule::All,
            stop: None,
            cancellation: None,
            budget: None,
            idempotency_key: None,
            retry_count: None,
            random: RandomSource::Thread,
            observer: None,
        }
    }
}

impl Settings {
    /// Reports what happens to a call that fails.
    pub(crate) fn notify(&self, event: &Event) {
        match &self.observer {
            Some(observer) => notify(observer, event),
            None => notify(&LogEvents, event),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("max_retries", &self.rules.max_retries)
            .field("max_retry_after", &self.rules.max_retry_after)
            .field("max_elapsed", &self.max_elapsed)
            .field("throttled", &self.rules.throttled)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// The source of randomness for delays.
#[derive(Clone)]
pub(crate) enum RandomSource {
    /// The thread's generator.
    Thread,
    /// A generator for each delay, derived from a seed and from the number of calls that have needed one so
    /// far, in all layers that were made from the seeded one.
    Seed(u64, Arc<AtomicU64>),
    /// The user's own, called for each delay.
    Custom(Arc<dyn Fn() -> Box<dyn Rng> + Send + Sync>),
}

impl RandomSource {
    /// Runs `draw` with a generator that no other call uses.
    ///
    /// A seeded generator is made anew for every retry, so that a call in flight carries only its number.
    pub(crate) fn with<T>(
        &self,
        number: &mut Option<u64>,
        retry: u32,
        draw: impl FnOnce(&mut dyn Rng) -> T,
    ) -> T {
        match self {
            Self::Thread => draw(&mut rand::rng()),
            Self::Custom(random) => draw(&mut *random()),
            Self::Seed(seed, calls) => {
                let number = *number.get_or_insert_with(|| calls.fetch_add(1, Ordering::Relaxed));
                let mut key = [0; 32];
                key[..8].copy_from_slice(&seed.to_le_bytes());
                key[8..16].copy_from_slice(&number.to_le_bytes());
                key[16..20].copy_from_slice(&retry.to_le_bytes());
                draw(&mut StdRng::from_seed(key))
            }
        }
    }
}
