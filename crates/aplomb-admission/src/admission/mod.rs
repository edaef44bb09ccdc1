//! The service that all gates share: ask, wait, call, report.

mod door;
mod guard;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

pub use self::door::{Door, Unprepared};
pub use self::guard::PermitGuard;
use crate::{Completion, End, Gate, OnHead, Permit, Queued, Rejected, Stopped};
use aplomb_core::{
    BoxError, CallOptions, Classification, Classify, CurrentCall, HttpClassifier, RequestHead,
};

/// A service behind a gate.
///
/// It is always ready; each call waits for its permit, then readies a clone of the inner service,
/// calls it, judges what comes back and tells the gate. A `load_shed` outside of it never sheds: the
/// bound is the queue's.
///
/// Clones share everything but the inner service. Dropping a call's future gives its permit back.
pub struct Admission<S, D, C = HttpClassifier, U = OnHead> {
    inner: S,
    plan: Arc<AdmissionConfig<D, C, U>>,
}

/// What all calls of a [`Admission`] service share.
#[derive(Debug)]
pub struct AdmissionConfig<D, C, U> {
    door: D,
    classifier: C,
    until: U,
}

impl<D, C, U> AdmissionConfig<D, C, U> {
    /// Calls pass `door`, are judged by `classifier` and last as `until` says.
    pub const fn new(door: D, classifier: C, until: U) -> Self {
        Self { door, classifier, until }
    }

    /// The door.
    pub const fn door(&self) -> &D {
        &self.door
    }
}

impl<S, D, C, U> Admission<S, D, C, U> {
    /// Puts `inner` behind the door of `plan`.
    pub const fn new(inner: S, plan: Arc<AdmissionConfig<D, C, U>>) -> Self {
        Self { inner, plan }
    }
}

impl<S: Clone, D, C, U> Clone for Admission<S, D, C, U> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), plan: Arc::clone(&self.plan) }
    }
}

impl<S: fmt::Debug, D, C, U> fmt::Debug for Admission<S, D, C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, Req, D, C, U> Service<Req> for Admission<S, D, C, U>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    Req: RequestHead,
    D: Door<Req>,
    C: Classify<S::Response, S::Error>,
    U: Completion<S::Response, PermitGuard<D::Gate>>,
{
    type Response = U::Response;
    type Error = BoxError;
    type Future = AdmissionFuture<S, Req, D, C, U>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        AdmissionFuture {
            answer: None,
            preparing: None,
            call: Some((self.inner.clone(), Some(request))),
            permit: None,
            waits: None,
            stage: Stage::Arriving,
            late: false,
            plan: Arc::clone(&self.plan),
        }
    }
}

