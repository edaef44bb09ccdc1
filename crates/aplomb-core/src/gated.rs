//! The service that all gates share: ask, wait, call, report.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::dispatch::Dispatch;
use crate::{
    Acquire, AtHead, BodyEnd, BoxError, CallOptions, Classify, End, Gate, Guard, HttpClassifier, Outcome,
    Permit, RequestHead, RetryMark, Turned, Until, Verdict,
};

/// Leads a request to its queue, and words the refusal if it is turned away.
pub trait Door<Req> {
    /// The gate behind the door.
    type Gate: Gate;

    /// Asks for `request` to be let through: chooses the queue and says what the call costs.
    fn ask(&self, request: &Req, options: &CallOptions) -> Acquire<Self::Gate>;

    /// The error of a call that was turned away.
    fn refuse(&self, turned: Turned<<Self::Gate as Gate>::Why>, options: &CallOptions) -> BoxError;
}

/// A service behind a gate.
///
/// It is always ready; each call waits for its permit, then readies a clone of the inner service,
/// calls it, judges what comes back and tells the gate. A `load_shed` outside of it never sheds: the
/// bound is the queue's.
///
/// Clones share everything but the inner service. Dropping a call's future gives its permit back.
pub struct Gated<S, D, C = HttpClassifier, U = AtHead> {
    inner: S,
    plan: Arc<Plan<D, C, U>>,
}

/// What all calls of a [`Gated`] service share.
#[derive(Debug)]
pub struct Plan<D, C, U> {
    door: D,
    classifier: C,
    until: U,
}

impl<D, C, U> Plan<D, C, U> {
    /// Calls pass `door`, are judged by `classifier` and last as `until` says.
    pub const fn new(door: D, classifier: C, until: U) -> Self {
        Self { door, classifier, until }
    }

    /// The door.
    pub const fn door(&self) -> &D {
        &self.door
    }
}

impl<S, D, C, U> Gated<S, D, C, U> {
    /// Puts `inner` behind the door of `plan`.
    pub const fn new(inner: S, plan: Arc<Plan<D, C, U>>) -> Self {
        Self { inner, plan }
    }
}

impl<S: Clone, D, C, U> Clone for Gated<S, D, C, U> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), plan: Arc::clone(&self.plan) }
    }
}

impl<S: fmt::Debug, D, C, U> fmt::Debug for Gated<S, D, C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, Req, D, C, U> Service<Req> for Gated<S, D, C, U>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    Req: RequestHead,
    D: Door<Req>,
    C: Classify<S::Response, S::Error>,
    U: Until<S::Response, Held<D::Gate>>,
{
    type Response = U::Response;
    type Error = BoxError;
    type Future = GatedFuture<S, Req, D, C, U>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        GatedFuture {
            state: State::Arriving { call: Some((self.inner.clone(), request)) },
            options: CallOptions::new(),
            plan: Arc::clone(&self.plan),
        }
    }
}

pin_project! {
    /// The future of a [`Gated`] call.
    pub struct GatedFuture<S, Req, D, C, U>
    where
        S: Service<Req>,
        D: Door<Req>,
    {
        #[pin]
        state: State<S, Req, D::Gate>,
        options: CallOptions,
        plan: Arc<Plan<D, C, U>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, G>
    where
        S: Service<Req>,
        G: Gate,
    {
        // Asks when it is first polled: `options.scope(service.call(request))` says only then what the
        // caller wants.
        Arriving {
            call: Option<(S, Req)>,
        },
        Waiting {
            #[pin]
            acquire: Acquire<G>,
            call: Option<(S, Req)>,
        },
        Calling {
            // Before the permit: a call that is dropped is gone when its gate is told.
            #[pin]
            dispatch: Dispatch<S, Req>,
            permit: Option<Permit<G>>,
        },
        Done,
    }
}

impl<S, Req, D, C, U> Future for GatedFuture<S, Req, D, C, U>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    Req: RequestHead,
    D: Door<Req>,
    C: Classify<S::Response, S::Error>,
    U: Until<S::Response, Held<D::Gate>>,
{
    type Output = Result<U::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut has_waited = true;
        // Arriving → Waiting.
        if let StateProj::Arriving { call } = this.state.as_mut().project()
            && let Some((service, request)) = call.take()
        {
            *this.options = CallOptions::of(&request);
            let acquire = this.plan.door.ask(&request, this.options);
            this.state.set(State::Waiting { acquire, call: Some((service, request)) });
            has_waited = false;
        }
        // Waiting → Calling when admitted, → Done when turned away.
        if let StateProj::Waiting { acquire, call } = this.state.as_mut().project() {
            let settled = ready!(acquire.poll(cx));
            let call = call.take();
            this.state.set(State::Done);
            if has_waited && this.options.attempts() > 0 {
                RetryMark::note_paced();
            }
            match (settled, call) {
                (Ok(permit), Some((service, request))) => {
                    let dispatch = Dispatch::new(service, request);
                    this.state.set(State::Calling { dispatch, permit: Some(permit) });
                }
                (Ok(_), None) => {}
                (Err(turned), _) => {
                    return Poll::Ready(Err(this.plan.door.refuse(turned, this.options)));
                }
            }
        }
        // Calling → Done when the answer's head or an error has arrived, or the service is finished.
        let StateProj::Calling { dispatch, permit } = this.state.as_mut().project() else {
            panic!("polled after it was ready");
        };
        let answer = ready!(dispatch.poll_with(cx, || permit.iter_mut().for_each(Permit::sent)));
        let permit = permit.take();
        this.state.set(State::Done);
        let verdict = this.plan.classifier.classify(answer.as_ref());
        let held = permit.and_then(|permit| Held::judge(permit, verdict, answer.is_ok()));
        Poll::Ready(match answer {
            Ok(response) => Ok(this.plan.until.hold(response, held)),
            Err(error) => Err(error.into()),
        })
    }
}

impl<S, Req, D, C, U> fmt::Debug for GatedFuture<S, Req, D, C, U>
where
    S: Service<Req>,
    D: Door<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Arriving { .. } => "GatedFuture(arriving)",
            State::Waiting { .. } => "GatedFuture(waiting)",
            State::Calling { .. } => "GatedFuture(calling)",
            State::Done => "GatedFuture(done)",
        })
    }
}

/// The permit of a call whose answer is still being read, and what the head of it said.
#[derive(Debug)]
pub struct Held<G: Gate> {
    permit: Permit<G>,
    verdict: Verdict,
}

impl<G: Gate> Held<G> {
    /// Tells the gate of a failure at once: its pause or its count must not wait for an error's body.
    /// A success is held until it has proved whole.
    fn judge(permit: Permit<G>, verdict: Verdict, answered: bool) -> Option<Self> {
        if !permit.is_sent() {
            // The service was finished before it was called: dropping the permit says so.
            return None;
        }
        if answered && verdict.outcome().is_success() {
            return Some(Self { permit, verdict });
        }
        let (outcome, usage) = (verdict.outcome(), verdict.usage());
        permit.end(End::Judged { outcome, usage });
        None
    }
}

impl<G: Gate> Guard for Held<G> {
    fn content(&mut self) {
        // What has been read by now may be an error inside a good status.
        if self.verdict.outcome().is_success() {
            self.permit.content();
        }
    }

    fn end(self, end: BodyEnd) {
        let outcome = match (end, self.verdict.outcome()) {
            (BodyEnd::Broken, read) if read.is_success() => Outcome::transient(),
            (_, read) => read,
        };
        let usage = self.verdict.usage();
        self.permit.end(End::Judged { outcome, usage });
    }
}
