//! A layer that only refuses, by key.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use aplomb_admission::{KeyOf, KeyRefused};
use aplomb_core::{BoxError, CallKey, CallOptions, RequestHead};

use super::KeyedCircuits;
use crate::{Circuit, CircuitOpen, FailFastLayer, Lookout};

impl<K> KeyedCircuits<K> {
    /// A layer that refuses a call at once while the circuit of its key is open, to stand outside of a queue:
    /// see [`FailFastLayer`]. `key_of` is that of the layer inside.
    ///
    /// It makes no circuit: a call whose key has none passes.
    pub fn fail_fast<F>(&self, key_of: F) -> FailFastLayer<CircuitOfKey<K, F>> {
        FailFastLayer::new(CircuitOfKey { circuits: self.clone(), key_of })
    }
}

/// Looks for the circuit of a request's key.
pub struct CircuitOfKey<K, F> {
    circuits: KeyedCircuits<K>,
    key_of: F,
}

impl<Req, K, F> Lookout<Req> for CircuitOfKey<K, F>
where
    Req: RequestHead,
    K: Clone + Hash + Eq + fmt::Debug + Send + Sync + 'static,
    F: KeyOf<Req, K>,
{
    fn refusal(&self, request: &Req) -> Option<BoxError> {
        let key = CallKey::of(request).unwrap_or_else(|| self.key_of.key_of(request));
        let why = self.circuits.queues().get(&key)?.with(Circuit::rejection)?;
        let key: Arc<str> = format!("{key:?}").into();
        let open = CircuitOpen::at_once(why, &CallOptions::of(request)).with_key(Arc::clone(&key));
        Some(Box::new(KeyRefused::new(key, Box::new(open))))
    }
}

impl<K, F: Clone> Clone for CircuitOfKey<K, F> {
    fn clone(&self) -> Self {
        Self { circuits: self.circuits.clone(), key_of: self.key_of.clone() }
    }
}

impl<K, F> fmt::Debug for CircuitOfKey<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitOfKey").field("circuits", &self.circuits).finish_non_exhaustive()
    }
}
