//! The layer: configuration.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use aplomb_admission::{
    Admission, AdmissionConfig, Configured, HeadPolicy, KeyBy, OnBodyEnd, OnHead, QueueLimits,
};
use aplomb_core::{HttpClassifier, Observe, RequestView};
use tower_layer::Layer;

use crate::limits::{Config, Limits};
use crate::{ConcurrencyLimiter, Limit, Slots};

/// Limits how many calls are in flight, and finds the limit by itself if it is [adaptive](crate::Adaptive).
///
/// See the [crate's documentation](crate) for what clones share, what dropping does and where it goes in a stack.
///
/// The layer is configuration. Its limit, or the map of limits by key, is made when the layer is first used: by
/// [`layer`](Layer::layer), or through a [limiter](Self::limiter). Clones share it. A setter changes nothing that runs: on
/// a layer that has been used, and on a clone, it makes a layer with limits of its own, and limiters taken before belong to
/// the old ones. Limiters taken before the first use follow the layer.
#[derive(Clone)]
#[must_use]
pub struct ConcurrencyLimitLayer<C = HttpClassifier, U = OnBodyEnd> {
    config: Configured<Limits>,
    classifier: C,
    completion: U,
}

/// A service behind a concurrency limit, or behind one for each key. Made by [`ConcurrencyLimitLayer`].
///
/// It is always ready; the inner service is readied just before it is called. Clones share the limits.
pub type ConcurrencyLimit<S, C = HttpClassifier, U = OnBodyEnd> = Admission<S, HeadPolicy<Limits>, C, U>;

impl ConcurrencyLimitLayer {
    /// One limit for all calls: a number, or an [`Adaptive`](crate::Adaptive) one.
    pub fn new(limit: impl Into<Limit>) -> Self {
        Self::with_config(Configured::new(Config::new(limit.into())))
    }

    /// Limits calls by a limiter that is shared with others. A setter makes a layer with limits of its own.
    pub fn with_limiter(limiter: ConcurrencyLimiter) -> Self {
        Self::with_config(Configured::of(limiter.0))
    }

    fn with_config(config: Configured<Limits>) -> Self {
        Self { config, classifier: HttpClassifier::new(), completion: OnBodyEnd }
    }
}

/// The limit and its queue.
impl<C, U> ConcurrencyLimitLayer<C, U> {
    /// Sets how long a call that was abandoned before it was answered counts as in flight, at most. Default: 30 s if the
    /// limit is adaptive, 0 if it is fixed.
    pub fn abandoned(self, max: Duration) -> Self {
        self.with(|config| config.abandoned = Some(max))
    }

    /// Sets how long a call may wait. One that would wait longer is rejected immediately if that can be predicted, and at
    /// the timeout otherwise; with zero, no call waits. Default: as long as its own deadline allows.
    pub fn max_wait(self, wait: Duration) -> Self {
        self.with(|config| config.queue = config.queue.max_wait(wait))
    }

    /// Sets how many calls may wait; one more is rejected. Default: 65,536, for each key.
    pub fn max_waiting(self, calls: usize) -> Self {
        self.with(|config| config.queue = config.queue.max_waiting(calls))
    }

    /// Sets all limits of the queue at once.
    pub fn queue_limits(self, limits: QueueLimits) -> Self {
        self.with(|config| config.queue = limits)
    }

    /// Sets the observer of changes and rejections. It is called outside of any lock, and may use a limiter. Default:
    /// [`LogEvents`](aplomb_core::LogEvents).
    pub fn observer(self, observer: impl Observe + 'static) -> Self {
        self.with(|config| config.observer = Arc::new(observer))
    }

    fn with(self, change: impl FnOnce(&mut Config)) -> Self {
        Self { config: self.config.with(change), ..self }
    }
}

