//! Layers as middleware of reqwest-middleware.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use aplomb::{BoxError, CallOptions};
use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Next};
use tower_layer::Layer;
use tower_service::Service;

use crate::{RequestExt, ReqwestLayer};

/// A layer as a middleware of [`reqwest_middleware`]: an endpoint, a router, or one of the single layers.
///
/// The middlewares that were added after it, and the client, are what the layer goes around: they run once for each attempt.
/// Those that were added before it run once for the call.
///
/// [`CallOptions`](aplomb::CallOptions) and other values in the extensions of the call reach the layer; each attempt gets a
/// copy of the extensions, and the caller sees those of the last attempt.
///
/// The state (quotas, circuit, queue) belongs to the layer, so calls share it, as do all middlewares made of clones of it.
///
/// **Errors** of a layer are `Error::Middleware`, in which [`find`](aplomb::find) finds the
/// [`EndpointError`](aplomb::EndpointError), or the error of the single layer. reqwest's errors stay `Error::Reqwest` where a
/// single layer passes them on.
///
/// # Examples
///
/// ```
/// use aplomb::{EndpointLayer, provider::OpenAi};
/// use aplomb_reqwest::Middleware;
/// use reqwest_middleware::ClientBuilder;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb::BoxError> {
/// # let server = aplomb_mock::Mock::builder().start().await?;
/// # let (base_url, prompt) = (server.openai_base_url(), r#"{"model": "m", "messages": []}"#);
/// let endpoint = Middleware::endpoint(EndpointLayer::new(OpenAi));
/// let client = ClientBuilder::new(reqwest::Client::new()).with(endpoint).build();
///
/// let response = client.post(format!("{base_url}/chat/completions")).body(prompt).send().await?;
/// # drop(response);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Middleware<L> {
    layer: L,
}

impl<L> Middleware<L> {
    /// One of the single layers, or a stack of them, around the rest of the chain.
    pub const fn new(layer: L) -> Self {
        Self { layer }
    }
}

impl<L> Middleware<ReqwestLayer<L>> {
    /// An [`EndpointLayer`](aplomb::EndpointLayer) or a [`RouterLayer`](aplomb::RouterLayer) around the rest of the chain.
    pub const fn endpoint(layer: L) -> Self {
        Self::new(ReqwestLayer::new(layer))
    }
}

#[async_trait::async_trait]
impl<L> reqwest_middleware::Middleware for Middleware<L>
where
    L: for<'a> Layer<
            NextService<'a>,
            Service: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send> + Send,
        > + Send
        + Sync
        + 'static,
{
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let options = extensions.get().copied().or_else(CallOptions::current).unwrap_or_default();
        let request = if extensions.is_empty() {
            request
        } else {
            request.with_extensions(extensions.clone())
        };
        let last = Arc::new(Mutex::new(extensions.clone()));
        let next = NextService { next, first: extensions.clone(), last: Arc::clone(&last) };
        let mut service = self.layer.layer(next);
        let result = options
            .scope(async {
                std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(request).await
            })
            .await;
        std::mem::swap(extensions, &mut last.lock().unwrap_or_else(PoisonError::into_inner));
        result.map_err(|error| into_error(error.into()))
    }
}

/// The rest of a chain of middlewares, and the client behind it, as a service for one call.
#[derive(Clone)]
pub struct NextService<'a> {
    next: Next<'a>,
    /// Those of the call, before its first attempt.
    first: Extensions,
    /// Those of the latest attempt that has ended.
    last: Arc<Mutex<Extensions>>,
}

impl<'a> Service<Request> for NextService<'a> {
    type Response = Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send + 'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { next, first: mut extensions, last } = self.clone();
        Box::pin(async move {
            let result = next.run(request, &mut extensions).await;
            *last.lock().unwrap_or_else(PoisonError::into_inner) = extensions;
            result.map_err(from_error)
        })
    }
}

impl fmt::Debug for NextService<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NextService")
    }
}

/// The error of an attempt as the layers read it: the client's own, where it is one.
fn from_error(error: Error) -> BoxError {
    match error {
        Error::Reqwest(error) => error.into(),
        error @ Error::Middleware(_) => error.into(),
    }
}

/// The error of a call as its caller gets it.
fn into_error(error: BoxError) -> Error {
    let error = match error.downcast::<Error>() {
        Ok(error) => return *error,
        Err(error) => error,
    };
    match error.downcast::<reqwest::Error>() {
        Ok(error) => Error::Reqwest(*error),
        Err(error) => Error::middleware(LayerError(error)),
    }
}

/// The error of a layer. `Error::Middleware` shows its own source as that of what it holds, so this one is passed over, and
/// what is inside can be found.
#[derive(Debug)]
struct LayerError(BoxError);

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for LayerError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}
