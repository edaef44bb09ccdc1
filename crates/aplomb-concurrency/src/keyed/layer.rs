//! The layer with a limit for each key.

use std::fmt;
use std::sync::Arc;

use aplomb_admission::{Admission, AdmissionConfig, KeyedDoor, OnBodyEnd, OnHead, Rejected, Terms};
use aplomb_core::{BoxError, CallOptions, HttpClassifier};
use tower_layer::Layer;

use super::KeyedLimiter;
use crate::{AtCapacity, ConcurrencyLimitLayer, Occupancy, Slots};

/// Bounds how many calls of each key are in flight. Made by [`ConcurrencyLimitLayer::keyed`].
///
/// The key is what `key_of` finds in a request, or the [`CallKey`](aplomb_core::CallKey) in its extensions.
/// Refusals are [`AtCapacity`], which carries the key, inside a [`KeyRefused`](aplomb_admission::KeyRefused), which
/// names it as the refusals of all layers with keys do.
pub struct KeyedConcurrencyLimitLayer<K, F, C = HttpClassifier, U = OnBodyEnd> {
    limiter: KeyedLimiter<K>,
    key_of: F,
    classifier: C,
    until: U,
}

/// A service behind the concurrency limits of its requests' keys. Made by [`KeyedConcurrencyLimitLayer`].
pub type KeyedConcurrencyLimit<S, K, F, C = HttpClassifier, U = OnBodyEnd> =
    Admission<S, KeyedDoor<K, F, SlotsTerms, Slots>, C, U>;

impl ConcurrencyLimitLayer {
    /// Gives each key a limit of its own. `key_of` finds the key of a request: a closure `Fn(&Req) -> K`, or
    /// `Account::of` for (server, credential).
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_concurrency::{Adaptive, ConcurrencyLimitLayer, KeyedLimiter};
    ///
    /// let limiter = KeyedLimiter::new(10_000, |_: &Option<String>| Adaptive::new());
    /// let layer = ConcurrencyLimitLayer::keyed(limiter.clone(), |request: &http::Request<String>| {
    ///     request.uri().host().map(str::to_owned)
    /// });
    /// # use bytes::Bytes;
    /// # use http_body_util::Full;
    /// # use tower::{Service, ServiceBuilder, service_fn};
    /// # let _ = ServiceBuilder::new().layer(layer).service(service_fn(|_: http::Request<String>| async {
    /// #     Ok::<_, tower::BoxError>(http::Response::new(Full::<Bytes>::default()))
    /// # })).call(http::Request::new(String::new()));
    /// ```
    #[must_use]
    pub fn keyed<K, F>(limiter: KeyedLimiter<K>, key_of: F) -> KeyedConcurrencyLimitLayer<K, F> {
        KeyedConcurrencyLimitLayer { limiter, key_of, classifier: HttpClassifier::new(), until: OnBodyEnd }
    }
}

impl<K, F, C, U> KeyedConcurrencyLimitLayer<K, F, C, U> {
    /// Sets who judges responses and errors. Unless set, the rules of HTTP.
    #[must_use]
    pub fn classifier<D>(self, classifier: D) -> KeyedConcurrencyLimitLayer<K, F, D, U> {
        let Self { limiter, key_of, until, .. } = self;
        KeyedConcurrencyLimitLayer { limiter, key_of, classifier, until }
    }

    /// Lets a call last only to the head of its response, as [`ConcurrencyLimitLayer::until_head`] does.
    #[must_use]
    pub fn until_head(self) -> KeyedConcurrencyLimitLayer<K, F, C, OnHead> {
        let Self { limiter, key_of, classifier, .. } = self;
        KeyedConcurrencyLimitLayer { limiter, key_of, classifier, until: OnHead }
    }

    /// The limiter, to look at, to close, and to share.
    pub const fn limiter(&self) -> &KeyedLimiter<K> {
        &self.limiter
    }
}

impl<S, K, F: Clone, C: Clone, U: Clone> Layer<S> for KeyedConcurrencyLimitLayer<K, F, C, U> {
    type Service = KeyedConcurrencyLimit<S, K, F, C, U>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { limiter, key_of, classifier, until } = self.clone();
        let door = KeyedDoor::new(limiter.queues().clone(), key_of, SlotsTerms(()));
        Admission::new(inner, Arc::new(AdmissionConfig::new(door, classifier, until)))
    }
}

impl<K, F: Clone, C: Clone, U: Clone> Clone for KeyedConcurrencyLimitLayer<K, F, C, U> {
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            key_of: self.key_of.clone(),
            classifier: self.classifier.clone(),
            until: self.until.clone(),
        }
    }
}

impl<K, F, C, U> fmt::Debug for KeyedConcurrencyLimitLayer<K, F, C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedConcurrencyLimitLayer")
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}

/// Words the refusals of limits, whatever their key.
#[derive(Clone, Copy, Debug)]
pub struct SlotsTerms(());

impl<Req> Terms<Req> for SlotsTerms {
    type Gate = Slots;

    fn ask(&self, _: &Req, _: &CallOptions) {}

    fn refuse(&self, rejected: Rejected<Occupancy>, options: &CallOptions) -> BoxError {
        Box::new(AtCapacity::new(&rejected, options))
    }

    fn refuse_key(&self, key: &Arc<str>, rejected: Rejected<Occupancy>, options: &CallOptions) -> BoxError {
        Box::new(AtCapacity::new(&rejected, options).with_key(Arc::clone(key)))
    }
}