/// A limit for each key.
impl<C, U> ConcurrencyLimitLayer<C, U> {
    /// Gives each key a limit of its own: a host, a model, a deployment. `key_of` returns the key of a request; a
    /// [`CallKey`](aplomb_core::CallKey) of the same type in its extensions takes precedence.
    ///
    /// Keys may be secret: errors and events show a hash of them. See [`by_public_key`](Self::by_public_key).
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_concurrency::{Adaptive, ConcurrencyLimitLayer};
    /// use aplomb_core::RequestView;
    ///
    /// let layer = ConcurrencyLimitLayer::new(Adaptive::new())
    ///     .by_public_key(|request: &RequestView<'_>| request.host().unwrap_or_default().to_owned());
    /// let limiter = layer.limiter();
    /// assert!(limiter.snapshots().is_empty());
    /// ```
    pub fn by_key<K>(self, key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.with(|config| config.key_by = Some(KeyBy::secret(key_of)))
    }

    /// The same for keys that may be shown in errors and events.
    pub fn by_public_key<K>(self, key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static) -> Self
    where
        K: Hash + Eq + Clone + fmt::Display + Send + Sync + 'static,
    {
        self.with(|config| config.key_by = Some(KeyBy::public(key_of)))
    }

    /// The same for each account: the server and the credential, of which only a hash is kept.
    pub fn by_account(self) -> Self {
        self.with(|config| config.key_by = Some(KeyBy::account()))
    }

    /// As [`by_key`](Self::by_key), with a limit set separately for each key: a number, an [`Adaptive`](crate::Adaptive) one,
    /// a [`Limit`], or [`Slots`] if there is more to set.
    ///
    /// `limit_of` is called when a key is first used, and again after its limit was evicted; outside of any lock.
    pub fn by_key_with<K, L: Into<Slots>>(
        self,
        key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
        limit_of: impl Fn(&K) -> L + Send + Sync + 'static,
    ) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.by_key(key_of).limit_of(limit_of)
    }

    /// As [`by_public_key`](Self::by_public_key), with a limit set separately for each key.
    pub fn by_public_key_with<K, L: Into<Slots>>(
        self,
        key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
        limit_of: impl Fn(&K) -> L + Send + Sync + 'static,
    ) -> Self
    where
        K: Hash + Eq + Clone + fmt::Display + Send + Sync + 'static,
    {
        self.by_public_key(key_of).limit_of(limit_of)
    }

    /// Sets the number of keys. Default: 100,000. If there are as many and none can be evicted, a call with another key
    /// is rejected. No effect without keys.
    pub fn max_keys(self, keys: usize) -> Self {
        self.with(|config| config.max_keys = keys)
    }

    fn limit_of<K: 'static, L: Into<Slots>>(
        self,
        limit_of: impl Fn(&K) -> L + Send + Sync + 'static,
    ) -> Self {
        self.with(|config| {
            let common = Arc::clone(&config.slots_of);
            config.slots_of = Arc::new(move |key| match key.and_then(|key| key.as_any().downcast_ref()) {
                Some(key) => limit_of(key).into(),
                None => common(key),
            });
        })
    }
}

/// The calls.
impl<C, U> ConcurrencyLimitLayer<C, U> {
    /// Sets the classifier of responses and errors. Default: [`HttpClassifier`], the rules of HTTP. The limits stay those
    /// of this layer.
    pub fn classifier<D>(self, classifier: D) -> ConcurrencyLimitLayer<D, U> {
        let Self { config, completion, .. } = self;
        ConcurrencyLimitLayer { config, classifier, completion }
    }

    /// Makes a call last only until the head of its response, instead of until the end of its body: for responses without
    /// one. The limits stay those of this layer.
    pub fn until_head(self) -> ConcurrencyLimitLayer<C, OnHead> {
        let Self { config, classifier, .. } = self;
        ConcurrencyLimitLayer { config, classifier, completion: OnHead }
    }

    /// The limiter: to read, change, close and share the limits.
    #[must_use]
    pub fn limiter(&self) -> ConcurrencyLimiter {
        ConcurrencyLimiter(self.config.handle().clone())
    }
}

impl<S, C: Clone, U: Clone> Layer<S> for ConcurrencyLimitLayer<C, U> {
    type Service = ConcurrencyLimit<S, C, U>;

    fn layer(&self, inner: S) -> Self::Service {
        let policy = HeadPolicy::new(self.config.state().clone());
        let config = AdmissionConfig::new(policy, self.classifier.clone(), self.completion.clone());
        Admission::new(inner, Arc::new(config))
    }
}

impl<C, U> fmt::Debug for ConcurrencyLimitLayer<C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLimitLayer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