pin_project! {
    /// The future of a [`Admission`] call.
    pub struct AdmissionFuture<S, Req, D, C, U>
    where
        S: Service<Req>,
        D: Door<Req>,
    {
        // Before the permit: a call that is dropped is gone when its gate is told.
        #[pin]
        answer: Option<S::Future>,
        #[pin]
        preparing: Option<D::Preparing>,
        // Stays where it is until it is called: requests are large, and moving them costs more than
        // asking a gate.
        call: Option<(S, Option<Req>)>,
        permit: Option<Permit<D::Gate>>,
        waits: Option<(Queued<D::Gate>, CallOptions)>,
        stage: Stage,
        // It takes some time from the admission to the call.
        late: bool,
        plan: Arc<AdmissionConfig<D, C, U>>,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    // Asks when it is first polled: `options.scope(service.call(request))` says only then what the
    // caller wants.
    Arriving,
    Waiting,
    // Let through. What has to be done then may take its time: nothing of the service is held meanwhile.
    Preparing,
    // The service is readied just before it is called, so that no readiness is held while waiting.
    Readying,
    Called,
    Done,
}

impl<S, Req, D, C, U> Future for AdmissionFuture<S, Req, D, C, U>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    Req: RequestHead,
    D: Door<Req>,
    C: Classify<S::Response, S::Error>,
    U: Completion<S::Response, PermitGuard<D::Gate>>,
{
    type Output = Result<U::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Arriving → Preparing or Readying when admitted at once, → Waiting when not, → Done when turned away.
        if *this.stage == Stage::Arriving {
            let Some((_, Some(request))) = this.call else {
                panic!("a call that arrives has a request");
            };
            let options = CallOptions::of(request);
            *this.stage = Stage::Done;
            match this.plan.door.ask(request, &options, cx, this.permit) {
                None => *this.stage = this.plan.admitted::<Req>(),
                Some(Stopped::Rejected(turned)) => {
                    return Poll::Ready(Err(this.plan.refuse(this.call, turned, &options)));
                }
                Some(Stopped::Queued(place)) => {
                    if options.attempts() > 0 {
                        CurrentCall::note_queued();
                    }
                    *this.waits = Some((place, options));
                    *this.stage = Stage::Waiting;
                    return Poll::Pending;
                }
            }
        }
        // Waiting → Preparing or Readying when admitted, → Done when turned away.
        if let (Stage::Waiting, Some((place, options))) = (*this.stage, &mut *this.waits) {
            let settled = ready!(Pin::new(place).poll(cx));
            let options = *options;
            *this.waits = None;
            match settled {
                Ok(permit) => {
                    // It may have been admitted some time before this poll.
                    *this.late = true;
                    *this.permit = Some(permit);
                    *this.stage = this.plan.admitted::<Req>();
                }
                Err(turned) => {
                    *this.stage = Stage::Done;
                    return Poll::Ready(Err(this.plan.refuse(this.call, turned, &options)));
                }
            }
        }
        // Preparing → Readying when that is done, → Done if it fails: nothing was sent.
        if *this.stage == Stage::Preparing {
            *this.late = true;
            let prepared = ready!(poll_prepared(&this.plan.door, this.call, this.preparing, cx));
            *this.stage = if prepared.is_ok() {
                Stage::Readying
            } else {
                Stage::Done
            };
            if let Err(error) = prepared {
                *this.call = None;
                *this.permit = None;
                return Poll::Ready(Err(error));
            }
        }
        // Readying → Called when the service is ready, → Done if it is finished: then the permit
        // is dropped, which says that nothing was sent.
        if *this.stage == Stage::Readying {
            let Some((service, _)) = this.call else {
                panic!("a call that was not made has a request");
            };
            let Poll::Ready(ready) = service.poll_ready(cx) else {
                *this.late = true;
                return Poll::Pending;
            };
            if let Err(error) = ready {
                *this.stage = Stage::Done;
                *this.call = None;
                *this.permit = None;
                return Poll::Ready(Err(error.into()));
            }
            if let (Some((mut service, Some(request))), Some(permit)) =
                (this.call.take(), this.permit.as_mut())
            {
                if *this.late {
                    permit.sent();
                } else {
                    permit.sent_at_once();
                }
                this.answer.set(Some(service.call(request)));
            }
            *this.stage = Stage::Called;
        }
        // Called → Done when the answer's head or an error has arrived.
        let (Stage::Called, Some(answer)) = (*this.stage, this.answer.as_mut().as_pin_mut()) else {
            panic!("polled after it was ready");
        };
        let answer = answer.poll(cx);
        let Poll::Ready(arrived) = &answer else {
            return Poll::Pending;
        };
        *this.stage = Stage::Done;
        this.answer.set(None);
        // The answer is taken apart in one go, at the end: a response is large, and moved as seldom as can be.
        if U::AT_HEAD {
            this.plan.hear(this.permit, arrived);
            return answer.map_ok(|response| this.plan.until.hold(response, None)).map_err(Into::into);
        }
        let classification = this.plan.hear_head(this.permit, arrived);
        match answer {
            Poll::Ready(Ok(response)) => {
                let guard = match (classification, this.permit.take()) {
                    (Some(classification), Some(permit)) => Some(PermitGuard { permit, classification }),
                    _ => None,
                };
                Poll::Ready(Ok(this.plan.until.hold(response, guard)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Has the request of a call prepared, by the door that it has passed.
#[cold]
fn poll_prepared<S, Req, D: Door<Req>>(
    door: &D,
    call: &mut Option<(S, Option<Req>)>,
    mut preparing: Pin<&mut Option<D::Preparing>>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), BoxError>> {
    let Some((_, request)) = call else {
        panic!("a call that is prepared has a service");
    };
    if let Some(unprepared) = request.take() {
        preparing.set(Some(door.prepare(unprepared)));
    }
    let Some(running) = preparing.as_mut().as_pin_mut() else {
        panic!("a call that is prepared had a request");
    };
    *request = Some(ready!(running.poll(cx))?);
    preparing.set(None);
    Poll::Ready(Ok(()))
}

impl<D, C, U> AdmissionConfig<D, C, U> {
    /// What comes when a call has been let through.
    #[inline]
    fn admitted<Req>(&self) -> Stage
    where
        D: Door<Req>,
    {
        if self.door.prepares() {
            Stage::Preparing
        } else {
            Stage::Readying
        }
    }

    /// The error of a call that was turned away; what it would have sent is dropped.
    fn refuse<S, Req>(
        &self,
        call: &mut Option<(S, Option<Req>)>,
        turned: Rejected<<D::Gate as Gate>::Reason>,
        options: &CallOptions,
    ) -> BoxError
    where
        D: Door<Req>,
    {
        let error = match call {
            Some((_, Some(request))) => self.door.refuse_request(request, turned, options),
            _ => self.door.refuse(turned, options),
        };
        *call = None;
        error
    }

    /// Judges an answer, and tells the gate.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "the most frequent end of a call, in one piece"
    )]
    fn hear<Res, Err, G>(&self, permit: &mut Option<Permit<G>>, answer: &Result<Res, Err>)
    where
        G: Gate,
        C: Classify<Res, Err>,
    {
        let classification = self.classifier.classify(answer.as_ref());
        if let Some(heard) = permit {
            if let Ok(response) = answer {
                heard.limits(&self.classifier.readings(response));
            }
            if classification.is_live() {
                heard.finish_as(&classification, classification.outcome());
            } else {
                heard.finish(End::Judged { outcome: classification.outcome(), usage: None });
            }
        }
        *permit = None;
    }

    /// The same where the body is to be waited for: a failure's pause or count must not wait for an
    /// error's body. A success is not over until it has proved whole, and what it is by now is returned.
    #[inline]
    fn hear_head<Res, Err, G>(
        &self,
        permit: &mut Option<Permit<G>>,
        answer: &Result<Res, Err>,
    ) -> Option<Classification>
    where
        G: Gate,
        C: Classify<Res, Err>,
    {
        let classification = self.classifier.classify(answer.as_ref());
        let heard = permit.as_mut()?;
        if let Ok(response) = answer {
            heard.limits(&self.classifier.readings(response));
            if classification.outcome().is_success() {
                return Some(classification);
            }
        }
        heard.finish_as(&classification, classification.outcome());
        *permit = None;
        None
    }
}

impl<S, Req, D, C, U> fmt::Debug for AdmissionFuture<S, Req, D, C, U>
where
    S: Service<Req>,
    D: Door<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Arriving => "AdmissionFuture(arriving)",
            Stage::Waiting => "AdmissionFuture(waiting)",
            Stage::Preparing | Stage::Readying | Stage::Called => "AdmissionFuture(calling)",
            Stage::Done => "AdmissionFuture(done)",
        })
    }
}
