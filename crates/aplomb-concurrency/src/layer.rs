//! The layer: configuration, and the door it puts before a service.

use std::fmt;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use aplomb_admission::{
    Admission, AdmissionConfig, Door, OnBodyEnd, OnHead, Permit, QueueLimits, Rejected, Stopped, Unprepared,
    Wait,
};
use aplomb_core::{BoxError, CallOptions, HttpClassifier};
use tower_layer::Layer;

use crate::{AtCapacity, Limit, Limiter, Occupancy, Slots};

/// Bounds how many calls are in flight, and finds the bound by itself where that is asked for.
///
/// See the [crate's documentation](crate) for what clones share, what dropping does and where it goes in a
/// stack.
#[derive(Clone)]
#[must_use]
pub struct ConcurrencyLimitLayer<C = HttpClassifier, U = OnBodyEnd> {
    limiter: Limiter,
    classifier: C,
    until: U,
}

/// A service behind a concurrency limit. Made by [`ConcurrencyLimitLayer`].
pub type ConcurrencyLimit<S, C = HttpClassifier, U = OnBodyEnd> = Admission<S, SlotsDoor, C, U>;

impl ConcurrencyLimitLayer {
    /// Lets so many calls be in flight: a number, or an [`Adaptive`](crate::Adaptive) limit.
    pub fn new(limit: impl Into<Limit>) -> Self {
        Self::with_limiter(Limiter::new(limit))
    }

    /// Limits calls by a limiter that is shared with others.
    pub fn with_limiter(limiter: Limiter) -> Self {
        Self { limiter, classifier: HttpClassifier::new(), until: OnBodyEnd }
    }
}

impl<C, U> ConcurrencyLimitLayer<C, U> {
    /// Sets who judges responses and errors. Unless set, the rules of HTTP.
    pub fn classifier<D>(self, classifier: D) -> ConcurrencyLimitLayer<D, U> {
        let Self { limiter, until, .. } = self;
        ConcurrencyLimitLayer { limiter, classifier, until }
    }

    /// Lets a call last only to the head of its response, instead of to the end of its body: for responses
    /// that have none.
    pub fn until_head(self) -> ConcurrencyLimitLayer<C, OnHead> {
        let Self { limiter, classifier, .. } = self;
        ConcurrencyLimitLayer { limiter, classifier, until: OnHead }
    }

    /// Sets how long a call that was abandoned before it was answered counts as in flight, at most. Unless
    /// set 30 s where the limit is adaptive, and nothing where it is fixed.
    pub fn abandoned(self, longest: Duration) -> Self {
        self.limiter.set_abandoned(longest);
        self
    }

    /// Sets how long a call may wait. One that would have to wait longer is refused at once; zero refuses
    /// all waiting. Unless set, calls wait as long as their own deadlines allow.
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

    /// The limiter, to look at, to change, to close, and to share.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }
}

impl<S, C: Clone, U: Clone> Layer<S> for ConcurrencyLimitLayer<C, U> {
    type Service = ConcurrencyLimit<S, C, U>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { limiter, classifier, until } = self.clone();
        Admission::new(inner, Arc::new(AdmissionConfig::new(SlotsDoor { limiter }, classifier, until)))
    }
}

impl<C, U> fmt::Debug for ConcurrencyLimitLayer<C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLimitLayer")
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}

/// Leads every request to the one limiter, and says [`AtCapacity`] to those it refuses.
#[derive(Clone, Debug)]
pub struct SlotsDoor {
    limiter: Limiter,
}

impl<Req> Door<Req> for SlotsDoor {
    type Gate = Slots;
    type Preparing = Unprepared<Req>;

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a permit is large, and made in its place instead of being moved"
    )]
    fn ask(
        &self,
        _: &Req,
        options: &CallOptions,
        cx: &Context<'_>,
        permit: &mut Option<Permit<Slots>>,
    ) -> Option<Stopped<Slots>> {
        self.limiter.queue().ask((), Wait::from(options), cx, permit)
    }

    fn refuse(&self, rejected: Rejected<Occupancy>, options: &CallOptions) -> BoxError {
        Box::new(AtCapacity::new(&rejected, options))
    }
}
