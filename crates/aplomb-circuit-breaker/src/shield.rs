//! A layer that only refuses, to stand outside of a queue.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aplomb_core::{BoxError, CallOptions, Dispatch, Queue, RequestHead};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Circuit, Handle, Open};

/// Refuses calls at once while a circuit is open, and does nothing else.
///
/// Made by [`Handle::shield`]. A circuit breaker stands inside of the queues, next to the peer, so that
/// it counts what the peer does; a call that comes while it is open would wait its turn in those queues only to
/// be refused at their end. This layer stands outside of them and spares it the wait:
///
/// ```text
/// retry ▸ shield ▸ rate limit ▸ concurrency ▸ circuit breaker ▸ client
/// ```
///
/// It counts nothing and takes no place of a probe: while the circuit is half-open, or recovers, all pass and
/// the circuit breaker decides. It refuses whether the calls inside are parked or not.
///
/// Services are always ready; the inner service is readied just before it is called. Clones share the
/// circuit. The error of a refusal is [`Open`](crate::Open).
#[derive(Clone, Debug)]
pub struct ShieldLayer {
    queue: Queue<Circuit>,
}

impl ShieldLayer {
    pub(crate) const fn new(queue: Queue<Circuit>) -> Self {
        Self { queue }
    }
}

impl Handle {
    /// A layer that refuses at once while the circuit is open, to stand outside of a queue.
    #[must_use]
    pub fn shield(&self) -> ShieldLayer {
        ShieldLayer::new(self.queue().clone())
    }
}

impl<S> Layer<S> for ShieldLayer {
    type Service = Shield<S>;

    fn layer(&self, inner: S) -> Shield<S> {
        Shield { inner, queue: self.queue.clone() }
    }
}

/// A service behind a [`ShieldLayer`].
#[derive(Clone)]
pub struct Shield<S> {
    inner: S,
    queue: Queue<Circuit>,
}

impl<S, Req> Service<Req> for Shield<S>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    Req: RequestHead,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ShieldFuture<S, Req>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> ShieldFuture<S, Req> {
        let state = State::Arriving { call: Some((self.inner.clone(), request)) };
        ShieldFuture { state, queue: self.queue.clone() }
    }
}

pin_project! {
    /// The future of a [`Shield`]'s call. Dropping it drops the inner call.
    pub struct ShieldFuture<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, Req>,
        queue: Queue<Circuit>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req>
    where
        S: Service<Req>,
    {
        // Looks when it is first polled: `options.scope(service.call(request))` says only then what has been
        // tried before.
        Arriving { call: Option<(S, Req)> },
        Passing { #[pin] dispatch: Dispatch<S, Req> },
    }
}

impl<S, Req> Future for ShieldFuture<S, Req>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    Req: RequestHead,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Arriving → Passing, or ends here where the circuit is open.
        if let StateProj::Arriving { call } = this.state.as_mut().project()
            && let Some((service, request)) = call.take()
        {
            if let Some(why) = this.queue.with(Circuit::refusal) {
                let options = CallOptions::of(&request);
                return Poll::Ready(Err(Open::boxed(why, why.retry_after(), Duration::ZERO, &options)));
            }
            this.state.set(State::Passing { dispatch: Dispatch::new(service, request) });
        }
        // Passing → done.
        match this.state.project() {
            StateProj::Passing { dispatch } => dispatch.poll_with(cx, || ()).map_err(Into::into),
            StateProj::Arriving { .. } => panic!("polled after it was ready"),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Shield<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shield").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S: Service<Req>, Req> fmt::Debug for ShieldFuture<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Arriving { .. } => "ShieldFuture(arriving)",
            State::Passing { .. } => "ShieldFuture(passing)",
        })
    }
}
