//! The layer with quotas for each key.

use std::fmt;
use std::sync::Arc;

use aplomb_admission::{Admission, AdmissionConfig, KeyedDoor, OnBodyEnd, OnHead, Rejected, Terms};
use aplomb_core::{BoxError, CallOptions, HttpClassifier, WithReadings};
use tower_layer::Layer;

use super::KeyedLimiter;
use crate::limiter_gate::LimiterGate;
use crate::{Charge, Cost, PerRequest, RateLimitLayer, RateLimitReason, RateLimited};

/// Spaces requests out by the quotas of their key. Made by [`RateLimitLayer::keyed`].
///
/// The key is what `key_of` finds in a request, or the [`CallKey`](aplomb_core::CallKey) in its
/// extensions. Refusals are [`RateLimited`], inside a [`KeyRefused`](aplomb_admission::KeyRefused) that names the
/// key.
pub struct KeyedRateLimitLayer<K, F, P = PerRequest, C = HttpClassifier, U = OnHead> {
    limiter: KeyedLimiter<K>,
    key_of: F,
    cost: P,
    classifier: C,
    until: U,
}

/// A service behind the rate limits of its requests' keys. Made by [`KeyedRateLimitLayer`].
pub type KeyedRateLimit<S, K, F, P = PerRequest, C = HttpClassifier, U = OnHead> =
    Admission<S, KeyedDoor<K, F, LimitTerms<P>, LimiterGate>, C, U>;

impl RateLimitLayer {
    /// Limits the calls of each key by themselves. `key_of` finds the key of a request: a closure
    /// `Fn(&Req) -> K`, or `Account::of` for (server, credential).
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_core::Account;
    /// use aplomb_rate_limit::{KeyedLimiter, Quota, RateLimitLayer};
    ///
    /// let limiter = KeyedLimiter::new(10_000, |_: &Account| [Quota::requests_per_minute(600)]);
    /// let layer = RateLimitLayer::keyed(limiter.clone(), |request: &http::Request<String>| {
    ///     Account::of(request).with_model("small")
    /// });
    /// # use tower::{Service, ServiceBuilder, service_fn};
    /// # let _ = ServiceBuilder::new().layer(layer).service(service_fn(|_: http::Request<String>| async {
    /// #     Ok::<_, tower::BoxError>(http::Response::new(()))
    /// # })).call(http::Request::new(String::new()));
    /// ```
    #[must_use]
    pub fn keyed<K, F>(limiter: KeyedLimiter<K>, key_of: F) -> KeyedRateLimitLayer<K, F> {
        let (cost, classifier, until) = (PerRequest, HttpClassifier::new(), OnHead);
        KeyedRateLimitLayer { limiter, key_of, cost, classifier, until }
    }
}

impl<K, F, P, C, U> KeyedRateLimitLayer<K, F, P, C, U> {
    /// Sets what a call costs, as [`RateLimitLayer::cost`] does.
    #[must_use]
    pub fn cost<Q>(self, cost: Q) -> KeyedRateLimitLayer<K, F, Q, C, U> {
        let Self { limiter, key_of, classifier, until, .. } = self;
        KeyedRateLimitLayer { limiter, key_of, cost, classifier, until }
    }

    /// Sets who judges responses: a throttled one pauses every caller with the same key.
    #[must_use]
    pub fn classifier<D>(self, classifier: D) -> KeyedRateLimitLayer<K, F, P, D, U> {
        let Self { limiter, key_of, cost, until, .. } = self;
        KeyedRateLimitLayer { limiter, key_of, cost, classifier, until }
    }

    /// Sets who reads what responses say about the server's own limits, as [`RateLimitLayer::readings`]
    /// does; a key learns for itself.
    #[must_use]
    pub fn readings<R>(self, reader: R) -> KeyedRateLimitLayer<K, F, P, WithReadings<C, R>, U> {
        let Self { limiter, key_of, cost, classifier, until } = self;
        let classifier = WithReadings::new(classifier, reader);
        KeyedRateLimitLayer { limiter, key_of, cost, classifier, until }
    }

    /// Lets a call last until its response's body has ended, instead of until its head.
    #[must_use]
    pub fn until_body_end(self) -> KeyedRateLimitLayer<K, F, P, C, OnBodyEnd> {
        let Self { limiter, key_of, cost, classifier, .. } = self;
        KeyedRateLimitLayer { limiter, key_of, cost, classifier, until: OnBodyEnd }
    }

    /// The limiter, to look at, to close, and to share.
    pub const fn limiter(&self) -> &KeyedLimiter<K> {
        &self.limiter
    }
}

impl<S, K, F: Clone, P: Clone, C: Clone, U: Clone> Layer<S> for KeyedRateLimitLayer<K, F, P, C, U> {
    type Service = KeyedRateLimit<S, K, F, P, C, U>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { limiter, key_of, cost, classifier, until } = self.clone();
        let door = KeyedDoor::new(limiter.queues().clone(), key_of, LimitTerms(cost));
        Admission::new(inner, Arc::new(AdmissionConfig::new(door, classifier, until)))
    }
}

impl<K, F: Clone, P: Clone, C: Clone, U: Clone> Clone for KeyedRateLimitLayer<K, F, P, C, U> {
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            key_of: self.key_of.clone(),
            cost: self.cost.clone(),
            classifier: self.classifier.clone(),
            until: self.until.clone(),
        }
    }
}

impl<K, F, P, C, U> fmt::Debug for KeyedRateLimitLayer<K, F, P, C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimitLayer")
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}

/// Charges requests, whatever their key.
#[derive(Clone, Debug)]
pub struct LimitTerms<P>(P);

impl<Req, P: Cost<Req>> Terms<Req> for LimitTerms<P> {
    type Gate = LimiterGate;

    fn ask(&self, request: &Req, _: &CallOptions) -> Charge {
        self.0.charge(request)
    }

    fn refuse(&self, rejected: Rejected<RateLimitReason>, options: &CallOptions) -> BoxError {
        Box::new(RateLimited::new(&rejected, options))
    }
}
