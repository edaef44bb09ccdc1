//! A client with the methods of `reqwest::Client`.

use std::time::Duration;

use aplomb::provider::Provider;
use aplomb::{AdaptedBody, BoxError, Endpoint, EndpointLayer, Policy};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use http_body::Body;
use reqwest::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::{RequestBuilder, RequestFactory, Reqwest, ReqwestLayer, Transport};

/// `reqwest::Client` behind an endpoint or a router: the same methods, and each request is a dependable call.
///
/// **Clones share** everything: give one to each task. See [`Reqwest`] for timeouts, options and errors. A field has the
/// type `Client`, or `Client<Router<Transport<reqwest::Client>>>`.
///
/// # Examples
///
/// ```
/// use aplomb::{EndpointLayer, Policy, provider::OpenAi};
/// use aplomb_reqwest::Client;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb::BoxError> {
/// # let (server, key) = (aplomb_mock::Mock::builder().start().await?, "any");
/// # let base_url = server.openai_base_url();
/// let policy = Policy::new().requests_per_minute(500).tokens_per_minute(200_000);
/// let client = Client::new(EndpointLayer::with_policy(OpenAi, policy)?, reqwest::Client::new());
///
/// let prompt = serde_json::json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]});
/// let response = client.post(format!("{base_url}/chat/completions")).bearer_auth(key).json(&prompt).send().await?;
/// println!("{}", response.text().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client<E = Endpoint<Transport<reqwest::Client>>> {
    http: reqwest::Client,
    service: Reqwest<E>,
    base_url: Option<String>,
}

impl Client {
    /// A client of one provider, in one line: it adds the API key to each request, and `base_url` in front of paths. A call
    /// ends after `timeout`, whatever it is waiting for. The limits that the server reports are learned and kept.
    ///
    /// The key is sent as the provider expects it: in `x-api-key` to Anthropic (with its version, 2023-06-01), in
    /// `x-goog-api-key` to Gemini, in `api-key` to Azure, as a bearer token to all others.
    ///
    /// # Errors
    ///
    /// reqwest's, if its client cannot be made; and if the key has characters that a header cannot have.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use aplomb::provider::OpenAi;
    /// use aplomb_reqwest::Client;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb::BoxError> {
    /// # let (server, key) = (aplomb_mock::Mock::builder().start().await?, "any");
    /// # let base_url = server.openai_base_url();
    /// let client = Client::resilient(OpenAi, &base_url, key, Duration::from_secs(120))?;
    ///
    /// let prompt = serde_json::json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]});
    /// let response = client.post("/chat/completions").json(&prompt).send().await?;
    /// # assert!(response.status().is_success());
    /// # Ok(())
    /// # }
    /// ```
    pub fn resilient(
        provider: impl Provider + 'static,
        base_url: &str,
        api_key: &str,
        timeout: Duration,
    ) -> Result<Self, BoxError> {
        let http = reqwest::Client::builder().default_headers(credentials(provider.name(), api_key)?);
        let layer = EndpointLayer::with_policy(provider, Policy::new().deadline(timeout))?;
        Ok(Self::new(layer, http.build()?).base_url(base_url))
    }
}

/// The headers that show who calls.
fn credentials(provider: &str, api_key: &str) -> Result<HeaderMap, BoxError> {
    let (name, value) = match provider {
        "anthropic" => (HeaderName::from_static("x-api-key"), api_key.to_owned()),
        "gemini" => (HeaderName::from_static("x-goog-api-key"), api_key.to_owned()),
        "azure-openai" => (HeaderName::from_static("api-key"), api_key.to_owned()),
        _ => (AUTHORIZATION, format!("Bearer {api_key}")),
    };
    let mut value = HeaderValue::try_from(value)?;
    value.set_sensitive(true);
    let mut headers = HeaderMap::from_iter([(name, value)]);
    if provider == "anthropic" {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    Ok(headers)
}

impl<E> Client<E> {
    /// Puts an [`EndpointLayer`] or a [`RouterLayer`](aplomb::RouterLayer) around a client. To set the
    /// [replay limit](ReqwestLayer::replay_limit), use [`with_layer`](Self::with_layer).
    pub fn new<L>(layer: L, http: reqwest::Client) -> Self
    where
        L: Layer<Transport<reqwest::Client>, Service = E>,
    {
        Self::with_layer(&ReqwestLayer::new(layer), http)
    }

    /// Puts a configured layer around a client.
    pub fn with_layer<L>(layer: &ReqwestLayer<L>, http: reqwest::Client) -> Self
    where
        L: Layer<Transport<reqwest::Client>, Service = E>,
    {
        Self { service: layer.layer(http.clone()), http, base_url: None }
    }

    /// Sets what is put in front of a URL that is only a path. Default: nothing.
    #[must_use]
    pub fn base_url(mut self, base_url: impl Into<String>) -> Self {
        self.base_url = Some(base_url.into());
        self
    }
}

impl<E, B> Client<E>
where
    E: Service<http::Request<AdaptedBody>, Response = http::Response<B>> + Clone,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
{
    /// Begins a `GET` request.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder<E> {
        self.request(Method::GET, url)
    }

    /// Begins a `POST` request.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder<E> {
        self.request(Method::POST, url)
    }

    /// Begins a `PUT` request.
    pub fn put(&self, url: impl AsRef<str>) -> RequestBuilder<E> {
        self.request(Method::PUT, url)
    }

    /// Begins a `DELETE` request.
    pub fn delete(&self, url: impl AsRef<str>) -> RequestBuilder<E> {
        self.request(Method::DELETE, url)
    }

    /// Begins a request with any method. An invalid URL is an error of [`send`](RequestBuilder::send).
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder<E> {
        let url = url.as_ref();
        let builder = match &self.base_url {
            Some(base) if !url.contains("://") => {
                let url = format!("{}/{}", base.trim_end_matches('/'), url.trim_start_matches('/'));
                self.http.request(method, url)
            }
            _ => self.http.request(method, url),
        };
        RequestBuilder::new(builder, self.service.clone())
    }

    /// Makes the call of a request that was built before.
    ///
    /// # Errors
    ///
    /// Those of the endpoint. A status is none.
    pub async fn execute(&self, request: Request) -> Result<Response, E::Error> {
        self.service.clone().call(request).await
    }

    /// Makes a call whose request is made again for each attempt.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute). An error of the factory is the cause of the endpoint's.
    pub async fn execute_factory(&self, request: RequestFactory) -> Result<Response, E::Error> {
        self.service.clone().call(request).await
    }
}
