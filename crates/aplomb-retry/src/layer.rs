//! Configuration.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aplomb_core::{Copied, HttpClassifier, Observe};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tower_layer::Layer;

use crate::delay::Rules;
use crate::{ByKind, Drain, Event, Retry, Throttled};

/// Sends a failed request again, later.
///
/// See the [crate's documentation](crate) for what is retried, when, and where the layer belongs in a
/// stack.
///
/// The type parameters are strategies, each with a setter of its own and a default that suits HTTP:
/// how a request is sent again (`K`), what an attempt came to (`C`), how long to wait (`B`), what
/// becomes of a failed response (`D`), who is told (`O`).
///
/// Clones of the layer, and all services made by it, share one configuration. A setter that is
/// called on a layer that has been cloned copies the configuration, hence the `Clone` bounds: wrap a
/// classifier or an observer that is not `Clone` in an `Arc`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_retry::RetryLayer;
///
/// let layer = RetryLayer::new()
///     .max_retries(6)
///     .max_elapsed(Duration::from_secs(90));
/// # drop(layer);
/// ```
#[must_use]
pub struct RetryLayer<K = Copied, C = HttpClassifier, B = ByKind, D = Drain, O = ()> {
    config: Arc<Config<K, C, B, D, O>>,
}

/// What all services of a layer share.
pub(crate) struct Config<K, C, B, D, O> {
    pub(crate) replay: K,
    pub(crate) classifier: C,
    pub(crate) backoff: B,
    pub(crate) discard: D,
    pub(crate) observer: O,
    pub(crate) settings: Settings,
    /// The calls that have needed chance so far: their generators are seeded by it.
    seeded: AtomicU64,
}

/// What is not a strategy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) rules: Rules,
    pub(crate) max_elapsed: Option<Duration>,
    random_seed: Option<u64>,
}

impl RetryLayer {
    /// Up to four retries of HTTP requests that are cheap to copy, exponential waits of 0.5 s to
    /// 60 s, hints of up to two minutes obeyed.
    pub fn new() -> Self {
        let rules = Rules {
            max_retries: 4,
            max_retry_after: Duration::from_secs(120),
            throttled: Throttled::Sleep,
        };
        RetryLayer::from(Config {
            replay: Copied,
            classifier: HttpClassifier::new(),
            backoff: ByKind::default(),
            discard: Drain,
            observer: (),
            settings: Settings { rules, max_elapsed: None, random_seed: None },
            seeded: AtomicU64::new(0),
        })
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

/// Numbers.
impl<K: Clone, C: Clone, B: Clone, D: Clone, O: Clone> RetryLayer<K, C, B, D, O> {
    /// Sets how often a request is sent again at most: 4 by default, so five attempts in all.
    ///
    /// The official SDKs of `OpenAI` and Anthropic retry twice, within two seconds: too few for a
    /// rate limit that is counted by the minute, which four waits of up to 0.5, 1, 2 and 4 s, or of
    /// what the server asks for, have a chance to sit out. With 0 nothing is copied.
    pub fn max_retries(self, max_retries: u32) -> Self {
        self.with(|settings| settings.rules.max_retries = max_retries)
    }

    /// Sets the longest wait a server may ask for: 120 s by default, as in `OpenAI`'s SDK. When it
    /// asks for longer, the answer is handed to the caller at once.
    pub fn max_retry_after(self, max_retry_after: Duration) -> Self {
        self.with(|settings| settings.rules.max_retry_after = max_retry_after)
    }

    /// Sets the time in which all attempts and waits must fit, counted from the call; none by
    /// default. Combined with the deadline of [`CallOptions`](aplomb_core::CallOptions): the earlier
    /// one holds.
    ///
    /// No attempt begins after it, no wait reaches it, and the layers inside see it as the call's
    /// deadline; an attempt that is running is not cut short by this layer.
    pub fn max_elapsed(self, max_elapsed: Duration) -> Self {
        self.with(|settings| settings.max_elapsed = Some(max_elapsed))
    }

    /// Sets where a throttled call waits: in this layer by default, see [`Throttled`].
    pub fn throttled(self, throttled: Throttled) -> Self {
        self.with(|settings| settings.rules.throttled = throttled)
    }

    /// Makes the waits repeatable: every call gets a generator of its own, derived from `seed` and
    /// from how many calls failed before it. By default they are drawn from the thread's generator,
    /// which the operating system seeds.
    pub fn random_seed(self, seed: u64) -> Self {
        self.with(|settings| settings.random_seed = Some(seed))
    }

    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut config = self.into_config();
        change(&mut config.settings);
        config.into()
    }

    fn into_config(self) -> Config<K, C, B, D, O> {
        Arc::try_unwrap(self.config).unwrap_or_else(|shared| Config {
            replay: shared.replay.clone(),
            classifier: shared.classifier.clone(),
            backoff: shared.backoff.clone(),
            discard: shared.discard.clone(),
            observer: shared.observer.clone(),
            settings: shared.settings,
            seeded: AtomicU64::new(0),
        })
    }
}

/// Strategies.
impl<K: Clone, C: Clone, B: Clone, D: Clone, O: Clone> RetryLayer<K, C, B, D, O> {
    /// Sets how a request is sent again: [`Copied`] by default.
    pub fn replay<K2>(self, replay: K2) -> RetryLayer<K2, C, B, D, O> {
        let Config { replay: _, classifier, backoff, discard, observer, settings, seeded } =
            self.into_config();
        Config { replay, classifier, backoff, discard, observer, settings, seeded }.into()
    }

