//! The layer: configuration, and the circuit that all its services share.

use std::fmt;
use std::sync::Arc;

use aplomb_admission::{Admission, AdmissionConfig, OnBodyEnd, OnHead, Queue, QueueLimits};
use aplomb_core::{HttpClassifier, Observe};
use tower_layer::Layer;

use crate::{
    Circuit, CircuitBreaker, CircuitDoor, CircuitHandle, Cooldown, OnAbandoned, OnOpen, Probes, Ramp,
    StateWatch, Transition, Trip,
};

/// Stops asking a peer that keeps failing.
///
/// See the [crate's documentation](crate) for what clones share, what dropping does, and where it goes
/// in a stack.
///
/// The setters that change the circuit or its observer start a circuit of its own: set everything
/// first, then take [handles](Self::handle) and clones.
#[derive(Clone)]
#[must_use]
pub struct CircuitBreakerLayer<C = HttpClassifier, U = OnHead> {
    queue: Queue<Circuit>,
    limits: QueueLimits,
    observer: Arc<dyn Observe<Transition> + Send + Sync>,
    watch: StateWatch,
    classifier: C,
    until: U,
}

impl CircuitBreakerLayer {
    /// A closed circuit with the defaults of [`Trip`], [`Cooldown`], [`Probes`], [`Ramp`], [`OnOpen`] and
    /// [`OnAbandoned`].
    pub fn new() -> Self {
        let watch = StateWatch::new();
        Self {
            queue: Queue::new(Circuit::new(), QueueLimits::new(), watch.clone()),
            limits: QueueLimits::new(),
            observer: Arc::new(()),
            watch,
            classifier: HttpClassifier::new(),
            until: OnHead,
        }
    }
}

impl<C, U> CircuitBreakerLayer<C, U> {
    /// Sets what opens the circuit.
    pub fn trip(self, trip: Trip) -> Self {
        self.start(|circuit| circuit.trip(trip))
    }

    /// Sets how long it stays open.
    pub fn cooldown(self, cooldown: impl Into<Cooldown>) -> Self {
        self.start(|circuit| circuit.cooldown(cooldown))
    }

    /// Sets how it finds out whether the peer is back: [`Probes`], or just how many at once.
    pub fn probes(self, probes: impl Into<Probes>) -> Self {
        self.start(|circuit| circuit.probes(probes))
    }

    /// Sets how it lets its callers in when it has closed.
    pub fn ramp(self, ramp: Ramp) -> Self {
        self.start(|circuit| circuit.ramp(ramp))
    }

    /// Sets what a call says that is dropped before it was answered, as a timeout outside does. Nothing,
    /// unless set.
    pub fn on_abandoned(self, on_abandoned: OnAbandoned) -> Self {
        self.start(|circuit| circuit.on_abandoned(on_abandoned))
    }

    /// Sets what becomes of calls while it is open. They are refused, unless set.
    pub fn on_open(self, on_open: OnOpen) -> Self {
        self.start(|circuit| circuit.on_open(on_open))
    }

    /// Sets how many calls may be parked, where they are; one more is refused. 65,536 unless set.
    pub fn max_parked(mut self, calls: usize) -> Self {
        self.limits = self.limits.max_waiting(calls);
        self.start(|circuit| circuit)
    }

    /// Makes the spread of the cooldowns repeatable, for tests.
    pub fn seed(self, seed: u64) -> Self {
        self.start(|circuit| circuit.seed(seed))
    }

    /// Sets who is told of each [`Transition`]. It is called outside of any lock, so it may use a
    /// handle. [`TracingObserver`](crate::TracingObserver) writes to the log.
    pub fn observer(mut self, observer: impl Observe<Transition> + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observer);
        self.start(|circuit| circuit)
    }

    /// Sets who judges responses and errors. Unless set, the rules of HTTP.
    pub fn classifier<D>(self, classifier: D) -> CircuitBreakerLayer<D, U> {
        let Self { queue, limits, observer, watch, until, .. } = self;
        CircuitBreakerLayer { queue, limits, observer, watch, classifier, until }
    }

    /// Lets a call last until its response's body has ended, instead of until its head: a body that
    /// breaks off is a failure. A probe is judged at its first content.
    pub fn until_body_end(self) -> CircuitBreakerLayer<C, OnBodyEnd> {
        let Self { queue, limits, observer, watch, classifier, .. } = self;
        CircuitBreakerLayer { queue, limits, observer, watch, classifier, until: OnBodyEnd }
    }

    /// A handle on the circuit.
    #[must_use]
    pub fn handle(&self) -> CircuitHandle {
        CircuitHandle::new(self.queue.clone(), self.watch.clone())
    }

    fn start(mut self, change: impl FnOnce(Circuit) -> Circuit) -> Self {
        let circuit = change(self.queue.with(|circuit, _| circuit.fresh()));
        self.watch = StateWatch::new();
        let observers = (self.watch.clone(), Arc::clone(&self.observer));
        self.queue = Queue::new(circuit, self.limits, observers);
        self
    }
}

impl<S, C: Clone, U: Clone> Layer<S> for CircuitBreakerLayer<C, U> {
    type Service = CircuitBreaker<S, C, U>;

    fn layer(&self, inner: S) -> Self::Service {
        let door = CircuitDoor::new(self.queue.clone());
        Admission::new(
            inner,
            Arc::new(AdmissionConfig::new(door, self.classifier.clone(), self.until.clone())),
        )
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
            .field("handle", &self.handle())
            .finish_non_exhaustive()
    }
}
