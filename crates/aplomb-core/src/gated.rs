//! The service that all gates share: ask, wait, call, report.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    Acquire, AtHead, BodyEnd, BoxError, CallOptions, Classify, End, Gate, Guard, HttpClassifier, Kind,
    Outcome, Permit, RequestHead, RetryMark, Turned, Until, Verdict,
};

/// Leads a request to its queue, and words the refusal if it is turned away.
pub trait Door<Req> {
    /// The gate behind the door.
    type Gate: Gate;

    /// Asks for `request` to be let through: chooses the queue and says what the call costs.
    fn ask(&self, request: &Req, options: &CallOptions) -> Acquire<Self::Gate>;

    /// The error of a call that was turned away.
    fn refuse(&self, turned: Turned<<Self::Gate as Gate>::Why>, options: &CallOptions) -> BoxError;

    /// The same where the request has a say in it. Unless written, the request is not looked at.
    fn refuse_request(
        &self,
        request: &Req,
        turned: Turned<<Self::Gate as Gate>::Why>,
        options: &CallOptions,
    ) -> BoxError {
        let _ = request;
        self.refuse(turned, options)
    }
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
            state: State::Arriving,
            call: Some((self.inner.clone(), request)),
            permit: None,
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
        // Before the permit: a call that is dropped is gone when its gate is told.
        #[pin]
        state: State<S::Future, D::Gate>,
        // Stays where it is until it is called: requests are large, and moving them costs more than
        // asking a gate.
        call: Option<(S, Req)>,
        permit: Option<Permit<D::Gate>>,
        options: CallOptions,
        plan: Arc<Plan<D, C, U>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, G>
    where
        G: Gate,
    {
        // Asks when it is first polled: `options.scope(service.call(request))` says only then what the
        // caller wants.
        Arriving,
        Waiting {
            #[pin]
            acquire: Acquire<G>,
        },
        // The service is readied just before it is called, so that no readiness is held while waiting.
        Readying,
        Called {
            #[pin]
            answer: F,
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
        loop {
            match this.state.as_mut().project() {
                // Arriving → Readying when admitted at once, → Waiting when not, → Done when turned away.
                StateProj::Arriving => {
                    let Some((_, request)) = this.call else {
                        panic!("a call that arrives has a request");
                    };
                    *this.options = CallOptions::of(request);
                    let mut acquire = this.plan.door.ask(request, this.options);
                    match Pin::new(&mut acquire).poll(cx) {
                        Poll::Pending => {
                            if this.options.attempts() > 0 {
                                RetryMark::note_paced();
                            }
                            this.state.set(State::Waiting { acquire });
                            return Poll::Pending;
                        }
                        Poll::Ready(Ok(permit)) => {
                            *this.permit = Some(permit);
                            this.state.set(State::Readying);
                        }
                        Poll::Ready(Err(turned)) => {
                            this.state.set(State::Done);
                            return Poll::Ready(Err(this.plan.refuse(this.call, turned, this.options)));
                        }
                    }
                }
                // Waiting → Readying when admitted, → Done when turned away.
                StateProj::Waiting { acquire } => {
                    let settled = ready!(acquire.poll(cx));
                    match settled {
                        Ok(permit) => {
                            *this.permit = Some(permit);
                            this.state.set(State::Readying);
                        }
                        Err(turned) => {
                            this.state.set(State::Done);
                            return Poll::Ready(Err(this.plan.refuse(this.call, turned, this.options)));
                        }
                    }
                }
                // Readying → Called when the service is ready, → Done if it is finished: then the permit
                // is dropped, which says that nothing was sent.
                StateProj::Readying => {
                    let Some((service, _)) = this.call else {
                        panic!("a call that was not made has a request");
                    };
                    let readied = ready!(service.poll_ready(cx));
                    let Some((mut service, request)) = this.call.take() else {
                        continue;
                    };
                    if let Err(error) = readied {
                        this.state.set(State::Done);
                        *this.permit = None;
                        return Poll::Ready(Err(error.into()));
                    }
                    this.permit.iter_mut().for_each(Permit::sent);
                    let answer = service.call(request);
                    this.state.set(State::Called { answer });
                }
                // Called → Done when the answer's head or an error has arrived.
                StateProj::Called { answer } => {
                    let answer = ready!(answer.poll(cx));
                    this.state.set(State::Done);
                    let held = this.permit.take().and_then(|permit| this.plan.hear(permit, &answer));
                    return Poll::Ready(match answer {
                        Ok(response) => Ok(this.plan.until.hold(response, held)),
                        Err(error) => Err(error.into()),
                    });
                }
                StateProj::Done => panic!("polled after it was ready"),
            }
        }
    }
}

impl<D, C, U> Plan<D, C, U> {
    /// The error of a call that was turned away; what it would have sent is dropped.
    fn refuse<S, Req>(
        &self,
        call: &mut Option<(S, Req)>,
        turned: Turned<<D::Gate as Gate>::Why>,
        options: &CallOptions,
    ) -> BoxError
    where
        D: Door<Req>,
    {
        match call.take() {
            Some((_, request)) => self.door.refuse_request(&request, turned, options),
            None => self.door.refuse(turned, options),
        }
    }

