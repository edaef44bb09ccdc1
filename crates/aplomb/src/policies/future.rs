//! The future of a call that was routed.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aplomb_core::BoxError;
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::NoPolicy;
use crate::{EndpointBody, EndpointError, EndpointFuture, HttpClient, Report};

pin_project! {
    /// The future of a [`PoliciesService`](crate::PoliciesService)'s call.
    pub struct PoliciesFuture<S, A>
    where
        S: HttpClient<A>,
        A: Body,
        A: Clone,
        A: 'static,
    {
        #[pin]
        way: Way<EndpointFuture<S, A>, S, http::Request<A>, S::Future>,
    }
}

pin_project! {
    #[project = WayProj]
    enum Way<E, S, R, F> {
        // An endpoint treats it.
        Treated { #[pin] call: E },
        // The client is readied, and then called.
        Passes { call: Option<(S, R)> },
        Passed { #[pin] call: F },
        Refused { error: Option<NoPolicy> },
    }
}

impl<S, A> PoliciesFuture<S, A>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    pub(super) const fn treated(call: EndpointFuture<S, A>) -> Self {
        Self { way: Way::Treated { call } }
    }

    pub(super) const fn passes(client: S, request: http::Request<A>) -> Self {
        Self { way: Way::Passes { call: Some((client, request)) } }
    }

    pub(super) const fn refused(error: NoPolicy) -> Self {
        Self { way: Way::Refused { error: Some(error) } }
    }
}

impl<S, A> Future for PoliciesFuture<S, A>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    type Output = Result<http::Response<EndpointBody<S::Body>>, EndpointError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut way = self.project().way;
        loop {
            match way.as_mut().project() {
                WayProj::Treated { call } => return call.poll(cx),
                // Passes → Passed when the client is ready.
                WayProj::Passes { call } => {
                    let Some((client, _)) = call else {
                        panic!("polled after it was ready");
                    };
                    if let Err(error) = ready!(client.poll_ready(cx)) {
                        return Poll::Ready(Err(untreated(error, false)));
                    }
                    if let Some((mut client, request)) = call.take() {
                        let call = client.call(request);
                        way.set(Way::Passed { call });
                    }
                }
                WayProj::Passed { call } => {
                    return Poll::Ready(
                        ready!(call.poll(cx))
                            .map(EndpointBody::unwatched)
                            .map_err(|error| untreated(error, true)),
                    );
                }
                WayProj::Refused { error } => match error.take() {
                    Some(error) => return Poll::Ready(Err(untreated(error, false))),
                    None => panic!("polled after it was ready"),
                },
            }
        }
    }
}

/// The error of a call that no endpoint treats: what is known of it is that, and whether it was sent.
fn untreated(error: impl Into<BoxError>, was_sent: bool) -> EndpointError {
    let now = Instant::now();
    let report = Report::new("none", now);
    if was_sent {
        report.sends(now);
    }
    EndpointError::new(error.into(), report)
}

impl<S, A> fmt::Debug for PoliciesFuture<S, A>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoliciesFuture")
    }
}
