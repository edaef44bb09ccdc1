//! The service before a gate: ask, wait, call, report.

mod future;
mod guard;
mod head_policy;
mod policy;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use aplomb_core::{BoxError, CallOptions, Classification, Classify, HttpClassifier, RequestHead};
use tower_service::Service;

pub use self::future::AdmissionFuture;
pub use self::guard::PermitGuard;
pub use self::head_policy::HeadPolicy;
pub use self::policy::RequestPolicy;
use crate::{Completion, End, Gate, OnHead, Permit, Rejected};

/// A service behind a gate, or behind one for each key.
///
/// It is always ready. Each call waits for its permit, then readies a clone of the inner service, calls it, judges the
/// response and tells the gate. A `load_shed` outside of it never sheds: the limit is the queue's.
///
/// Clones share everything but the inner service. Dropping a call's future gives its permit back.
pub struct Admission<S, P, C = HttpClassifier, U = OnHead> {
    inner: S,
    config: Arc<AdmissionConfig<P, C, U>>,
}

/// The configuration that all calls of an [`Admission`] share.
#[derive(Debug)]
pub struct AdmissionConfig<P, C, U> {
    policy: P,
    classifier: C,
    completion: U,
}

impl<P, C, U> AdmissionConfig<P, C, U> {
    /// Calls are admitted by `policy`, judged by `classifier`, and complete as `completion` says.
    pub const fn new(policy: P, classifier: C, completion: U) -> Self {
        Self { policy, classifier, completion }
    }

    /// The policy.
    pub const fn policy(&self) -> &P {
        &self.policy
    }
}

impl<S, P, C, U> Admission<S, P, C, U> {
    /// Puts `inner` behind a gate.
    pub const fn new(inner: S, config: Arc<AdmissionConfig<P, C, U>>) -> Self {
        Self { inner, config }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: Clone, P, C, U> Clone for Admission<S, P, C, U> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), config: Arc::clone(&self.config) }
    }
}

impl<S: fmt::Debug, P, C, U> fmt::Debug for Admission<S, P, C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, Req, P, C, U> Service<Req> for Admission<S, P, C, U>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    Req: RequestHead,
    P: RequestPolicy<Req>,
    C: Classify<S::Response, S::Error>,
    U: Completion<S::Response, PermitGuard<P::Gate>>,
{
    type Response = U::Response;
    type Error = BoxError;
    type Future = AdmissionFuture<S, Req, P, C, U>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        AdmissionFuture::new(self.inner.clone(), request, Arc::clone(&self.config))
    }
}

impl<P, C, U> AdmissionConfig<P, C, U> {
    /// The error of a call that was rejected.
    #[inline]
    fn rejection<Req: RequestHead>(
        &self,
        request: &Req,
        rejected: &Rejected<<P::Gate as Gate>::Reason>,
        options: &CallOptions,
    ) -> BoxError
    where
        P: RequestPolicy<Req>,
    {
        let key = self.policy.entries().label_of(|| self.policy.view(request));
        self.policy.rejection(rejected, key, options)
    }

    /// Judges a response, and tells the gate.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "the most frequent end of a call, in one piece"
    )]
    fn on_response<Res, Err, G>(&self, permit: &mut Option<Permit<G>>, response: &Result<Res, Err>)
    where
        G: Gate,
        C: Classify<Res, Err>,
    {
        let classification = self.classifier.classify(response.as_ref());
        if let Some(permit) = permit {
            if let Ok(response) = response {
                permit.limits(&self.classifier.readings(response));
            }
            if classification.is_live() {
                let (outcome, usage, _) = classification.so_far();
                permit.finish_judged(outcome, usage);
            } else {
                permit.finish(End::Judged { outcome: classification.outcome(), usage: None });
            }
        }
        *permit = None;
    }

    /// The same for a call that lasts until its body has ended. A failure's pause or count does not wait for the body of an
    /// error. A success is not over until it has proved whole: its classification so far is returned.
    #[inline]
    fn on_head<Res, Err, G>(
        &self,
        permit: &mut Option<Permit<G>>,
        response: &Result<Res, Err>,
    ) -> Option<Classification>
    where
        G: Gate,
        C: Classify<Res, Err>,
    {
        let classification = self.classifier.classify(response.as_ref());
        let admitted = permit.as_mut()?;
        if let Ok(response) = response {
            admitted.limits(&self.classifier.readings(response));
            if classification.is_success() {
                return Some(classification);
            }
        }
        let (outcome, usage, _) = classification.so_far();
        admitted.finish_judged(outcome, usage);
        *permit = None;
        None
    }
}
