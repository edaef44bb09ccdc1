//! Responses, from reqwest's type and back to it.

use std::fmt;
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use aplomb::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::ResponseBuilderExt;

/// The body of a response of reqwest's client, without trailers.
///
/// `Debug` does not show it.
pub struct ResponseBody(reqwest::Response);

/// The head of a response, with its URL in the extensions, and the body.
pub(crate) fn into_http(mut response: reqwest::Response) -> http::Response<ResponseBody> {
    let mut builder = http::Response::builder();
    if let Some(extensions) = builder.extensions_mut() {
        *extensions = mem::take(response.extensions_mut());
    }
    let head = builder.status(response.status()).version(response.version());
    let head = head.url(response.url().clone()).body(());
    let (mut parts, ()) = head.expect("each part is valid").into_parts();
    parts.headers = mem::take(response.headers_mut());
    http::Response::from_parts(parts, ResponseBody(response))
}

/// The response as its caller gets it. The URL comes from the extensions.
pub(crate) fn into_reqwest<B>(response: http::Response<B>) -> reqwest::Response
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
{
    response.map(reqwest::Body::wrap).into()
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        // The future keeps nothing between its polls. So the response need not be taken apart, which costs an allocation.
        let chunk = pin!(self.0.chunk());
        chunk.poll(cx).map(|chunk| chunk.transpose().map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.content_length() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.content_length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseBody")
    }
}
