//! A layer that only rejects, to stand outside of a queue.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aplomb_admission::LayerState;
use aplomb_core::{BoxError, CallOptions, RequestHead, RequestView};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Circuit, CircuitHandle};

/// Rejects calls at once while their circuit is open, and does nothing else. Made by [`CircuitHandle::fail_fast`].
///
/// A circuit breaker stands inside of the queues, next to the server, so that it counts what the server does. While it is
/// open, a call would wait its turn in those queues only to be rejected at their end. This layer stands outside of them
/// and spares it the wait:
///
/// ```text
/// retry ▸ fail fast ▸ rate limit ▸ concurrency ▸ circuit breaker ▸ client
/// ```
///
/// It counts nothing and takes no place of a probe: while the circuit is half-open, or on its ramp, all calls pass and the
/// circuit breaker decides. It rejects whether or not the calls inside are parked. It makes no circuit: a call whose key
/// is not in use passes.
///
/// Services are always ready; the inner service is readied just before it is called. Clones share the circuits. The error
/// of a rejection is [`CircuitOpen`](crate::CircuitOpen), boxed.
#[derive(Clone, Debug)]
pub struct FailFastLayer {
    circuits: CircuitHandle,
}

impl CircuitHandle {
    /// A layer that rejects at once while the circuit is open, to stand outside of a queue.
    #[must_use]
    pub fn fail_fast(&self) -> FailFastLayer {
        FailFastLayer { circuits: self.clone() }
    }

    /// The error of a request whose circuit is open.
    fn rejects<Req: RequestHead>(&self, request: &Req) -> Option<BoxError> {
        let circuits = self.0.state();
        let queue = circuits.entries().find(|| RequestView::head(request))?;
        let open = queue.with(Circuit::rejection)?;
        Some(circuits.open(open, queue.key_label(), &CallOptions::of(request)))
    }
}

impl<S> Layer<S> for FailFastLayer {
    type Service = FailFast<S>;

    fn layer(&self, inner: S) -> FailFast<S> {
        FailFast { inner, circuits: self.circuits.clone() }
    }
}

/// A service behind a [`FailFastLayer`].
#[derive(Clone)]
pub struct FailFast<S> {
    inner: S,
    circuits: CircuitHandle,
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
        FailFastFuture { stage: Stage::Arriving, call, circuits: self.circuits.clone() }
    }
}

pin_project! {
    /// The future of a [`FailFast`]'s call. Dropping it drops the inner call.
    pub struct FailFastFuture<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        stage: Stage<S::Future>,
        call: Option<(S, Req)>,
        circuits: CircuitHandle,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F> {
        // Looks when it is first polled: `options.scope(service.call(request))` sets the options only then.
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
        // Arriving → Readying, → Done if the circuit is open.
        if let (StageProj::Arriving, Some((_, request))) = (this.stage.as_mut().project(), this.call.as_ref())
        {
            if let Some(error) = this.circuits.rejects(request) {
                this.stage.set(Stage::Done);
                *this.call = None;
                return Poll::Ready(Err(error));
            }
            this.stage.set(Stage::Readying);
        }
        // Readying → Called when the service is ready, → Done if it fails to become ready.
        if let (StageProj::Readying, Some((service, _))) = (this.stage.as_mut().project(), this.call.as_mut())
        {
            let readied = ready!(service.poll_ready(cx));
            let call = this.call.take();
            this.stage.set(Stage::Done);
            readied.map_err(Into::into)?;
            if let Some((mut service, request)) = call {
                let answer = service.call(request);
                this.stage.set(Stage::Called { answer });
            }
        }
        // Called → Done.
        let StageProj::Called { answer } = this.stage.as_mut().project() else {
            panic!("polled after it was ready");
        };
        let answer = ready!(answer.poll(cx));
        this.stage.set(Stage::Done);
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
        f.write_str(match self.stage {
            Stage::Arriving => "FailFastFuture(arriving)",
            Stage::Readying => "FailFastFuture(readying)",
            Stage::Called { .. } => "FailFastFuture(called)",
            Stage::Done => "FailFastFuture(done)",
        })
    }
}
