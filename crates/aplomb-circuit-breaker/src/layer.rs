//! The layer: configuration.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use aplomb_admission::{
    Admission, AdmissionConfig, Configured, Entries, ErasedKey, HeadPolicy, KeyBy, OnBodyEnd, OnHead,
    QueueLimits,
};
use aplomb_core::{HttpClassifier, LogEvents, Observe, RequestView};
use tower_layer::Layer;

use crate::circuits::{Circuits, Config};
use crate::{CircuitHandle, CircuitSettings, Cooldown, OnAbandoned, OnOpen, Probes, Ramp, Trip};

/// Stops sending calls to a server that keeps failing.
///
/// See the [crate's documentation](crate) for what clones share, what dropping does, and where it goes in a stack.
///
/// The layer is configuration. Its circuit, or the map of circuits by key, is made when the layer is first used: by
/// [`layer`](Layer::layer), or through a [handle](Self::handle). Clones share it. A setter changes nothing that runs: on
/// a layer that has been used, and on a clone, it makes a layer with circuits of its own, and handles taken before
/// belong to the old ones. Handles taken before the first use follow the layer.
#[derive(Clone)]
#[must_use]
pub struct CircuitBreakerLayer<C = HttpClassifier, U = OnHead> {
    config: Configured<Circuits>,
    classifier: C,
    completion: U,
}

/// A service behind a circuit, or behind one for each key. Made by [`CircuitBreakerLayer`].
///
/// It is always ready; the inner service is readied just before it is called. Clones share the circuits. Dropping the
/// future of a call takes the call back: it counts neither as a success nor as a failure, unless [`OnAbandoned`] says
/// otherwise.
pub type CircuitBreaker<S, C = HttpClassifier, U = OnHead> = Admission<S, HeadPolicy<Circuits>, C, U>;

impl CircuitBreakerLayer {
    /// One circuit for all calls, with the defaults of [`CircuitSettings`].
    pub fn new() -> Self {
        Self {
            config: Configured::new(Config::default()),
            classifier: HttpClassifier::new(),
            completion: OnHead,
        }
    }
}

/// The circuit.
impl<C, U> CircuitBreakerLayer<C, U> {
    /// Sets everything about the circuit at once.
    pub fn settings(self, settings: CircuitSettings) -> Self {
        self.with(|config| config.settings = Arc::new(settings))
    }

    /// Sets what opens the circuit.
    pub fn trip(self, trip: Trip) -> Self {
        self.set(|settings| settings.trip(trip))
    }

    /// Sets how long it stays open.
    pub fn cooldown(self, cooldown: impl Into<Cooldown>) -> Self {
        self.set(|settings| settings.cooldown(cooldown))
    }

    /// Sets how it finds out whether the server is back: [`Probes`], or just their number at a time.
    pub fn probes(self, probes: impl Into<Probes>) -> Self {
        self.set(|settings| settings.probes(probes))
    }

    /// Sets how it admits callers after it has closed.
    pub fn ramp(self, ramp: Ramp) -> Self {
        self.set(|settings| settings.ramp(ramp))
    }

    /// Sets what happens to calls that it does not admit. Default: they are rejected.
    pub fn on_open(self, on_open: OnOpen) -> Self {
        self.set(|settings| settings.on_open(on_open))
    }

    /// Sets the meaning of a call that is dropped before it was answered, as by an outer timeout. Default: none.
    pub fn on_abandoned(self, on_abandoned: OnAbandoned) -> Self {
        self.set(|settings| settings.on_abandoned(on_abandoned))
    }

    /// Makes the jitter of cooldowns repeatable, for tests.
    pub fn seed(self, seed: u64) -> Self {
        self.set(|settings| settings.seed(seed))
    }

    /// Sets how many calls may be parked, if they are; one more is rejected. Default: 65,536, for each key.
    pub fn max_parked(self, calls: usize) -> Self {
        self.with(|config| config.limits = config.limits.max_waiting(calls))
    }

    /// Sets the observer of transitions and rejections. It is called outside of any lock, and may use a handle. Default:
    /// [`LogEvents`].
    pub fn observer(self, observer: impl Observe + 'static) -> Self {
        self.with(|config| config.observer = Arc::new(observer))
    }

    fn set(self, change: impl FnOnce(CircuitSettings) -> CircuitSettings) -> Self {
        self.with(|config| {
            let settings = Arc::make_mut(&mut config.settings);
            *settings = change(std::mem::take(settings));
        })
    }

    fn with(self, change: impl FnOnce(&mut Config)) -> Self {
        Self { config: self.config.with(change), ..self }
    }
}

