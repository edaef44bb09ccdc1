//! Configuration.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aplomb_core::{Copied, HttpClassifier, Observe, RequestHead};
use http::HeaderName;
use rand::Rng;
use tokio_util::sync::CancellationToken;
use tower_layer::Layer;

use crate::config::{Config, Random, Settings};
use crate::delay::Rules;
use crate::repeatable::Rule;
use crate::{Budget, ByKind, Drain, Event, Repeatable, Retry, Stop, Throttled};

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
    pub(crate) config: Arc<Config<K, C, B, D, O>>,
}

impl RetryLayer {
    /// Up to four retries of HTTP requests that are cheap to copy, exponential waits of 0.5 s to
    /// 60 s, hints of up to two minutes obeyed.
    pub fn new() -> Self {
        let rules = Rules {
            max_retries: 4,
            max_retry_after: Duration::from_secs(120),
            // Whoever asked for a minute expects us in a minute.
            max_hint_jitter: Duration::from_secs(5),
            throttled: Throttled::Sleep,
        };
        RetryLayer::from(Config {
            replay: Copied,
            classifier: HttpClassifier::new(),
            backoff: ByKind::default(),
            discard: Drain,
            observer: (),
            settings: Settings {
                rules,
                max_elapsed: None,
                stands_down: true,
                mark_final: false,
                repeatable: Rule::All,
                stop: None,
                cancellation: None,
                budget: None,
                idempotency_key: None,
                retry_count: None,
                random: Random::Thread,
            },
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

    /// Sets how much later than a server's hint a request is sent at most: 5 s by default, and never
    /// more than half the hint. Zero comes back at the very moment the hint names, together with
    /// everybody who was told the same.
    pub fn max_hint_jitter(self, max_hint_jitter: Duration) -> Self {
        self.with(|settings| settings.rules.max_hint_jitter = max_hint_jitter)
    }

    /// Sets the time in which all attempts and waits must fit, counted from the call; none by
    /// default. Combined with the deadline of [`CallOptions`](aplomb_core::CallOptions): the earlier
    /// one holds.
    ///
    /// No wait reaches it, and the layers inside see it as the call's deadline. The first attempt is
    /// made in any case; an attempt that is running is not cut short by this layer, and neither is the
    /// wait until the inner service is ready.
    pub fn max_elapsed(self, max_elapsed: Duration) -> Self {
        self.with(|settings| settings.max_elapsed = Some(max_elapsed))
    }

    /// Sets where a throttled call waits: in this layer by default, see [`Throttled`].
    pub fn throttled(self, throttled: Throttled) -> Self {
        self.with(|settings| settings.rules.throttled = throttled)
    }

    /// Makes the waits repeatable: every call gets a generator of its own, derived from `seed` and
    /// from how many calls failed before it, of this layer and of those that are set up from it. By default they are drawn from the thread's generator,
    /// which the operating system seeds.
    pub fn random_seed(self, seed: u64) -> Self {
        self.with(|settings| settings.random = Random::Seed(seed, Arc::default()))
    }

    /// Draws the waits from generators of the caller's own: `random` makes one whenever a wait is
    /// chosen.
    pub fn random_source<R: Rng + 'static>(self, random: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.random = Random::Own(Arc::new(move || Box::new(random()))))
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
            settings: shared.settings.clone(),
        })
    }
}

/// What may be sent again, and until when.
impl<K: Clone, C: Clone, B: Clone, D: Clone, O: Clone> RetryLayer<K, C, B, D, O> {
    /// Sets a condition for stopping, in place of the number of retries. Call
    /// [`max_retries`](Self::max_retries) after it to have both. Hints and deadlines hold in any case.
    pub fn stop(self, stop: impl Stop + Send + Sync + 'static) -> Self {
        self.with(|settings| {
            settings.rules.max_retries = u32::MAX;
            settings.stop = Some(Arc::new(stop));
        })
    }

    /// Sets a token that ends all retrying when it is cancelled: an attempt that runs is finished, a
    /// wait ends at once, and its caller gets the last failure. When the wait is over, the next attempt
    /// has begun, also while the inner service is not ready yet.
    ///
    /// For this the failed response is kept during the wait, and its connection with it; it is
    /// drained and dropped after it.
    pub fn cancellation(self, token: CancellationToken) -> Self {
        self.with(|settings| settings.cancellation = Some(token))
    }

    /// Sets what pays for retries: nothing unless set, so that they are limited for each call only.
    pub fn budget(self, budget: Budget) -> Self {
        self.with(|settings| settings.budget = Some(budget))
    }

