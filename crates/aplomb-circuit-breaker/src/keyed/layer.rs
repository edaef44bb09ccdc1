//! The layer with a circuit for each key.

use std::fmt;
use std::sync::Arc;

use aplomb_admission::{Admission, AdmissionConfig, KeyedDoor, OnBodyEnd, OnHead, Rejected, Terms};
use aplomb_core::{BoxError, CallOptions, HttpClassifier};
use tower_layer::Layer;

use super::KeyedCircuits;
use crate::service::word;
use crate::{Circuit, CircuitBreakerLayer, OpenReason};

/// Stops asking the peer of a key that keeps failing. Made by [`CircuitBreakerLayer::keyed`].
///
/// The key is what `key_of` finds in a request, or the [`CallKey`](aplomb_core::CallKey) in its extensions.
/// A refusal is [`CircuitOpen`](crate::CircuitOpen), which carries the key, or [`TooManyKeys`](crate::TooManyKeys); either inside a
/// [`KeyRefused`](aplomb_admission::KeyRefused), which names the key as the refusals of all layers with keys do.
pub struct KeyedCircuitBreakerLayer<K, F, C = HttpClassifier, U = OnHead> {
    circuits: KeyedCircuits<K>,
    key_of: F,
    classifier: C,
    until: U,
}

/// A service behind the circuits of its requests' keys. Made by [`KeyedCircuitBreakerLayer`].
pub type KeyedCircuitBreaker<S, K, F, C = HttpClassifier, U = OnHead> =
    Admission<S, KeyedDoor<K, F, CircuitTerms, Circuit>, C, U>;

impl CircuitBreakerLayer {
    /// Gives each key a circuit of its own. `key_of` finds the key of a request: a closure
    /// `Fn(&Req) -> K`, or `Account::of` for (server, credential).
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_circuit_breaker::{Circuit, CircuitBreakerLayer, KeyedCircuits};
    ///
    /// let circuits = KeyedCircuits::new(10_000, |_: &Option<String>| Circuit::new());
    /// let layer = CircuitBreakerLayer::keyed(circuits.clone(), |request: &http::Request<String>| {
    ///     request.uri().host().map(str::to_owned)
    /// });
    /// # use tower::{Service, ServiceBuilder, service_fn};
    /// # let _ = ServiceBuilder::new().layer(layer).service(service_fn(|_: http::Request<String>| async {
    /// #     Ok::<_, tower::BoxError>(http::Response::new(()))
    /// # })).call(http::Request::new(String::new()));
    /// ```
    #[must_use]
    pub fn keyed<K, F>(circuits: KeyedCircuits<K>, key_of: F) -> KeyedCircuitBreakerLayer<K, F> {
        KeyedCircuitBreakerLayer { circuits, key_of, classifier: HttpClassifier::new(), until: OnHead }
    }
}

impl<K, F, C, U> KeyedCircuitBreakerLayer<K, F, C, U> {
    /// Sets who judges responses and errors. Unless set, the rules of HTTP.
    #[must_use]
    pub fn classifier<D>(self, classifier: D) -> KeyedCircuitBreakerLayer<K, F, D, U> {
        let Self { circuits, key_of, until, .. } = self;
        KeyedCircuitBreakerLayer { circuits, key_of, classifier, until }
    }

    /// Lets a call last until its response's body has ended, as
    /// [`CircuitBreakerLayer::until_body_end`] does.
    #[must_use]
    pub fn until_body_end(self) -> KeyedCircuitBreakerLayer<K, F, C, OnBodyEnd> {
        let Self { circuits, key_of, classifier, .. } = self;
        KeyedCircuitBreakerLayer { circuits, key_of, classifier, until: OnBodyEnd }
    }

    /// The circuits, to read, to switch, and to share.
    pub const fn circuits(&self) -> &KeyedCircuits<K> {
        &self.circuits
    }
}

impl<S, K, F: Clone, C: Clone, U: Clone> Layer<S> for KeyedCircuitBreakerLayer<K, F, C, U> {
    type Service = KeyedCircuitBreaker<S, K, F, C, U>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { circuits, key_of, classifier, until } = self.clone();
        let door = KeyedDoor::new(circuits.queues().clone(), key_of, CircuitTerms(()));
        Admission::new(inner, Arc::new(AdmissionConfig::new(door, classifier, until)))
    }
}

impl<K, F: Clone, C: Clone, U: Clone> Clone for KeyedCircuitBreakerLayer<K, F, C, U> {
    fn clone(&self) -> Self {
        Self {
            circuits: self.circuits.clone(),
            key_of: self.key_of.clone(),
            classifier: self.classifier.clone(),
            until: self.until.clone(),
        }
    }
}

impl<K, F, C, U> fmt::Debug for KeyedCircuitBreakerLayer<K, F, C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreakerLayer")
            .field("circuits", &self.circuits)
            .finish_non_exhaustive()
    }
}

/// Words the refusals of circuits, whatever their key.
#[derive(Clone, Copy, Debug)]
pub struct CircuitTerms(());

impl<Req> Terms<Req> for CircuitTerms {
    type Gate = Circuit;

    fn ask(&self, _: &Req, _: &CallOptions) {}

    fn refuse(&self, rejected: Rejected<OpenReason>, options: &CallOptions) -> BoxError {
        word(&rejected, options, None)
    }

    fn refuse_key(&self, key: &Arc<str>, rejected: Rejected<OpenReason>, options: &CallOptions) -> BoxError {
        word(&rejected, options, Some(key))
    }
}
