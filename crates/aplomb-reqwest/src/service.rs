//! An endpoint or a router as a service of reqwest's requests.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aplomb::{AdaptedBody, BoxError};
use bytes::Bytes;
use http_body::Body;
use pin_project_lite::pin_project;
use reqwest::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::prepare::{HttpRequest, Prepared, prepare, unsendable};
use crate::response::into_reqwest;
use crate::{RequestFactory, Transport};

/// Puts an [`EndpointLayer`](aplomb::EndpointLayer) or a [`RouterLayer`](aplomb::RouterLayer) around a service of reqwest's
/// requests: `reqwest::Client`, or a stack of layers around it.
///
/// The single layers (retry, rate limit, circuit breaker, concurrency) go around it as they are.
///
/// # Examples
///
/// ```
/// use aplomb::{EndpointLayer, provider::OpenAi};
/// use aplomb_reqwest::ReqwestLayer;
/// use tower::{Layer, ServiceExt};
///
/// # async fn ask(request: reqwest::Request) -> Result<(), aplomb::BoxError> {
/// let service = ReqwestLayer::new(EndpointLayer::new(OpenAi)).layer(reqwest::Client::new());
/// let response: reqwest::Response = service.clone().oneshot(request).await?;
/// # drop(response);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ReqwestLayer<L> {
    layer: L,
    replay_limit: usize,
}

impl<L> ReqwestLayer<L> {
    /// Puts `layer` around the service.
    pub const fn new(layer: L) -> Self {
        Self { layer, replay_limit: 64 * 1024 }
    }

    /// Sets how many bytes of a streamed body are kept in memory. Default: 64 KiB.
    ///
    /// A streamed body that ends within this limit is read before the request is sent: the endpoint then knows its tokens
    /// and can send it again. A longer one is sent once, as it comes, and its call is not retried, unless it comes from a
    /// [`RequestFactory`]. Bodies in memory (`json`, `body`, `form`) can always be sent again, whatever their size.
    pub const fn replay_limit(mut self, bytes: usize) -> Self {
        self.replay_limit = bytes;
        self
    }
}

impl<S, L: Layer<Transport<S>>> Layer<S> for ReqwestLayer<L> {
    type Service = Reqwest<L::Service>;

    fn layer(&self, client: S) -> Self::Service {
        Reqwest { inner: self.layer.layer(Transport::new(client)), replay_limit: self.replay_limit }
    }
}

/// An endpoint or a router over reqwest, as a service from `reqwest::Request` to `reqwest::Response`.
///
/// The response is the client's, with its URL and remote address; its body is watched to its end as that of any
/// [`Endpoint`](aplomb::Endpoint). A status is never an error. [`Report::of`](aplomb::Report::of) finds the report of the
/// call in it.
///
/// A timeout of the request or of the client limits each attempt; set the policy's
/// [`deadline`](aplomb::Policy::deadline) for the call. Options of a call ([`CallOptions`](aplomb::CallOptions)) come with
/// the request, see [`RequestExt`](crate::RequestExt), or from the task's [scope](aplomb::CallOptions::scope).
///
/// **Clones share** everything. **Errors** are those of the endpoint; a request that could not be built is one too, with
/// reqwest's error as its cause. It is always ready.
#[derive(Clone, Debug)]
pub struct Reqwest<E> {
    inner: E,
    replay_limit: usize,
}

impl<E> Reqwest<E> {
    /// Begins a call whose request may have failed to be built.
    pub(crate) fn start(
        &mut self,
        request: reqwest::Result<Request>,
        extensions: http::Extensions,
    ) -> ReqwestFuture<E>
    where
        E: Service<HttpRequest> + Clone,
    {
        self.begin(prepare(request, extensions, None, self.replay_limit))
    }

    fn begin(&mut self, prepared: Prepared) -> ReqwestFuture<E>
    where
        E: Service<HttpRequest> + Clone,
    {
        let state = match prepared {
            Prepared::Ready(request) => State::Calling { call: self.inner.call(request) },
            Prepared::Reading(reading) => State::Reading { reading, next: Some(self.inner.clone()) },
        };
        ReqwestFuture { state }
    }
}

impl<E, B> Service<Request> for Reqwest<E>
where
    E: Service<http::Request<AdaptedBody>, Response = http::Response<B>> + Clone,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
{
    type Response = Response;
    type Error = E::Error;
    type Future = ReqwestFuture<E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.start(Ok(request), http::Extensions::new())
    }
}

impl<E, B> Service<RequestFactory> for Reqwest<E>
where
    E: Service<http::Request<AdaptedBody>, Response = http::Response<B>> + Clone,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
{
    type Response = Response;
    type Error = E::Error;
    type Future = ReqwestFuture<E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, factory: RequestFactory) -> Self::Future {
        let limit = self.replay_limit;
        self.begin(Prepared::Reading(Box::pin(async move {
            let request = match factory.make().await {
                Ok(request) => request,
                Err(error) => return unsendable(error),
            };
            match prepare(Ok(request), http::Extensions::new(), Some(factory), limit) {
                Prepared::Ready(request) => request,
                Prepared::Reading(reading) => reading.await,
            }
        })))
    }
}

pin_project! {
    /// The future of a [`Reqwest`]'s call. Dropping it drops the attempt in progress, or leaves the queue.
    pub struct ReqwestFuture<E: Service<http::Request<AdaptedBody>>> {
        #[pin]
        state: State<E, E::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<E, F> {
        // The request is made, or its body read ahead.
        Reading { reading: Pin<Box<dyn Future<Output = HttpRequest> + Send>>, next: Option<E> },
        Calling { #[pin] call: F },
    }
}

impl<E, B> Future for ReqwestFuture<E>
where
    E: Service<http::Request<AdaptedBody>, Response = http::Response<B>>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
{
    type Output = Result<Response, E::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Calling { call } => return call.poll(cx).map(|result| result.map(into_reqwest)),
                // Reading → Calling when the request is whole. The inner service is always ready.
                StateProj::Reading { reading, next } => {
                    let request = ready!(reading.as_mut().poll(cx));
                    let mut inner = next.take().expect("polled after it was ready");
                    state.set(State::Calling { call: inner.call(request) });
                }
            }
        }
    }
}

impl<E: Service<http::Request<AdaptedBody>>> fmt::Debug for ReqwestFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReqwestFuture")
    }
}
