//! The service that async-openai's client calls.

use std::pin::Pin;
use std::task::{Context, Poll};

use aplomb::{AdaptedBody, BoxError, Endpoint, EndpointError};
use aplomb_reqwest::{RequestFactory, Reqwest, ReqwestLayer, Transport};
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use bytes::Bytes;
use http_body::Body;
use reqwest::Response;
use tower_layer::Layer;
use tower_service::Service;

use crate::error::into_openai;
use crate::stream::tell_breaks;

/// An endpoint or a router for async-openai's client: pass it to `with_http_service`, which puts it in place of the client's own
/// retry.
///
/// Each call of the client is a call of the endpoint: it waits for the quotas of requests and tokens, and is sent again as the
/// policy says. Bodies in memory are copied for that; files are read from disk again. A response that is not a success is
/// turned into `OpenAIError::ApiError` by the client, as always.
///
/// **Errors** of the endpoint are `OpenAIError::Boxed`: see [`endpoint_error`](crate::endpoint_error). **Clones share**
/// everything, so clients that are made with clones share the quotas.
///
/// # Examples
///
/// ```
/// use aplomb::{EndpointLayer, Policy, provider::OpenAi};
/// use aplomb_async_openai::OpenAiService;
/// use async_openai::{Client, config::OpenAIConfig};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb::BoxError> {
/// let policy = Policy::batch().requests_per_minute(500).tokens_per_minute(200_000);
/// let layer = EndpointLayer::with_policy(OpenAi, policy)?;
/// let service = OpenAiService::new(layer, reqwest::Client::new());
/// let client: Client<OpenAIConfig> = Client::new().with_http_service(service);
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OpenAiService<E = Endpoint<Transport<reqwest::Client>>> {
    inner: Reqwest<E>,
}

impl<E> OpenAiService<E> {
    /// Puts an [`EndpointLayer`](aplomb::EndpointLayer) or a [`RouterLayer`](aplomb::RouterLayer) around reqwest's client.
    pub fn new<L>(layer: L, http: reqwest::Client) -> Self
    where
        L: Layer<Transport<reqwest::Client>, Service = E>,
    {
        Self::with_layer(&ReqwestLayer::new(layer), http)
    }

    /// Puts a configured layer around reqwest's client, or around another service of its requests.
    pub fn with_layer<L, S>(layer: &ReqwestLayer<L>, http: S) -> Self
    where
        L: Layer<Transport<S>, Service = E>,
    {
        Self { inner: layer.layer(http) }
    }
}

impl<E, B> Service<HttpRequestFactory> for OpenAiService<E>
where
    E: Service<http::Request<AdaptedBody>, Response = http::Response<B>, Error = EndpointError>
        + Clone
        + Send
        + 'static,
    E::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
{
    type Response = Response;
    type Error = OpenAIError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, OpenAIError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        // As the endpoint inside.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        let factory = RequestFactory::new(move || {
            let request = request.clone();
            async move { Ok(request.build().await?) }
        });
        let call = self.inner.call(factory);
        Box::pin(async move {
            match call.await {
                Ok(response) => Ok(tell_breaks(response)),
                Err(error) => Err(into_openai(error)),
            }
        })
    }
}
