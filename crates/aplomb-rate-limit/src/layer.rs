//! The layer: configuration, and the door it puts before a service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aplomb_core::{
    Acquire, AtBodyEnd, AtHead, BoxError, CallOptions, Door, Gated, HttpClassifier, Plan, QueueLimits, Turned,
};
use tower_layer::Layer;

use crate::{Charge, Cost, Exceeded, Limit, Limiter, PerRequest, Quota, Quotas};

/// Spaces requests out, in requests and tokens, so that the peer never has to refuse them.
///
/// See the [crate's documentation](crate) for what clones share, what dropping does and where it goes
/// in a stack.
#[derive(Clone)]
#[must_use]
pub struct RateLimitLayer<K = PerRequest, C = HttpClassifier, U = AtHead> {
    limiter: Limiter,
    cost: K,
    classifier: C,
    until: U,
}

/// A service behind a rate limit. Made by [`RateLimitLayer`].
pub type RateLimit<S, K = PerRequest, C = HttpClassifier, U = AtHead> = Gated<S, LimitDoor<K>, C, U>;

impl RateLimitLayer {
    /// Limits calls to `quotas`, all of which have to admit a call. With no quota at all only a
    /// throttled response holds calls back.
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Self {
        Self::with_limiter(Limiter::new(quotas))
    }

    /// Limits calls by a limiter that is shared with others.
    pub fn with_limiter(limiter: Limiter) -> Self {
        Self { limiter, cost: PerRequest, classifier: HttpClassifier::new(), until: AtHead }
    }
}

impl<K, C, U> RateLimitLayer<K, C, U> {
    /// Sets what a call costs: a [`Cost`], or a closure from the request to a [`Charge`]. Unless set,
    /// every call costs one request and no tokens.
    pub fn cost<L>(self, cost: L) -> RateLimitLayer<L, C, U> {
        let Self { limiter, classifier, until, .. } = self;
        RateLimitLayer { limiter, cost, classifier, until }
    }

    /// Sets who judges responses: a throttled one pauses every caller. Unless set, the rules of HTTP.
    pub fn classifier<D>(self, classifier: D) -> RateLimitLayer<K, D, U> {
        let Self { limiter, cost, until, .. } = self;
        RateLimitLayer { limiter, cost, classifier, until }
    }

    /// Lets a call last until its response's body has ended, instead of until its head.
    pub fn until_body_end(self) -> RateLimitLayer<K, C, AtBodyEnd> {
        let Self { limiter, cost, classifier, .. } = self;
        RateLimitLayer { limiter, cost, classifier, until: AtBodyEnd }
    }

    /// Sets how long a call may wait. One that would have to wait longer is refused at once; zero
    /// refuses all waiting. Unless set, calls wait as long as their own deadlines allow.
    pub fn max_wait(self, wait: Duration) -> Self {
        self.limiter.set_queue_limits(|limits| limits.max_wait(wait));
        self
    }

    /// Sets how many calls may wait; 65,536 unless set.
    pub fn max_waiting(self, calls: usize) -> Self {
        self.limiter.set_queue_limits(|limits| limits.max_waiting(calls));
        self
    }

    /// Sets all bounds of the line at once.
    pub fn queue_limits(self, limits: QueueLimits) -> Self {
        self.limiter.set_queue_limits(|_| limits);
        self
    }

    /// Sets the longest that a throttled response pauses everybody; 120 s unless set.
    pub fn max_pause(self, longest: Duration) -> Self {
        self.limiter.set_max_pause(longest);
        self
    }

    /// The limiter, to look at, to close, and to share.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }
}

impl<S, K: Clone, C: Clone, U: Clone> Layer<S> for RateLimitLayer<K, C, U> {
    type Service = RateLimit<S, K, C, U>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { limiter, cost, classifier, until } = self.clone();
        Gated::new(inner, Arc::new(Plan::new(LimitDoor { limiter, cost }, classifier, until)))
    }
}

impl<K, C, U> fmt::Debug for RateLimitLayer<K, C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

/// Charges requests and leads them to the limiter.
#[derive(Clone, Debug)]
pub struct LimitDoor<K> {
    limiter: Limiter,
    cost: K,
}

impl<Req, K: Cost<Req>> Door<Req> for LimitDoor<K> {
    type Gate = Quotas;

    fn ask(&self, request: &Req, options: &CallOptions) -> Acquire<Quotas> {
        let charge: Charge = self.cost.charge(request);
        self.limiter.ask(charge, options)
    }

    fn refuse(&self, turned: Turned<Limit>, options: &CallOptions) -> BoxError {
        Box::new(Exceeded::new(&turned, options))
    }
}
