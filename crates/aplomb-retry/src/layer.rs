//! The layer: configuration.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aplomb_core::{Backoff, Copied, HttpClassifier, Observe, RequestHead};
use http::HeaderName;
use rand::Rng;
use tokio_util::sync::CancellationToken;
use tower_layer::Layer;

use crate::repeatable::Rule;
use crate::settings::{Config, RandomSource, Settings};
use crate::{Budget, Repeatable, Retry, Stop, Throttled};

/// Sends failed requests again.
///
/// See the [crate's documentation](crate) for what is retried, when, and where the layer belongs in a stack.
///
/// The type parameters are how a request is sent again (`K`, default [`Copied`]) and how results are
/// classified (`C`, default [`HttpClassifier`]).
///
/// Clones of the layer and all services made by it share one configuration. A setter called on a clone copies
/// the configuration and changes nothing that is in use; hence the `Clone` bounds: wrap a classifier that is
/// not `Clone` in an `Arc`. A budget stays shared.
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
pub struct RetryLayer<K = Copied, C = HttpClassifier> {
    pub(crate) config: Arc<Config<K, C>>,
}

impl RetryLayer {
    /// Up to four retries, exponential delays from 0.5 s to 60 s, hints of up to two minutes obeyed, events
    /// logged. For requests that are cheap to copy.
    pub fn new() -> Self {
        RetryLayer::from(Config {
            replay: Copied,
            classifier: HttpClassifier::new(),
            settings: Settings::default(),
        })
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

/// How often, and how long to wait.
impl<K: Clone, C: Clone> RetryLayer<K, C> {
    /// Sets how many times a request is sent again at most. Default: 4, so five attempts in all.
    ///
    /// The official SDKs of `OpenAI` and Anthropic retry twice within two seconds: too few for a rate limit
    /// that is counted by the minute. With 0, requests are not copied.
    pub fn max_retries(self, max_retries: u32) -> Self {
        self.with(|settings| settings.rules.max_retries = max_retries)
    }

    /// Sets how many times a request is sent again at most after an attempt whose answer never came: it timed out, or its
    /// connection was lost. Default: as often as after any other failure.
    ///
    /// The server may have worked on such a request to its end, and a completion is paid for whether it arrives or not. What
    /// the server has certainly not begun with is not counted. With 0, such an attempt is the last one.
    pub fn max_unanswered_retries(self, max_retries: u32) -> Self {
        self.with(|settings| settings.rules.max_unanswered = max_retries)
    }

    /// Sets the time in which all attempts and delays must fit, counted from the call. Default: no limit.
    /// If the call has a deadline in its [`CallOptions`](aplomb_core::CallOptions) too, the earlier one
    /// applies.
    ///
    /// No delay reaches the deadline, and the layers inside see it. The first attempt is made in any case.
    /// This layer neither interrupts an attempt that is running nor the wait for the inner service to become
    /// ready.
    pub fn max_elapsed(self, max_elapsed: Duration) -> Self {
        self.with(|settings| settings.max_elapsed = Some(max_elapsed))
    }

    /// Sets how long to wait when the server does not say. Default: [`ByKind`](crate::ByKind), exponential
    /// with full jitter.
    pub fn backoff(self, backoff: impl Backoff + 'static) -> Self {
        self.with(|settings| settings.backoff = Arc::new(backoff))
    }

    /// Sets the longest delay a server may ask for. Default: 120 s, as in `OpenAI`'s SDK. If it asks for
    /// more, the response is handed to the caller at once.
    pub fn max_retry_after(self, max_retry_after: Duration) -> Self {
        self.with(|settings| settings.rules.max_retry_after = max_retry_after)
    }

    /// Sets how much later than the server's hint a request is sent at most. Default: 5 s, and never more than
    /// half the hint. With zero, all clients that got the same hint come back at the same moment.
    pub fn max_hint_jitter(self, max_hint_jitter: Duration) -> Self {
        self.with(|settings| settings.rules.max_hint_jitter = max_hint_jitter)
    }

    /// Sets where a throttled call waits. Default: in this layer. See [`Throttled`].
    pub fn throttled(self, throttled: Throttled) -> Self {
        self.with(|settings| settings.rules.throttled = throttled)
    }

    /// Sets for how long after its beginning a call is sent again without counting, after failures that a queue further in
    /// paces.
    #[doc(hidden)]
    pub fn max_paced(self, max_paced: Duration) -> Self {
        self.with(|settings| settings.rules.max_paced = max_paced)
    }

    /// Makes delays reproducible: every call gets a generator derived from `seed` and from the number of calls
    /// that failed before it, in this layer and those made from it. Default: the thread's generator.
    pub fn random_seed(self, seed: u64) -> Self {
        self.with(|settings| settings.random = RandomSource::Seed(seed, Arc::default()))
    }

    /// Draws delays from custom generators: `random` is called for each delay.
    pub fn random_source<R: Rng + 'static>(self, random: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.random = RandomSource::Custom(Arc::new(move || Box::new(random()))))
    }

    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut config = self.into_config();
        change(&mut config.settings);
        config.into()
    }

    fn into_config(self) -> Config<K, C> {
        Arc::unwrap_or_clone(self.config)
    }
}

