//! The service next to the client: it reads responses, limits their time and judges them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aplomb_core::BoxError;
use bytes::Bytes;
use http::Uri;
use http::response::Parts;
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service;

use super::attempt_request::AttemptRequest;
use super::body::EndpointBody;
use super::inspected_body::{InspectedBody, LookAhead};
use super::judge::{Inspection, Judge, Started};
use super::timeouts::TimedOut;
use super::timeouts::{Awaited, Due, Stopwatch};
use crate::HttpClient;

/// Reads as much of a response as it takes to judge the attempt, reads the rest as it passes, and writes what it
/// finds into the record of the call: no layer further out reads the bytes again. It also limits the time of each
/// part of an attempt, see [`TimedOut`](super::TimedOut).
///
/// | response | read before the caller gets it | read as it passes |
/// | --- | --- | --- |
/// | an error | its body: at most 64 KiB, for at most 5 s | |
/// | an event stream, JSON line by line | up to its first content or an error | usage, errors, its end |
/// | JSON with a small announced size | all of it | |
/// | other JSON | | usage and its end, up to 1 MiB |
/// | anything else | | that it ends |
///
/// With `whole_answers`, every response is read to its end.
#[derive(Debug)]
pub(crate) struct Inspect<S> {
    inner: S,
    inspection: Arc<Inspection>,
    /// Limits how long the client takes to become ready. Set when it is not ready at once.
    patience: Option<Pin<Box<Sleep>>>,
}

/// Each clone waits for its client by itself.
impl<S: Clone> Clone for Inspect<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.inspection))
    }
}

impl<S> Inspect<S> {
    pub(super) const fn new(inner: S, inspection: Arc<Inspection>) -> Self {
        Self { inner, inspection, patience: None }
    }
}

impl<S, A> Service<AttemptRequest<A>> for Inspect<S>
where
    S: HttpClient<A>,
    A: Body + Clone,
{
    type Response = http::Response<EndpointBody<S::Body>>;
    type Error = BoxError;
    type Future = InspectFuture<S, A, S::Body>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if let Poll::Ready(ready) = self.inner.poll_ready(cx) {
            return Poll::Ready(ready.map_err(Into::into));
        }
        // The client may wait for a connection of its pool. The admission is not held forever.
        let longest = self.inspection.timeouts.head;
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(longest)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(Err(TimedOut::head(longest).into()))
    }

    fn call(&mut self, attempt: AttemptRequest<A>) -> Self::Future {
        let AttemptRequest { request, call } = attempt;
        let now = Instant::now();
        let (exchange, deadline) = call.sends(now);
        let watch = Stopwatch::new(Arc::clone(&self.inspection.timeouts), deadline, now);
        let method = request.method().clone();
        let reused = self.inspection.connections.send(now);
        let judge = Judge { inspection: Arc::clone(&self.inspection), call, exchange, method, reused };
        let state = if has_invalid_port(request.uri()) {
            State::Invalid
        } else {
            State::Calling { watch, call: self.inner.call(request) }
        };
        InspectFuture { state, judge }
    }
}

/// Returns whether the URI has a port that is not one, such as `:99999`. Clients would connect to the default port of the
/// scheme instead, and send the credential there.
fn has_invalid_port(uri: &Uri) -> bool {
    let Some(authority) = uri.authority().filter(|authority| authority.as_str().contains(':')) else {
        return false;
    };
    let without_user = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, rest)| rest);
    let port = &without_user[authority.host().len()..];
    port.len() > 1 && authority.port().is_none()
}

pin_project! {
    /// The future of [`Inspect`].
    pub(crate) struct InspectFuture<S, A, B>
    where
        S: Service<http::Request<A>>,
        B: Body,
    {
        #[pin]
        state: State<S::Future, B>,
        judge: Judge,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B>
    where
        B: Body,
    {
        // Waits for the head.
        Calling { watch: Stopwatch, #[pin] call: F },
        // Is not sent.
        Invalid,
        // Reads ahead.
        Reading { response: Option<(Parts, Pin<Box<InspectedBody<B>>>)>, ahead: LookAhead },
        Done,
    }
}

impl<S, A, B> Future for InspectFuture<S, A, B>
where
    S: Service<http::Request<A>, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<http::Response<EndpointBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let ended = match this.state.as_mut().project() {
            // Calling → Reading if some of the body has to be known first and is not there yet, → Done otherwise.
            StateProj::Calling { watch, call } => match call.poll(cx) {
                Poll::Pending => match ready!(watch.poll(Awaited::Head, cx)) {
                    Due::Timeout(timed_out) => Err(timed_out.into()),
                    Due::Deadline | Due::Enough => return Poll::Pending,
                },
                Poll::Ready(Err(error)) => Err(error.into()),
                Poll::Ready(Ok(response)) => match this.judge.start(response, watch.take()) {
                    Started::Ready(response) => Ok(response),
                    Started::Reads(parts, mut body, ahead) => {
                        if body.as_mut().poll_ahead(ahead, cx).is_pending() {
                            this.state.set(State::Reading { response: Some((parts, body)), ahead });
                            return Poll::Pending;
                        }
                        this.judge.conclude(parts, body, ahead.to)
                    }
                },
            },
            // The wording is that of clients: the request is known to be invalid by it.
            StateProj::Invalid => Err("invalid URL: the port is not a number up to 65535".into()),
            // Reading → Done when enough is known.
            StateProj::Reading { response, ahead } => {
                if let Some((_, body)) = response {
                    ready!(body.as_mut().poll_ahead(*ahead, cx));
                }
                let Some((parts, body)) = response.take() else {
                    panic!("polled after it was ready");
                };
                this.judge.conclude(parts, body, ahead.to)
            }
            StateProj::Done => panic!("polled after it was ready"),
        };
        this.state.set(State::Done);
        Poll::Ready(this.judge.end(ended))
    }
}

impl<S: Service<http::Request<A>>, A, B: Body> fmt::Debug for InspectFuture<S, A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Calling { .. } => "InspectFuture(calling)",
            State::Invalid => "InspectFuture(invalid)",
            State::Reading { .. } => "InspectFuture(reading)",
            State::Done => "InspectFuture(done)",
        })
    }
}
