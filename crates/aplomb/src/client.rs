//! The clients that an endpoint can wrap.

use aplomb_core::BoxError;
use bytes::Bytes;
use http_body::Body;
use tower_service::Service;

/// An HTTP client for requests with bodies of type `A`: any `Service` of them that can be cloned and whose response
/// bodies consist of bytes. It is implemented for all of these.
///
/// # Examples
///
/// ```
/// use aplomb::{BoxError, EndpointLayer, HttpClient, Report, provider::OpenAi};
/// use http_body_util::Full;
/// use tower::{Layer, ServiceExt};
///
/// /// Works with any client.
/// async fn attempts<C>(client: C, prompt: &'static str) -> Result<u32, BoxError>
/// where
///     C: HttpClient<Full<bytes::Bytes>>,
/// {
///     let request = http::Request::post("/v1/chat/completions").body(Full::from(prompt))?;
///     let response = EndpointLayer::new(OpenAi).layer(client).oneshot(request).await?;
///     Ok(Report::of(&response).map_or(0, |report| report.sent()))
/// }
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// # let client = aplomb_mock::Mock::builder().build();
/// # assert_eq!(attempts(client, r#"{"messages": [{"role": "user", "content": "Hi!"}]}"#).await.unwrap(), 1);
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP client for requests with the body `{A}`",
    label = "not a client for these requests",
    note = "a client is `Clone` and a `tower::Service<http::Request<{A}>>`; its response is an `http::Response` whose \
            body has `Data = Bytes`, and both errors are `Into<BoxError>`",
    note = "for a `reqwest::Client` use `aplomb_reqwest::Client` or `aplomb_reqwest::ReqwestLayer`"
)]
pub trait HttpClient<A>:
    Service<http::Request<A>, Response = http::Response<Self::Body>, Error: Into<BoxError>> + Clone
{
    /// The type of its response bodies.
    type Body: Body<Data = Bytes, Error: Into<BoxError>>;
}

impl<S, A, B> HttpClient<A> for S
where
    S: Service<http::Request<A>, Response = http::Response<B>, Error: Into<BoxError>> + Clone,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Body = B;
}
