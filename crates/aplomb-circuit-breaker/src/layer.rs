//! The layer: configuration, and the circuits that its services share.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use aplomb_admission::{
    Admission, AdmissionConfig, Entries, ErasedKey, KeyBy, LayerState, OnBodyEnd, OnHead, QueueLimits,
};
use aplomb_core::{Account, HttpClassifier, LogEvents, Observe, RequestView};
use tower_layer::Layer;

use crate::policy::CircuitPolicy;
use crate::{
    Circuit, CircuitBreaker, CircuitHandle, Cooldown, OnAbandoned, OnOpen, Probes, Ramp, StateWatch, Trip,
};

/// Stops calling a peer that keeps failing: all calls have one circuit, or each key has its own.
///
/// It is configuration: a setter changes nothing that runs. See the [crate's documentation](crate) for what clones share,
/// what dropping does, and where it goes in a stack.
///
/// # Examples
///
/// A circuit for each host, which none of the others affects:
///
/// ```
/// use aplomb_circuit_breaker::{CircuitBreakerLayer, CircuitState};
/// use aplomb_core::RequestView;
///
/// let layer = CircuitBreakerLayer::new()
///     .by_public_key(|request: &RequestView| request.host().unwrap_or_default().to_owned());
/// let circuits = layer.handle();
/// # use tower::{Service, ServiceBuilder, service_fn};
/// # let _ = ServiceBuilder::new().layer(layer).service(service_fn(|_: http::Request<String>| async {
/// #     Ok::<_, tower::BoxError>(http::Response::new(()))
/// # })).call(http::Request::new(String::new()));
/// // Before maintenance:
/// circuits.of(&"api.example.com".to_owned()).unwrap().isolate();
/// assert_eq!(circuits.snapshots()[0].1.state(), CircuitState::Isolated);
/// ```
#[derive(Clone)]
#[must_use]
pub struct CircuitBreakerLayer<C = HttpClassifier, U = OnHead> {
    settings: LayerSettings,
    /// Shared by clones, and by what they make.
    state: LayerState<CircuitHandle>,
    classifier: C,
    completion: U,
}

pub(crate) type Observer = Arc<dyn Observe + Send + Sync>;

#[derive(Clone)]
struct LayerSettings {
    /// Only its settings count. Locked, since a rule of a circuit need not be `Sync`.
    circuit: Arc<Mutex<Circuit>>,
    circuit_of: Option<Arc<CircuitOf>>,
    key_by: Option<KeyBy>,
    max_keys: usize,
    limits: QueueLimits,
    observer: Observer,
}

type CircuitOf = dyn Fn(&dyn ErasedKey) -> Option<Circuit> + Send + Sync;

impl LayerSettings {
    fn handle(&self) -> CircuitHandle {
        let (circuit, circuit_of) = (Arc::clone(&self.circuit), self.circuit_of.clone());
        let make = move |key: Option<&dyn ErasedKey>| {
            if let Some(own) = key.and_then(|key| circuit_of.as_ref()?(key)) {
                return own;
            }
            match key {
                // All calls of an account carry the same credential.
                Some(key) if key.as_any().is::<Account>() => fresh(&circuit).one_credential(),
                _ => fresh(&circuit),
            }
        };
        let watch = StateWatch::new();
        let events = crate::event::events_to(watch.clone(), Arc::clone(&self.observer));
        let entries = match &self.key_by {
            None => Entries::one(make(None), self.limits, events),
            Some(by) => {
                Entries::keyed(by.clone(), self.max_keys, self.limits, move |key| make(Some(key)), events)
            }
        };
        CircuitHandle::new(entries, watch)
    }
}

/// A circuit with the same settings.
fn fresh(circuit: &Mutex<Circuit>) -> Circuit {
    circuit.lock().unwrap_or_else(PoisonError::into_inner).fresh()
}

impl CircuitBreakerLayer {
    /// A closed circuit with the defaults of [`Trip`], [`Cooldown`], [`Probes`], [`Ramp`], [`OnOpen`] and
    /// [`OnAbandoned`].
    pub fn new() -> Self {
        Self {
            settings: LayerSettings {
                circuit: Arc::new(Mutex::new(Circuit::new())),
                circuit_of: None,
                key_by: None,
                max_keys: Entries::<Circuit>::MAX_KEYS,
                limits: QueueLimits::new(),
                observer: Arc::new(LogEvents),
            },
            state: LayerState::new(),
            classifier: HttpClassifier::new(),
            completion: OnHead,
        }
    }
}

impl<C, U> CircuitBreakerLayer<C, U> {
    /// Gives each key a circuit of its own. The key is shown as a hash.
    ///
    /// A [`CallKey`](aplomb_core::CallKey) of the same type in the extensions of a request takes precedence.
    pub fn by_key<K>(self, key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.keyed(KeyBy::secret(key_of))
    }

