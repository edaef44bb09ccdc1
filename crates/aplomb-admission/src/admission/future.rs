//! A call on its way through the gate.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aplomb_core::{BoxError, CallOptions, Classify, CurrentCall, RequestHead};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{AdmissionConfig, PermitGuard, RequestPolicy};
use crate::queue::{Queued, Stopped};
use crate::{Completion, Gate, Permit, Wait};

pin_project! {
    /// The future of a call through an [`Admission`](crate::Admission).
    pub struct AdmissionFuture<S, Req, P, C, U>
    where
        S: Service<Req>,
        P: RequestPolicy<Req>,
    {
        // Before the permit: a call that is dropped is gone when its gate learns of it.
        #[pin]
        call: Call<S, Req, S::Future>,
        #[pin]
        preparing: Option<P::Preparing>,
        permit: Option<Permit<P::Gate>>,
        // In a box, since most calls do not wait.
        queued: Option<Box<(Queued<P::Gate>, CallOptions)>>,
        stage: Stage,
        // Some time passes between the admission and the call.
        late: bool,
        config: Arc<AdmissionConfig<P, C, U>>,
    }
}

pin_project! {
    // The call of the inner service.
    #[project = CallProj]
    enum Call<S, Req, F> {
        // Stays where it is until it is sent: requests are large, and moving them costs more than asking a gate.
        Unsent { service: S, request: Option<Req> },
        // In the same place, since a future is moved with all its room.
        Sent { #[pin] response: F },
        Over,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    // Asks when it is first polled: `options.scope(service.call(request))` sets the options only then.
    Arriving,
    Queued,
    // Admitted. The request is prepared, which may take its time: nothing of the service is held meanwhile.
    Preparing,
    // The service is readied just before it is called, so that no readiness is held while waiting.
    Readying,
    Called,
    Done,
}

impl<S, Req, P, C, U> AdmissionFuture<S, Req, P, C, U>
where
    S: Service<Req>,
    P: RequestPolicy<Req>,
{
    #[inline]
    pub(super) fn new(service: S, request: Req, config: Arc<AdmissionConfig<P, C, U>>) -> Self {
        Self {
            call: Call::Unsent { service, request: Some(request) },
            preparing: None,
            permit: None,
            queued: None,
            stage: Stage::Arriving,
            late: false,
            config,
        }
    }
}

impl<S, Req, P, C, U> Future for AdmissionFuture<S, Req, P, C, U>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    Req: RequestHead,
    P: RequestPolicy<Req>,
    C: Classify<S::Response, S::Error>,
    U: Completion<S::Response, PermitGuard<P::Gate>>,
{
    type Output = Result<U::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let policy = &this.config.policy;
        // Arriving → Preparing or Readying when admitted immediately, → Queued when not, → Done when rejected.
        if *this.stage == Stage::Arriving {
            let CallProj::Unsent { request: Some(request), .. } = this.call.as_mut().project() else {
                panic!("a call that arrives has a request");
            };
            let options = CallOptions::of(request);
            let (view, cost) = (|| policy.view(request), || policy.cost(request, &options));
            *this.stage = Stage::Done;
            match policy.entries().ask(this.permit, view, cost, Wait::from(&options), cx) {
                Ok(()) => *this.stage = after_admission(policy),
                Err(Stopped::Rejected(ref rejected)) => {
                    // Read again, so that a call that is admitted need not keep them.
                    let options = CallOptions::of(request);
                    let error = this.config.rejection(request, rejected, &options);
                    this.call.set(Call::Over);
                    return Poll::Ready(Err(error));
                }
                Err(Stopped::Queued(place)) => {
                    let options = CallOptions::of(request);
                    if options.attempts() > 0 {
                        CurrentCall::note_queued();
                    }
                    *this.queued = Some(Box::new((place, options)));
                    *this.stage = Stage::Queued;
                    return Poll::Pending;
                }
            }
        }
        // Queued → Preparing or Readying when admitted, → Done when rejected.
        if let (Stage::Queued, Some(queued)) = (*this.stage, &mut *this.queued) {
            let (place, options) = &mut **queued;
            let settled = ready!(Pin::new(place).poll(cx));
            let options = *options;
            *this.queued = None;
            match settled {
                Ok(permit) => {
                    // It may have been admitted some time before this poll.
                    *this.late = true;
                    *this.permit = Some(permit);
                    *this.stage = after_admission(policy);
                }
                Err(rejected) => {
                    *this.stage = Stage::Done;
                    let CallProj::Unsent { request: Some(request), .. } = this.call.as_mut().project() else {
                        panic!("a call that waits has a request");
                    };
                    let error = this.config.rejection(request, &rejected, &options);
                    this.call.set(Call::Over);
                    return Poll::Ready(Err(error));
                }
            }
        }
        // Preparing → Readying when the request is prepared, → Done if that fails: nothing was sent.
        if *this.stage == Stage::Preparing {
            *this.late = true;
            let prepared = ready!(poll_prepared(policy, this.call.as_mut(), this.preparing.as_mut(), cx));
            if let Err(error) = prepared {
                *this.stage = Stage::Done;
                this.call.set(Call::Over);
                *this.permit = None;
                return Poll::Ready(Err(error));
            }
            *this.stage = Stage::Readying;
        }
        // Readying → Called when the service is ready, → Done if it is finished: then the permit is dropped, which says
        // that nothing was sent.
        if *this.stage == Stage::Readying {
            let called = ready!(poll_call(this.call.as_mut(), this.permit, this.late, cx));
            if let Err(error) = called {
                *this.stage = Stage::Done;
                this.call.set(Call::Over);
                *this.permit = None;
                return Poll::Ready(Err(error.into()));
            }
            *this.stage = Stage::Called;
        }
        // Called → Done when the response's head or an error has arrived.
        let (Stage::Called, CallProj::Sent { response }) = (*this.stage, this.call.as_mut().project()) else {
            panic!("polled after it was ready");
        };
        let response = response.poll(cx);
        let Poll::Ready(arrived) = &response else {
            return Poll::Pending;
        };
        *this.stage = Stage::Done;
        this.call.set(Call::Over);
        // The response is taken apart once, at the end: it is large, and moved as seldom as possible.
        if U::AT_HEAD {
            this.config.on_response(this.permit, arrived);
            return match response {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(this.config.completion.guard(response, None))),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                Poll::Pending => Poll::Pending,
            };
        }
        let classification = this.config.on_head(this.permit, arrived);
        match response {
            Poll::Ready(Ok(response)) => {
                let guard = match (classification, this.permit.take()) {
                    (Some(classification), Some(permit)) => Some(PermitGuard { permit, classification }),
                    _ => None,
                };
                Poll::Ready(Ok(this.config.completion.guard(response, guard)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[inline]
fn after_admission<Req, P: RequestPolicy<Req>>(policy: &P) -> Stage {
    if policy.preparation().is_some() {
        Stage::Preparing
    } else {
        Stage::Readying
    }
}

/// Calls the service as soon as it is ready.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "the request is moved once, from its place to the service"
)]
fn poll_call<S: Service<Req>, Req, G: Gate>(
    mut call: Pin<&mut Call<S, Req, S::Future>>,
    permit: &mut Option<Permit<G>>,
    late: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Result<(), S::Error>> {
    let CallProj::Unsent { service, request } = call.as_mut().project() else {
        panic!("a call that was not made has a request");
    };
    let Poll::Ready(ready) = service.poll_ready(cx) else {
        *late = true;
        return Poll::Pending;
    };
    ready?;
    if let (Some(request), Some(permit)) = (request.take(), permit) {
        if *late {
            permit.sent();
        } else {
            permit.sent_at_once();
        }
        let response = service.call(request);
        call.set(Call::Sent { response });
    }
    Poll::Ready(Ok(()))
}

/// Prepares the request of a call that has been admitted.
#[cold]
fn poll_prepared<S: Service<Req>, Req, P: RequestPolicy<Req>>(
    policy: &P,
    call: Pin<&mut Call<S, Req, S::Future>>,
    mut preparing: Pin<&mut Option<P::Preparing>>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), BoxError>> {
    if let CallProj::Unsent { request, .. } = call.project() {
        if let Some(prepare) = policy.preparation() {
            if let Some(unprepared) = request.take() {
                preparing.set(Some(prepare(unprepared)));
            }
        }
        if let Some(running) = preparing.as_mut().as_pin_mut() {
            *request = Some(ready!(running.poll(cx))?);
            preparing.set(None);
        }
    }
    Poll::Ready(Ok(()))
}

impl<S, Req, P, C, U> fmt::Debug for AdmissionFuture<S, Req, P, C, U>
where
    S: Service<Req>,
    P: RequestPolicy<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Arriving => "AdmissionFuture(arriving)",
            Stage::Queued => "AdmissionFuture(queued)",
            Stage::Preparing | Stage::Readying | Stage::Called => "AdmissionFuture(calling)",
            Stage::Done => "AdmissionFuture(done)",
        })
    }
}
