//! A layer that only refuses, to stand outside of a queue.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aplomb_admission::Entries;
use aplomb_core::{BoxError, CallOptions, RequestHead, RequestView};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Circuit, CircuitHandle, CircuitOpen};

/// Refuses calls at once while a circuit is open, and does nothing else.
///
/// Made by [`CircuitHandle::fail_fast`]. It makes no circuit of a key: a call whose key has none passes. A circuit breaker stands inside of the queues, next to the peer, so that
/// it counts what the peer does; a call that comes while it is open would wait its turn in those queues only to
/// be refused at their end. This layer stands outside of them and spares it the wait:
///
/// ```text
/// retry ▸ fail fast ▸ rate limit ▸ concurrency ▸ circuit breaker ▸ client
/// ```
///
/// It counts nothing and takes no place of a probe: while the circuit is half-open, or recovers, all pass and
/// the circuit breaker decides. It refuses whether the calls inside are parked or not.
///
/// Services are always ready; the inner service is readied just before it is called. Clones share the
/// circuit. The error of a refusal is [`CircuitOpen`](crate::CircuitOpen).
#[derive(Clone, Debug)]
pub struct FailFastLayer {
    circuits: Entries<Circuit>,
}

impl CircuitHandle {
    /// A layer that refuses at once while the circuit is open, to stand outside of a queue.
    #[must_use]
    pub fn fail_fast(&self) -> FailFastLayer {
        FailFastLayer { circuits: self.entries().clone() }
    }
}

impl FailFastLayer {
    /// The rejection of `request`, if its circuit is open.
    fn rejection(&self, request: &impl RequestHead) -> Option<BoxError> {
        let view = || RequestView::head(request);
        let reason = self.circuits.find(view)?.with(Circuit::rejection)?;
        let key = self.circuits.label_of(view);
        Some(Box::new(CircuitOpen::at_once(reason, key, &CallOptions::of(request))))
    }
}

impl<S> Layer<S> for FailFastLayer {
    type Service = FailFast<S>;

    fn layer(&self, inner: S) -> FailFast<S> {
        FailFast { inner, layer: self.clone() }
    }
}

/// A service behind a [`FailFastLayer`].
#[derive(Clone)]
pub struct FailFast<S> {
    inner: S,
    layer: FailFastLayer,
}

impl<S, Req> Service<Req> for FailFast<S>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    Req: RequestHead,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = FailFastFuture<S, Req>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> FailFastFuture<S, Req> {
        let call = Some((self.inner.clone(), request));
        FailFastFuture { state: Stage::Arriving, call, layer: self.layer.clone() }
    }
}

pin_project! {
    /// The future of a [`FailFast`]'s call. Dropping it drops the inner call.
    pub struct FailFastFuture<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        state: Stage<S::Future>,
        call: Option<(S, Req)>,
        layer: FailFastLayer,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F> {
        // Looks when it is first polled: `options.scope(service.call(request))` says only then what has been
        // tried before.
        Arriving,
        Readying,
        Called { #[pin] answer: F },
        Done,
    }
}

impl<S, Req> Future for FailFastFuture<S, Req>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    Req: RequestHead,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Arriving → Readying, or → Done where the circuit is open.
        if let (StageProj::Arriving, Some((_, request))) = (this.state.as_mut().project(), this.call.as_ref())
        {
            if let Some(rejection) = this.layer.rejection(request) {
                this.state.set(Stage::Done);
                *this.call = None;
                return Poll::Ready(Err(rejection));
            }
            this.state.set(Stage::Readying);
        }
        // Readying → Called when the service is ready, → Done if it is finished.
        if let (StageProj::Readying, Some((service, _))) = (this.state.as_mut().project(), this.call.as_mut())
        {
            let readied = ready!(service.poll_ready(cx));
            let call = this.call.take();
            this.state.set(Stage::Done);
            readied.map_err(Into::into)?;
            if let Some((mut service, request)) = call {
                let answer = service.call(request);
                this.state.set(Stage::Called { answer });
            }
        }
        // Called → Done.
        let StageProj::Called { answer } = this.state.as_mut().project() else {
            panic!("polled after it was ready");
        };
        let answer = ready!(answer.poll(cx));
        this.state.set(Stage::Done);
        Poll::Ready(answer.map_err(Into::into))
    }
}

impl<S: fmt::Debug> fmt::Debug for FailFast<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailFast").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S: Service<Req>, Req> fmt::Debug for FailFastFuture<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            Stage::Arriving => "FailFastFuture(arriving)",
            Stage::Readying => "FailFastFuture(readying)",
            Stage::Called { .. } => "FailFastFuture(called)",
            Stage::Done => "FailFastFuture(done)",
        })
    }
}