/// Which requests are sent again, and until when.
impl<K: Clone, C: Clone> RetryLayer<K, C> {
    /// Sets a stop condition. It replaces the number of retries: call [`max_retries`](Self::max_retries)
    /// after it to have both. Hints and deadlines always apply.
    pub fn stop(self, stop: impl Stop + 'static) -> Self {
        self.with(|settings| {
            settings.rules.max_retries = u32::MAX;
            settings.stop = Some(Arc::new(stop));
        })
    }

    /// Sets a token that ends all retrying when it is cancelled. An attempt that is running is finished; a
    /// delay ends at once, and the caller gets the last failure.
    ///
    /// For this, the failed response and its connection are kept during the delay. They are discarded after
    /// it.
    pub fn cancellation(self, token: CancellationToken) -> Self {
        self.with(|settings| settings.cancellation = Some(token))
    }

    /// Sets the budget that pays for retries. Default: none, so that only the retries of each call are
    /// limited.
    pub fn budget(self, budget: Budget) -> Self {
        self.with(|settings| settings.budget = Some(budget))
    }

    /// Sets which requests may be sent more than once. The closure sees the head of the request and returns a
    /// [`Repeatable`] or a `bool`.
    ///
    /// Default: all. The endpoints this library is made for answer questions by `POST`, and asking twice does
    /// no harm except to the bill.
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
            settings.repeatable = Rule::Custom(Arc::new(move |request| repeatable(request).into()));
        })
    }

    /// Repeats only idempotent requests: those with an idempotent method (RFC 9110, section 9.2.2) or with a
    /// key, in `Idempotency-Key` or in the header of [`idempotency_key`](Self::idempotency_key). For APIs
    /// where a `POST` changes something.
    ///
    /// Other requests are sent again only if the server has certainly not begun to act on them: no connection
    /// could be made, the request was not written, the server refused the HTTP/2 stream or closed the connection without acting on
    /// it, or it answered 429, 503 or 529.
    pub fn idempotent_only(self) -> Self {
        self.with(|settings| settings.repeatable = Rule::Idempotent)
    }

    /// Adds a random UUID in this header, usually `idempotency-key`, to every request that may be sent again
    /// and has none. It is the same for all attempts of a call, so that a server that knows the header acts
    /// only once.
    pub fn idempotency_key(self, header: HeaderName) -> Self {
        self.with(|settings| settings.idempotency_key = Some(header))
    }

    /// Adds a header with the number of earlier attempts, from 0 on, as the official SDKs do with
    /// `x-stainless-retry-count`. A number that the request contains already is added to.
    pub fn retry_count(self, header: HeaderName) -> Self {
        self.with(|settings| settings.retry_count = Some(header))
    }

    /// Sets whether to disable itself inside an outer retry. Default: `true`, to avoid multiplying attempts:
    /// five attempts inside five are twenty-five.
    ///
    /// Inside an outer retry means: in an attempt of a retry layer of this crate, or of [`run`](Self::run),
    /// even if that attempt is about something else. The outer layer alone decides then: with
    /// [`EveryError`](crate::EveryError) it does not retry a response with status 503.
    pub fn stand_down(self, stand_down: bool) -> Self {
        self.with(|settings| settings.stands_down = stand_down)
    }

    /// Marks failures that are handed out with `x-should-retry: false`: for gateways, so that the SDK of the
    /// client in front does not start over. Failures that this layer did not try to retry are not marked:
    /// cancelled, not repeatable, left to an outer layer.
    pub fn mark_final_failures(self) -> Self {
        self.with(|settings| settings.marks_final = true)
    }

    /// Sets whether a failed response is drained before its retry, so that its connection can be reused.
    /// Default: `true`. See [`Discard`](crate::Discard). With `false` it is dropped.
    pub fn drain(self, drain: bool) -> Self {
        self.with(|settings| settings.drains = drain)
    }

    /// Sets the observer of attempts, retries and calls given up. It replaces the default,
    /// [`LogEvents`](aplomb_core::LogEvents); pass a tuple to have both, and `()` for none.
    pub fn observer(self, observer: impl Observe + 'static) -> Self {
        self.with(|settings| settings.observer = Some(Arc::new(observer)))
    }
}

/// Replay and classifier.
impl<K: Clone, C: Clone> RetryLayer<K, C> {
    /// Sets how a request is sent again. Default: [`Copied`].
    pub fn replay<K2>(self, replay: K2) -> RetryLayer<K2, C> {
        let Config { classifier, settings, .. } = self.into_config();
        Config { replay, classifier, settings }.into()
    }

    /// Sets how results are classified. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> RetryLayer<K, C2> {
        let Config { replay, settings, .. } = self.into_config();
        Config { replay, classifier, settings }.into()
    }
}

impl<S, K, C> Layer<S> for RetryLayer<K, C> {
    type Service = Retry<S, K, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(inner, Arc::clone(&self.config))
    }
}

impl<K, C> From<Config<K, C>> for RetryLayer<K, C> {
    fn from(config: Config<K, C>) -> Self {
        Self { config: Arc::new(config) }
    }
}

impl<K, C> Clone for RetryLayer<K, C> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config) }
    }
}

impl<K, C> fmt::Debug for RetryLayer<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RetryLayer").field(&self.config.settings).finish()
    }
}
