//! The future of a routed call.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aplomb_core::BoxError;
use aplomb_rate_limit::Charge;
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::context::CallContext;
use crate::endpoint::EndpointFuture;
use crate::route::NoRoute;
use crate::{EndpointBody, EndpointError, HttpClient, Report};

pin_project! {
    /// The future of a [`Router`](crate::Router)'s call.
    pub struct RouterFuture<S, A>
    where
        S: HttpClient<A>,
        A: Body,
        A: Clone,
        A: 'static,
    {
        #[pin]
        target: Target<EndpointFuture<S, A>, S, http::Request<A>, S::Future>,
    }
}

pin_project! {
    #[project = TargetProj]
    enum Target<E, S, R, F> {
        Endpoint { #[pin] call: E },
        // Without an endpoint: the client is readied, then called.
        Readying { call: Option<(S, R)> },
        Client { #[pin] call: F },
        Rejected { error: Option<NoRoute> },
    }
}

impl<S, A> RouterFuture<S, A>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    pub(super) const fn endpoint(call: EndpointFuture<S, A>) -> Self {
        Self { target: Target::Endpoint { call } }
    }

    pub(super) const fn pass(client: S, request: http::Request<A>) -> Self {
        Self { target: Target::Readying { call: Some((client, request)) } }
    }

    pub(super) const fn reject(error: NoRoute) -> Self {
        Self { target: Target::Rejected { error: Some(error) } }
    }
}

impl<S, A> Future for RouterFuture<S, A>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    type Output = Result<http::Response<EndpointBody<S::Body>>, EndpointError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut target = self.project().target;
        loop {
            match target.as_mut().project() {
                TargetProj::Endpoint { call } => return call.poll(cx),
                // Readying → Client when the client is ready.
                TargetProj::Readying { call } => {
                    let Some((client, _)) = call else {
                        panic!("polled after it was ready");
                    };
                    if let Err(error) = ready!(client.poll_ready(cx)) {
                        return Poll::Ready(Err(without_endpoint(error, false)));
                    }
                    if let Some((mut client, request)) = call.take() {
                        let call = client.call(request);
                        target.set(Target::Client { call });
                    }
                }
                TargetProj::Client { call } => {
                    return Poll::Ready(
                        ready!(call.poll(cx))
                            .map(EndpointBody::unwatched)
                            .map_err(|error| without_endpoint(error, true)),
                    );
                }
                TargetProj::Rejected { error } => match error.take() {
                    Some(error) => return Poll::Ready(Err(without_endpoint(error, false))),
                    None => panic!("polled after it was ready"),
                },
            }
        }
    }
}

/// The error of a call without an endpoint: its report only says whether it was sent.
fn without_endpoint(error: impl Into<BoxError>, was_sent: bool) -> EndpointError {
    let now = Instant::now();
    let call = CallContext::new("none", now, None, (Charge::request(), None));
    if was_sent {
        call.sends(now);
    }
    EndpointError::new(error.into(), Report::new(call))
}

impl<S, A> fmt::Debug for RouterFuture<S, A>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RouterFuture")
    }
}