    /// Sets which requests may be sent more than once, by their heads. The closure returns a
    /// [`Repeatable`] or a `bool`.
    ///
    /// Unless set, every request may: the endpoints this is made for answer questions by `POST`, and
    /// asking twice does no harm but to the bill.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_core::RequestHead;
    /// use aplomb_retry::RetryLayer;
    ///
    /// let layer = RetryLayer::new().repeatable(|request: &dyn RequestHead| {
    ///     request.path().is_some_and(|path| path.ends_with("/embeddings"))
    /// });
    /// # drop(layer);
    /// ```
    pub fn repeatable<R: Into<Repeatable>>(
        self,
        repeatable: impl Fn(&dyn RequestHead) -> R + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| {
            settings.repeatable = Rule::By(Arc::new(move |request| repeatable(request).into()));
        })
    }

    /// Repeats only what is idempotent, for APIs on which a `POST` does something: a method that says
    /// so (RFC 9110, section 9.2.2), or a key in the request: an `Idempotency-Key`, or that of
    /// [`idempotency_key`](Self::idempotency_key). Any other request is sent again
    /// only where the server has certainly not begun to act on it: no connection could be made, or it
    /// answered 429, 503 or 529.
    pub fn idempotent_only(self) -> Self {
        self.with(|settings| settings.repeatable = Rule::Idempotent)
    }

    /// Adds a random UUID in this header to every request that may be sent again and has none: the same for
    /// all attempts of a call, so that a server that knows the header acts once. Usually
    /// `idempotency-key`.
    pub fn idempotency_key(self, header: HeaderName) -> Self {
        self.with(|settings| settings.idempotency_key = Some(header))
    }

    /// Says in this header how often the request has been sent before, from 0 on: as the official
    /// SDKs do in `x-stainless-retry-count`. What the request says there already is added to.
    pub fn retry_count(self, header: HeaderName) -> Self {
        self.with(|settings| settings.retry_count = Some(header))
    }

    /// Sets whether this layer leaves retrying to another one outside of it: so it does unless set, since
    /// five attempts inside of five are twenty-five.
    ///
    /// What counts as outside: a retry layer of this crate in whose attempt the call is made, also by
    /// a closure ([`run`](Self::run)), and also where that is about something else. The outer layer
    /// judges alone then: one that takes every answer for a success ([`EveryError`](crate::EveryError))
    /// does not retry a 503 that arrives as one.
    pub fn stand_down(self, stand_down: bool) -> Self {
        self.with(|settings| settings.stands_down = stand_down)
    }

    /// Marks the failures that are handed out with `x-should-retry: false`: for gateways, so that the SDK
    /// of the client in front does not start over what has been tried enough, or can not be tried now (the
    /// budget, a hint too long). Those that this layer did not try, or was kept from trying, are not
    /// marked: cancelled, not to be repeated, left to a layer outside.
    pub fn mark_final_failures(self) -> Self {
        self.with(|settings| settings.mark_final = true)
    }
}

/// Strategies.
impl<K: Clone, C: Clone, B: Clone, D: Clone, O: Clone> RetryLayer<K, C, B, D, O> {
    /// Sets how a request is sent again: [`Copied`] by default.
    pub fn replay<K2>(self, replay: K2) -> RetryLayer<K2, C, B, D, O> {
        let Config { replay: _, classifier, backoff, discard, observer, settings } = self.into_config();
        Config { replay, classifier, backoff, discard, observer, settings }.into()
    }

    /// Sets who judges what an attempt came to: [`HttpClassifier`] by default.
    pub fn classifier<C2>(self, classifier: C2) -> RetryLayer<K, C2, B, D, O> {
        let Config { replay, classifier: _, backoff, discard, observer, settings } = self.into_config();
        Config { replay, classifier, backoff, discard, observer, settings }.into()
    }

    /// Sets how long to wait where the server does not say: [`ByKind`] by default.
    pub fn backoff<B2>(self, backoff: B2) -> RetryLayer<K, C, B2, D, O> {
        let Config { replay, classifier, backoff: _, discard, observer, settings } = self.into_config();
        Config { replay, classifier, backoff, discard, observer, settings }.into()
    }

    /// Sets what becomes of a failed response: [`Drain`] by default, which takes HTTP responses.
    /// [`Dropped`](crate::Dropped) takes any.
    pub fn discard<D2>(self, discard: D2) -> RetryLayer<K, C, B, D2, O> {
        let Config { replay, classifier, backoff, discard: _, observer, settings } = self.into_config();
        Config { replay, classifier, backoff, discard, observer, settings }.into()
    }

    /// Sets who is told what happens: nobody by default.
    pub fn observer<O2: Observe<Event>>(self, observer: O2) -> RetryLayer<K, C, B, D, O2> {
        let Config { replay, classifier, backoff, discard, observer: _, settings } = self.into_config();
        Config { replay, classifier, backoff, discard, observer, settings }.into()
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
