//! A layer that answers instead of failing.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aplomb_core::BoxError;
use bytes::Bytes;
use http::Response;
use http_body_util::{Either, Full};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Shape, ToResponse};

/// Turns the errors of a service into responses: what axum asks of the layers of a router.
///
/// It goes outside of the layers that reject calls; see [`ToResponse`] for the responses.
///
/// # Examples
///
/// In front of an axum router, a rate limit for each API key:
///
/// ```
/// use aplomb::rate_limit::{Quota, RateLimitLayer};
/// use aplomb::{ErrorResponseLayer, Shape};
/// use tower::ServiceBuilder;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let limit = RateLimitLayer::inbound([Quota::requests_per_minute(60).burst(10)]).by_account();
/// let layers = ServiceBuilder::new().layer(ErrorResponseLayer::new(Shape::OpenAi)).layer(limit);
/// // axum::Router::new().route("/v1/chat/completions", post(complete)).layer(layers)
/// # drop(layers);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct ErrorResponseLayer {
    shape: Shape,
}

impl ErrorResponseLayer {
    /// Answers in this shape.
    pub const fn new(shape: Shape) -> Self {
        Self { shape }
    }
}

impl<S> Layer<S> for ErrorResponseLayer {
    type Service = ErrorResponse<S>;

    fn layer(&self, inner: S) -> ErrorResponse<S> {
        ErrorResponse { inner, shape: self.shape, not_ready: None }
    }
}

/// A service that answers instead of failing. Made by [`ErrorResponseLayer`].
#[derive(Debug)]
pub struct ErrorResponse<S> {
    inner: S,
    shape: Shape,
    /// The error of becoming ready: the answer to the next call.
    not_ready: Option<BoxError>,
}

/// The error of becoming ready stays with the original.
impl<S: Clone> Clone for ErrorResponse<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shape: self.shape, not_ready: None }
    }
}

impl<S, Req, B> Service<Req> for ErrorResponse<S>
where
    S: Service<Req, Response = Response<B>, Error: Into<BoxError>>,
{
    type Response = Response<Either<B, Full<Bytes>>>;
    type Error = Infallible;
    type Future = ErrorResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.not_ready.is_none() {
            self.not_ready = ready!(self.inner.poll_ready(cx)).err().map(Into::into);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let state = match self.not_ready.take() {
            Some(error) => State::Failed { error },
            None => State::Calling { call: self.inner.call(request) },
        };
        ErrorResponseFuture { state, shape: self.shape }
    }
}

pin_project! {
    /// The future of an [`ErrorResponse`]'s call.
    pub struct ErrorResponseFuture<F> {
        #[pin]
        state: State<F>,
        shape: Shape,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Calling { #[pin] call: F },
        Failed { error: BoxError },
    }
}

impl<F, B, E> Future for ErrorResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<Either<B, Full<Bytes>>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let refused = |error: &BoxError| error.to_response(*this.shape).map(Either::Right);
        Poll::Ready(Ok(match this.state.project() {
            StateProj::Failed { error } => refused(error),
            StateProj::Calling { call } => match ready!(call.poll(cx)) {
                Ok(response) => response.map(Either::Left),
                Err(error) => refused(&error.into()),
            },
        }))
    }
}

impl<F> fmt::Debug for ErrorResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ErrorResponseFuture")
    }
}
