//! Builds a request, and makes its call.

use std::fmt;
use std::time::Duration;

use aplomb::{AdaptedBody, BoxError, CallOptions};
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Version};
use reqwest::{Request, Response};
use tower_service::Service;

use crate::Reqwest;

/// Builds a request of a [`Client`](crate::Client), with the methods of reqwest's own builder.
///
/// `Debug` shows the method and the host of a request whose body is in memory.
#[must_use = "it does nothing until it is sent"]
pub struct RequestBuilder<E> {
    builder: reqwest::RequestBuilder,
    service: Reqwest<E>,
    extensions: Extensions,
}

impl<E> RequestBuilder<E> {
    pub(crate) fn new(builder: reqwest::RequestBuilder, service: Reqwest<E>) -> Self {
        Self { builder, service, extensions: Extensions::new() }
    }

    fn with(self, change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        Self { builder: change(self.builder), ..self }
    }

    /// Adds a header.
    pub fn header<K, V>(self, name: K, value: V) -> Self
    where
        HeaderName: TryFrom<K, Error: Into<http::Error>>,
        HeaderValue: TryFrom<V, Error: Into<http::Error>>,
    {
        self.with(|builder| builder.header(name, value))
    }

    /// Sets these headers.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.with(|builder| builder.headers(headers))
    }

    /// Sets the credentials of basic authentication.
    pub fn basic_auth(self, name: impl fmt::Display, password: Option<impl fmt::Display>) -> Self {
        self.with(|builder| builder.basic_auth(name, password))
    }

    /// Sets a bearer token, as most providers expect their API keys. It is marked as sensitive.
    pub fn bearer_auth(self, token: impl fmt::Display) -> Self {
        self.with(|builder| builder.bearer_auth(token))
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<reqwest::Body>) -> Self {
        self.with(|builder| builder.body(body))
    }

    /// Sets a value to be sent as JSON.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(self, json: &T) -> Self {
        self.with(|builder| builder.json(json))
    }

    /// Sets a value to be sent as a form.
    #[cfg(feature = "form")]
    pub fn form<T: serde::Serialize + ?Sized>(self, form: &T) -> Self {
        self.with(|builder| builder.form(form))
    }

    /// Adds a query to the URL.
    #[cfg(feature = "query")]
    pub fn query<T: serde::Serialize + ?Sized>(self, query: &T) -> Self {
        self.with(|builder| builder.query(query))
    }

    /// Sets a form with files. It is read ahead up to the [replay limit](crate::ReqwestLayer::replay_limit); use a
    /// [`RequestFactory`](crate::RequestFactory) to send a larger one again.
    #[cfg(feature = "multipart")]
    pub fn multipart(self, form: reqwest::multipart::Form) -> Self {
        self.with(|builder| builder.multipart(form))
    }

    /// Limits the time of each attempt, its body included. Default: that of the client, which has none unless it was set.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|builder| builder.timeout(timeout))
    }

    /// Sets the version of HTTP.
    pub fn version(self, version: Version) -> Self {
        self.with(|builder| builder.version(version))
    }

    /// Sets the options of this call: its deadline, its priority, whether it may be retried.
    pub fn options(self, options: CallOptions) -> Self {
        self.extension(options)
    }

    /// Adds a value that the endpoint looks for in the request's extensions.
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// Builds the request, without the extensions.
    ///
    /// # Errors
    ///
    /// reqwest's, if a URL, a header or a body was invalid.
    pub fn build(self) -> reqwest::Result<Request> {
        self.builder.build()
    }

    /// Makes the call.
    ///
    /// # Errors
    ///
    /// Those of the endpoint; a request that could not be built is one of them. A status is none: see
    /// [`error_for_status`](Response::error_for_status).
    pub async fn send<B>(mut self) -> Result<Response, E::Error>
    where
        E: Service<http::Request<AdaptedBody>, Response = http::Response<B>> + Clone,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
    {
        self.service.start(self.builder.build(), self.extensions).await
    }
}

impl<E> fmt::Debug for RequestBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.builder.try_clone().and_then(|builder| builder.build().ok());
        f.debug_struct("RequestBuilder")
            .field("method", &request.as_ref().map(Request::method))
            .field("host", &request.as_ref().map(|request| request.url().host_str().unwrap_or_default()))
            .finish_non_exhaustive()
    }
}
