//! reqwest's client as an endpoint calls it.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aplomb::{AdaptedBody, BoxError};
use pin_project_lite::pin_project;
use reqwest::{Request, Response};
use tower_service::Service;

use crate::factory::MadeRequest;
use crate::origin::{Attempt, Origin, with_body_of};
use crate::response::{self, ResponseBody};

/// Sends the requests of a [`Reqwest`](crate::Reqwest) with reqwest's client, or any other service of its requests and
/// responses. It stands below the endpoint, in place of an HTTP client.
#[derive(Clone, Debug)]
pub struct Transport<S>(S);

impl<S> Transport<S> {
    /// Sends requests with `client`.
    pub const fn new(client: S) -> Self {
        Self(client)
    }
}

impl<S> Service<http::Request<AdaptedBody>> for Transport<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>> + Clone,
{
    type Response = http::Response<ResponseBody>;
    type Error = BoxError;
    type Future = TransportFuture<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<AdaptedBody>) -> Self::Future {
        let (head, body) = request.into_parts();
        let (bytes, origin) = body.into_parts();
        let origin: Result<Arc<Origin>, _> = origin.downcast();
        let attempt = match origin {
            Ok(origin) => origin.attempt(head, bytes.map(Into::into)),
            Err(_) => Err("the request is not reqwest's".into()),
        };
        let state = match attempt {
            Ok(Attempt::Ready(request)) => State::Calling { call: self.0.call(request) },
            Ok(Attempt::Making(making, head)) => {
                // It is the clone that may not be ready.
                let clone = self.0.clone();
                State::Making { making, next: Some(Box::new((mem::replace(&mut self.0, clone), head))) }
            }
            Err(error) => State::Failed { error: Some(error) },
        };
        TransportFuture { state }
    }
}

pin_project! {
    /// The future of a [`Transport`]'s call.
    pub struct TransportFuture<S: Service<Request>> {
        #[pin]
        state: State<S, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        Making { making: MadeRequest, next: Option<Box<(S, Request)>> },
        Calling { #[pin] call: F },
        Failed { error: Option<BoxError> },
    }
}

impl<S> Future for TransportFuture<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>>,
{
    type Output = Result<http::Response<ResponseBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Calling { call } => {
                    return call.poll(cx).map(|result| match result {
                        Ok(response) => Ok(response::into_http(response)),
                        Err(error) => Err(error.into()),
                    });
                }
                // Making → Calling when the request is made.
                StateProj::Making { making, next } => {
                    let made = ready!(making.as_mut().poll(cx))?;
                    let (mut client, head) = *next.take().expect("polled after it was ready");
                    let call = client.call(with_body_of(made, head));
                    state.set(State::Calling { call });
                }
                StateProj::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect("polled after it was ready")));
                }
            }
        }
    }
}

impl<S: Service<Request>> fmt::Debug for TransportFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportFuture")
    }
}