/// A circuit for each key.
impl<C, U> CircuitBreakerLayer<C, U> {
    /// Gives each key a circuit of its own: a host, a model, a tenant. `key_of` returns the key of a request; a
    /// [`CallKey`](aplomb_core::CallKey) of the same type in its extensions takes precedence.
    ///
    /// Keys may be secret: errors and events show a hash of them. See [`by_public_key`](Self::by_public_key).
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_circuit_breaker::CircuitBreakerLayer;
    /// use aplomb_core::RequestView;
    ///
    /// let layer = CircuitBreakerLayer::new()
    ///     .by_public_key(|request: &RequestView<'_>| request.host().unwrap_or_default().to_owned());
    /// let circuits = layer.handle();
    /// assert!(circuits.snapshots().is_empty());
    /// ```
    pub fn by_key<K>(self, key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.by(KeyBy::secret(key_of))
    }

    /// The same for keys that may be shown in errors and events.
    pub fn by_public_key<K>(self, key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static) -> Self
    where
        K: Hash + Eq + Clone + fmt::Display + Send + Sync + 'static,
    {
        self.by(KeyBy::public(key_of))
    }

    /// The same for each account: the server and the credential, of which only a hash is kept. Three refusals of a
    /// credential in a row open its circuit, see [`Trip::unauthorized`].
    pub fn by_account(self) -> Self {
        self.by(KeyBy::account()).with(|config| config.one_credential = true)
    }

    /// As [`by_key`](Self::by_key), with settings of its own for each key, instead of those of the layer.
    ///
    /// `settings_of` is called when a key is first used, and again after its circuit was evicted; outside of any lock.
    pub fn by_key_with<K>(
        self,
        key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
        settings_of: impl Fn(&K) -> CircuitSettings + Send + Sync + 'static,
    ) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.by_key(key_of).settings_of(settings_of)
    }

    /// As [`by_public_key`](Self::by_public_key), with settings of its own for each key, instead of those of the layer.
    pub fn by_public_key_with<K>(
        self,
        key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
        settings_of: impl Fn(&K) -> CircuitSettings + Send + Sync + 'static,
    ) -> Self
    where
        K: Hash + Eq + Clone + fmt::Display + Send + Sync + 'static,
    {
        self.by_public_key(key_of).settings_of(settings_of)
    }

    /// Sets the number of keys. Default: 100,000. If there are as many and none can be evicted, a call with another key
    /// is rejected. No effect without keys.
    pub fn max_keys(self, keys: usize) -> Self {
        self.with(|config| config.max_keys = keys)
    }

    fn by(self, by: KeyBy) -> Self {
        self.with(|config| {
            config.key_by = Some(by);
            config.settings_of = None;
            config.one_credential = false;
        })
    }

    fn settings_of<K: 'static>(
        self,
        settings_of: impl Fn(&K) -> CircuitSettings + Send + Sync + 'static,
    ) -> Self {
        let settings_of = move |key: &dyn ErasedKey| key.as_any().downcast_ref().map(&settings_of);
        self.with(|config| config.settings_of = Some(Arc::new(settings_of)))
    }
}

/// The calls.
impl<C, U> CircuitBreakerLayer<C, U> {
    /// Sets the classifier of responses and errors. Default: [`HttpClassifier`], the rules of HTTP. The circuits stay
    /// those of this layer.
    pub fn classifier<D>(self, classifier: D) -> CircuitBreakerLayer<D, U> {
        let Self { config, completion, .. } = self;
        CircuitBreakerLayer { config, classifier, completion }
    }

    /// Makes a call last until its response's body has ended, instead of until its head: a body that breaks off is a
    /// failure. A probe is judged at its first content. The circuits stay those of this layer.
    pub fn until_body_end(self) -> CircuitBreakerLayer<C, OnBodyEnd> {
        let Self { config, classifier, .. } = self;
        CircuitBreakerLayer { config, classifier, completion: OnBodyEnd }
    }

    /// A handle, to read and to switch the circuits.
    #[must_use]
    pub fn handle(&self) -> CircuitHandle {
        CircuitHandle(self.config.handle().clone())
    }
}

impl<S, C: Clone, U: Clone> Layer<S> for CircuitBreakerLayer<C, U> {
    type Service = CircuitBreaker<S, C, U>;

    fn layer(&self, inner: S) -> Self::Service {
        let policy = HeadPolicy::new(self.config.state().clone());
        let config = AdmissionConfig::new(policy, self.classifier.clone(), self.completion.clone());
        Admission::new(inner, Arc::new(config))
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<C, U> fmt::Debug for CircuitBreakerLayer<C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            settings: Arc::default(),
            settings_of: None,
            one_credential: false,
            limits: QueueLimits::new(),
            observer: Arc::new(LogEvents),
            key_by: None,
            max_keys: Entries::<crate::Circuit>::MAX_KEYS,
        }
    }
}
