//! The layer: configuration, and the door it puts before a service.

use std::fmt;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use aplomb_admission::{
    Admission, AdmissionConfig, Door, OnBodyEnd, OnHead, Permit, QueueLimits, Rejected, Stopped, Unprepared,
    Wait,
};
use aplomb_core::{BoxError, CallOptions, HttpClassifier, WithReadings};
use tower_layer::Layer;

use crate::source::Source;
use crate::{
    Charge, Cost, Exceeded, Learned, Limit, Limiter, Member, PerRequest, Pool, Quota, Quotas, Waiting,
};

/// Spaces requests out, in requests and tokens, so that the peer never has to refuse them.
///
/// See the [crate's documentation](crate) for what clones share, what dropping does and where it goes
/// in a stack.
#[must_use]
pub struct RateLimitLayer<K = PerRequest, C = HttpClassifier, U = OnHead, G: Source = Quotas> {
    limiter: Limiter<G>,
    cost: K,
    classifier: C,
    until: U,
}

/// A service behind a rate limit. Made by [`RateLimitLayer`].
pub type RateLimit<S, K = PerRequest, C = HttpClassifier, U = OnHead, G = Quotas> =
    Admission<S, LimitDoor<K, G>, C, U>;

impl RateLimitLayer {
    /// Limits calls to `quotas`, all of which have to admit a call. With no quota at all the server's
    /// limits are learned.
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Self {
        Self::with_limiter(Limiter::new(quotas))
    }
}

impl RateLimitLayer<PerRequest, HttpClassifier, OnHead, Member> {
    /// Limits calls to the quotas of a pool, which those of other layers draw on too. The line before it
    /// is this layer's own.
    pub fn with_pool(pool: &Pool) -> Self {
        Self::with_limiter(pool.limiter())
    }
}

impl<G: Source> RateLimitLayer<PerRequest, HttpClassifier, OnHead, G> {
    /// Limits calls by a limiter that is shared with others.
    pub fn with_limiter(limiter: Limiter<G>) -> Self {
        Self { limiter, cost: PerRequest, classifier: HttpClassifier::new(), until: OnHead }
    }
}

impl<K, C, U, G: Source> RateLimitLayer<K, C, U, G> {
    /// Sets what a call costs: a [`Cost`], or a closure from the request to a [`Charge`].
    ///
    /// Default: the [`Charge`] in the request's extensions, or else one request. With a quota of tokens a call
    /// for which neither is set is refused.
    pub fn cost<L>(self, cost: L) -> RateLimitLayer<L, C, U, G> {
        let Self { limiter, classifier, until, .. } = self;
        RateLimitLayer { limiter, cost, classifier, until }
    }

    /// Sets who judges responses: a throttled one pauses every caller. Unless set, the rules of HTTP.
    pub fn classifier<D>(self, classifier: D) -> RateLimitLayer<K, D, U, G> {
        let Self { limiter, cost, until, .. } = self;
        RateLimitLayer { limiter, cost, classifier, until }
    }

    /// Sets who reads what the heads of responses say about the server's own limits: a
    /// [`ReadLimits`](crate::ReadLimits), or a closure from the response to its readings. Unless set,
    /// nobody does. A classifier that is set later has to read them itself.
    pub fn readings<R>(self, reader: R) -> RateLimitLayer<K, WithReadings<C, R>, U, G> {
        let Self { limiter, cost, classifier, until } = self;
        RateLimitLayer { limiter, cost, classifier: WithReadings::new(classifier, reader), until }
    }

    /// Lets a call last until its response's body has ended, instead of until its head.
    pub fn until_body_end(self) -> RateLimitLayer<K, C, OnBodyEnd, G> {
        let Self { limiter, cost, classifier, .. } = self;
        RateLimitLayer { limiter, cost, classifier, until: OnBodyEnd }
    }

    /// Sets what a call does that can not go at once: it waits in line unless set.
    pub fn waiting(self, waiting: Waiting) -> Self {
        self.limiter.set_waiting(waiting);
        self
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

    /// Sets the longest that a throttled response pauses everybody: 120 s unless set. Where a server
    /// asks for more, calls are refused instead of waiting.
    pub fn max_pause(self, longest: Duration) -> Self {
        self.limiter.set_max_pause(longest);
        self
    }

    /// Sets how long after a pause it takes until calls go as before: 2 s unless set.
    pub fn ramp(self, ramp: Duration) -> Self {
        self.limiter.set_ramp(ramp);
        self
    }

    /// Sets whether limits that nobody configured are learned; they are unless set.
    pub fn learning(self, learning: bool) -> Self {
        self.limiter.set_learning(learning);
        self
    }

    /// Starts with what was learned in an earlier run.
    pub fn remember(self, learned: &Learned) -> Self {
        self.limiter.remember(learned);
        self
    }

    /// Seeds the jitter of pauses for which the server names no time, so that they are repeatable: for
    /// tests and simulations. Default: a random seed.
    pub fn seed(self, seed: u64) -> Self {
        self.limiter.set_seed(seed);
        self
    }

    /// The limiter, to look at, to close, and to share.
    pub fn limiter(&self) -> &Limiter<G> {
        &self.limiter
    }
}

impl<S, K: Clone, C: Clone, U: Clone, G: Source> Layer<S> for RateLimitLayer<K, C, U, G> {
    type Service = RateLimit<S, K, C, U, G>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { limiter, cost, classifier, until } = self.clone();
        Admission::new(inner, Arc::new(AdmissionConfig::new(LimitDoor { limiter, cost }, classifier, until)))
    }
}

impl<K: Clone, C: Clone, U: Clone, G: Source> Clone for RateLimitLayer<K, C, U, G> {
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            cost: self.cost.clone(),
            classifier: self.classifier.clone(),
            until: self.until.clone(),
        }
    }
}

impl<K, C, U, G: Source> fmt::Debug for RateLimitLayer<K, C, U, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

/// Charges requests and leads them to the limiter.
#[derive(Debug)]
pub struct LimitDoor<K, G: Source = Quotas> {
    limiter: Limiter<G>,
    cost: K,
}

impl<Req, K: Cost<Req>, G: Source> Door<Req> for LimitDoor<K, G> {
    type Gate = G;
    type Preparing = Unprepared<Req>;

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a permit is large, and made in its place instead of being moved"
    )]
    fn ask(
        &self,
        request: &Req,
        options: &CallOptions,
        cx: &Context<'_>,
        permit: &mut Option<Permit<G>>,
    ) -> Option<Stopped<G>> {
        let charge: Charge = self.cost.charge(request);
        self.limiter.queue().ask(charge, Wait::from(options), cx, permit)
    }

    fn refuse(&self, rejected: Rejected<Limit>, options: &CallOptions) -> BoxError {
        Box::new(Exceeded::new(&rejected, options))
    }
}
