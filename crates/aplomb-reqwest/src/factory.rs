//! Requests that are made anew for each attempt.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use aplomb::BoxError;

/// Makes the request of a call, and makes it again for each further attempt: for bodies that cannot be copied, as a file
/// that is streamed from disk.
///
/// The first request is made when the call begins. A request whose body is in memory or fits into the
/// [replay limit](crate::ReqwestLayer::replay_limit) is copied instead of made again. Of a request that is made again, the
/// body, `content-type` and `content-length` are used; everything else is as it was at first.
///
/// Clones share the closure.
///
/// # Examples
///
/// ```
/// use aplomb::{BoxError, EndpointLayer, provider::OpenAi};
/// use aplomb_reqwest::{Client, RequestFactory};
///
/// # #[cfg(feature = "multipart")]
/// # async fn transcribe(http: reqwest::Client) -> Result<(), BoxError> {
/// let client = Client::new(EndpointLayer::new(OpenAi), http.clone());
/// let request = RequestFactory::new(move || {
///     let http = http.clone();
///     async move {
///         let talk = reqwest::multipart::Part::bytes(vec![0; 1 << 20]).file_name("talk.mp3");
///         let form = reqwest::multipart::Form::new().text("model", "whisper-1").part("file", talk);
///         Ok(http.post("https://api.openai.com/v1/audio/transcriptions").multipart(form).build()?)
///     }
/// });
/// let response = client.execute_factory(request).await?;
/// # drop(response);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RequestFactory(Arc<dyn Fn() -> MadeRequest + Send + Sync>);

pub(crate) type MadeRequest = Pin<Box<dyn Future<Output = Result<reqwest::Request, BoxError>> + Send>>;

impl RequestFactory {
    /// Makes requests with `make`.
    pub fn new<F, T>(make: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<reqwest::Request, BoxError>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(make())))
    }

    pub(crate) fn make(&self) -> MadeRequest {
        (self.0)()
    }
}

impl fmt::Debug for RequestFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestFactory")
    }
}