    /// Gives each key a circuit of its own. The key is shown in errors and events.
    pub fn by_public_key<K>(self, key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static) -> Self
    where
        K: Hash + Eq + Clone + fmt::Display + Send + Sync + 'static,
    {
        self.keyed(KeyBy::public(key_of))
    }

    /// Gives each [`Account`], the server and the credential, a circuit of its own.
    pub fn by_account(self) -> Self {
        self.by_public_key(|request: &RequestView<'_>| -> Account { request.account() })
    }

    /// Gives each key a circuit of its own, with these settings. The key is shown as a hash.
    ///
    /// `circuit_of` is called when a key comes into use, outside of any lock.
    pub fn by_key_with<K>(
        mut self,
        key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
        circuit_of: impl Fn(&K) -> Circuit + Send + Sync + 'static,
    ) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.settings.circuit_of = Some(Arc::new(move |key| key.as_any().downcast_ref().map(&circuit_of)));
        self.keyed(KeyBy::secret(key_of))
    }

    fn keyed(mut self, by: KeyBy) -> Self {
        self.settings.key_by = Some(by);
        self.anew()
    }

    /// Sets how many keys there may be. Default: 100,000. If there are more, the one that is worth the least is forgotten,
    /// open circuits last; if all are in use, calls with another one are rejected.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.settings.max_keys = keys;
        self.anew()
    }

    /// Sets what opens the circuit.
    pub fn trip(self, trip: Trip) -> Self {
        self.with_circuit(|circuit| circuit.trip(trip))
    }

    /// Sets how long it stays open.
    pub fn cooldown(self, cooldown: impl Into<Cooldown>) -> Self {
        self.with_circuit(|circuit| circuit.cooldown(cooldown))
    }

    /// Sets how it finds out whether the peer is back: [`Probes`], or just how many at once.
    pub fn probes(self, probes: impl Into<Probes>) -> Self {
        self.with_circuit(|circuit| circuit.probes(probes))
    }

    /// Sets how it admits callers after it has closed.
    pub fn ramp(self, ramp: Ramp) -> Self {
        self.with_circuit(|circuit| circuit.ramp(ramp))
    }

    /// Sets what a call says that is dropped before its response, as by a timeout outside. Default: nothing.
    pub fn on_abandoned(self, on_abandoned: OnAbandoned) -> Self {
        self.with_circuit(|circuit| circuit.on_abandoned(on_abandoned))
    }

    /// Sets what happens to calls while it is open. Default: they are rejected.
    pub fn on_open(self, on_open: OnOpen) -> Self {
        self.with_circuit(|circuit| circuit.on_open(on_open))
    }

    /// Sets how many calls may be parked. Default: 65,536.
    pub fn max_parked(mut self, calls: usize) -> Self {
        self.settings.limits = self.settings.limits.max_waiting(calls);
        self.anew()
    }

    /// Makes the spread of the cooldowns repeatable, for tests.
    pub fn seed(self, seed: u64) -> Self {
        self.with_circuit(|circuit| circuit.seed(seed))
    }

    /// Sets the observer of transitions and rejections. Default: they are logged. It is called outside of any lock, so it may
    /// use a handle.
    pub fn observer(mut self, observer: impl Observe + Send + Sync + 'static) -> Self {
        self.settings.observer = Arc::new(observer);
        self.anew()
    }

    /// Sets the classifier of responses and errors. Default: the rules of HTTP.
    pub fn classifier<D>(self, classifier: D) -> CircuitBreakerLayer<D, U> {
        let Self { settings, state, completion, .. } = self;
        CircuitBreakerLayer { settings, state, classifier, completion }
    }

    /// Lets a call last until the body of its response has ended, instead of until its head: a body that breaks off is a
    /// failure. A probe is judged at its first content.
    pub fn until_body_end(self) -> CircuitBreakerLayer<C, OnBodyEnd> {
        let Self { settings, state, classifier, .. } = self;
        CircuitBreakerLayer { settings, state, classifier, completion: OnBodyEnd }
    }

    /// A handle on the circuits.
    #[must_use]
    pub fn handle(&self) -> CircuitHandle {
        self.state.get_or_make(|| self.settings.handle()).clone()
    }

    fn with_circuit(mut self, change: impl FnOnce(Circuit) -> Circuit) -> Self {
        self.settings.circuit = Arc::new(Mutex::new(change(fresh(&self.settings.circuit))));
        self.anew()
    }

    /// Settings that clones made before do not have.
    fn anew(mut self) -> Self {
        self.state = LayerState::new();
        self
    }
}

impl<S, C: Clone, U: Clone> Layer<S> for CircuitBreakerLayer<C, U> {
    type Service = CircuitBreaker<S, C, U>;

    fn layer(&self, inner: S) -> Self::Service {
        let policy = CircuitPolicy::new(self.handle().entries().clone(), self.settings.observer.clone());
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
        f.debug_struct("CircuitBreakerLayer").field("state", &self.state).finish_non_exhaustive()
    }
}
