//! The service, and the names of what it is made of.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use aplomb_core::{AtBodyEnd, BoxError, Copied, Gated, GuardedBody, Held};
use aplomb_retry::{ByKind, Drain, Retry};
use bytes::Bytes;
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::layer::RetryObserver;
use super::{Deadline, EndpointClassifier, EndpointDoor, Gates, Inspect, ReadBody};

/// A client behind an [`EndpointLayer`](crate::EndpointLayer). Clones share everything but the client.
#[derive(Clone)]
pub struct Endpoint<S> {
    stack: Stack<S>,
}

/// The body of an endpoint's response: the client's, watched until it ends.
pub type EndpointBody<B> = GuardedBody<ReadBody<B>, Held<Gates>>;

type Stack<S> = Deadline<Retry<Attempt<S>, Copied, EndpointClassifier, ByKind, Drain, RetryObserver>>;

type Attempt<S> = Gated<Inspect<S>, EndpointDoor, EndpointClassifier, AtBodyEnd>;

impl<S> Endpoint<S> {
    pub(super) const fn new(stack: Stack<S>) -> Self {
        Self { stack }
    }
}

impl<S, A, B> Service<http::Request<A>> for Endpoint<S>
where
    S: Service<http::Request<A>, Response = http::Response<B>> + Clone,
    S::Error: Into<BoxError>,
    A: Clone,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<EndpointBody<B>>;
    type Error = BoxError;
    type Future = EndpointFuture<S, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<A>) -> Self::Future {
        EndpointFuture { call: self.stack.call(request) }
    }
}

pin_project! {
    /// The future of an [`Endpoint`]'s call.
    pub struct EndpointFuture<S, A>
    where
        Stack<S>: Service<http::Request<A>>,
    {
        #[pin]
        call: <Stack<S> as Service<http::Request<A>>>::Future,
    }
}

impl<S, A> Future for EndpointFuture<S, A>
where
    Stack<S>: Service<http::Request<A>>,
{
    type Output = <<Stack<S> as Service<http::Request<A>>>::Future as Future>::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().call.poll(cx)
    }
}

impl<S> fmt::Debug for Endpoint<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint")
    }
}

impl<S, A> fmt::Debug for EndpointFuture<S, A>
where
    Stack<S>: Service<http::Request<A>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointFuture")
    }
}