    /// Judges an answer, and tells the gate what there is to tell at once: a failure's pause or count
    /// must not wait for an error's body. A success is held until it has proved whole.
    fn hear<Res, Err, G>(&self, mut permit: Permit<G>, answer: &Result<Res, Err>) -> Option<Held<G>>
    where
        G: Gate,
        C: Classify<Res, Err>,
    {
        let verdict = self.classifier.classify(answer.as_ref());
        if let Ok(response) = answer {
            permit.heard(&self.classifier.readings(response));
            if verdict.outcome().is_success() {
                return Some(Held { permit: Some(permit), verdict });
            }
        }
        let (outcome, usage) = (verdict.outcome(), verdict.usage());
        permit.end(End::Judged { outcome, usage });
        None
    }
}

impl<S, Req, D, C, U> fmt::Debug for GatedFuture<S, Req, D, C, U>
where
    S: Service<Req>,
    D: Door<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Arriving => "GatedFuture(arriving)",
            State::Waiting { .. } => "GatedFuture(waiting)",
            State::Readying | State::Called { .. } => "GatedFuture(calling)",
            State::Done => "GatedFuture(done)",
        })
    }
}

/// The permit of a call whose answer is still being read, and what the head of it said.
#[derive(Debug)]
pub struct Held<G: Gate> {
    permit: Option<Permit<G>>,
    verdict: Verdict,
}

impl<G: Gate> Guard for Held<G> {
    fn content(&mut self) {
        // What has been read by now may be an error inside a good status.
        if self.verdict.outcome().is_success() {
            self.permit.iter_mut().for_each(Permit::content);
        }
    }

    fn end(mut self, end: BodyEnd) {
        let outcome = match (end, self.verdict.outcome()) {
            (BodyEnd::Broken, read) if read.is_success() => Outcome::transient(),
            (_, read) => read,
        };
        self.judged(outcome);
    }
}

impl<G: Gate> Held<G> {
    /// Tells the gate. An answer that was given up on this side had been sent, and nobody waited for its
    /// end: then the permit is dropped.
    fn judged(&mut self, outcome: Outcome) {
        let usage = self.verdict.usage();
        let Some(mut permit) = self.permit.take() else {
            return;
        };
        if outcome.kind() != Kind::Local {
            permit.end(End::Judged { outcome, usage });
        } else if let Some(usage) = usage {
            permit.used(usage);
        }
    }
}

/// The caller went away. Many do so at the end marker of a stream, and have read all of it; else what
/// had been seen of the answer has been consumed all the same.
impl<G: Gate> Drop for Held<G> {
    fn drop(&mut self) {
        let outcome = if self.verdict.is_final() {
            self.verdict.outcome()
        } else {
            Outcome::local()
        };
        self.judged(outcome);
    }
}