    /// Sets who judges what an attempt came to: [`HttpClassifier`] by default.
    pub fn classifier<C2>(self, classifier: C2) -> RetryLayer<K, C2, B, D, O> {
        let Config { replay, classifier: _, backoff, discard, observer, settings, seeded } =
            self.into_config();
        Config { replay, classifier, backoff, discard, observer, settings, seeded }.into()
    }

    /// Sets how long to wait where the server does not say: [`ByKind`] by default.
    pub fn backoff<B2>(self, backoff: B2) -> RetryLayer<K, C, B2, D, O> {
        let Config { replay, classifier, backoff: _, discard, observer, settings, seeded } =
            self.into_config();
        Config { replay, classifier, backoff, discard, observer, settings, seeded }.into()
    }

    /// Sets what becomes of a failed response: [`Drain`] by default, which takes HTTP responses.
    /// [`Dropped`](crate::Dropped) takes any.
    pub fn discard<D2>(self, discard: D2) -> RetryLayer<K, C, B, D2, O> {
        let Config { replay, classifier, backoff, discard: _, observer, settings, seeded } =
            self.into_config();
        Config { replay, classifier, backoff, discard, observer, settings, seeded }.into()
    }

    /// Sets who is told what happens: nobody by default.
    pub fn observer<O2: Observe<Event>>(self, observer: O2) -> RetryLayer<K, C, B, D, O2> {
        let Config { replay, classifier, backoff, discard, observer: _, settings, seeded } =
            self.into_config();
        Config { replay, classifier, backoff, discard, observer, settings, seeded }.into()
    }
}

impl<S, K, C, B, D, O> Layer<S> for RetryLayer<K, C, B, D, O> {
    type Service = Retry<S, K, C, B, D, O>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(inner, Arc::clone(&self.config))
    }
}

impl<K, C, B, D, O> From<Config<K, C, B, D, O>> for RetryLayer<K, C, B, D, O> {
    fn from(config: Config<K, C, B, D, O>) -> Self {
        Self { config: Arc::new(config) }
    }
}

impl<K, C, B, D, O> Clone for RetryLayer<K, C, B, D, O> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config) }
    }
}

impl<K, C, B, D, O> fmt::Debug for RetryLayer<K, C, B, D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RetryLayer").field(&self.config.settings).finish()
    }
}

impl<K, C, B, D, O> Config<K, C, B, D, O> {
    /// Runs `draw` with a source of chance that no other call shares.
    ///
    /// The generator is made anew for every retry, so that a call in flight carries only its number.
    pub(crate) fn with_random<T>(
        &self,
        number: &mut Option<u64>,
        retry: u32,
        draw: impl FnOnce(&mut dyn Rng) -> T,
    ) -> T {
        let Some(seed) = self.settings.random_seed else {
            return draw(&mut rand::rng());
        };
        let number = *number.get_or_insert_with(|| self.seeded.fetch_add(1, Ordering::Relaxed));
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&number.to_le_bytes());
        key[16..20].copy_from_slice(&retry.to_le_bytes());
        draw(&mut StdRng::from_seed(key))
    }
}
