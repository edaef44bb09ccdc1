//! Streams that say why they broke.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aplomb::{BoxError, BrokenAnswer, DeadlinePassed, TimedOut, find};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http_body::{Body, Frame};
use reqwest::{Response, ResponseBuilderExt};

/// The type of the error in the last event of a broken stream.
pub(crate) const BROKEN: &str = "aplomb_broken_stream";

/// A response whose body, if it is an event stream and breaks, says so in an event before its error.
pub(crate) fn tell_breaks(response: Response) -> Response {
    let content_type = response.headers().get(CONTENT_TYPE);
    if !content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream")) {
        return response;
    }
    let url = response.url().clone();
    let (mut head, body) = http::Response::<reqwest::Body>::from(response).into_parts();
    let mut builder = http::Response::builder();
    if let Some(extensions) = builder.extensions_mut() {
        *extensions = std::mem::take(&mut head.extensions);
    }
    let (with_url, ()) = builder.url(url).body(()).expect("each part is valid").into_parts();
    head.extensions = with_url.extensions;
    let body = reqwest::Body::wrap(TellsBreaks { body, error: None });
    http::Response::from_parts(head, body).into()
}

struct TellsBreaks {
    body: reqwest::Body,
    /// That of the body, once it has been told.
    error: Option<BoxError>,
}

impl Body for TellsBreaks {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Err(error)) => {
                let event = event(&error);
                self.error = Some(error.into());
                Poll::Ready(Some(Ok(Frame::data(event))))
            }
            frame => Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from))),
        }
    }
}

/// An event in the form of OpenAI's errors. The line break in front ends a line that was broken off; its event is joined with
/// this one.
fn event(error: &reqwest::Error) -> Bytes {
    let message = why(error).unwrap_or_else(|| innermost(error));
    let event =
        serde_json::json!({"error": {"message": message, "type": BROKEN, "param": null, "code": null}});
    Bytes::from(format!("\ndata: {event}\n\n"))
}

/// The endpoint's error.
fn why(error: &reqwest::Error) -> Option<String> {
    let broken = find::<BrokenAnswer>(error).map(ToString::to_string);
    let timed_out = || find::<TimedOut>(error).map(ToString::to_string);
    let passed = || find::<DeadlinePassed>(error).map(ToString::to_string);
    broken.or_else(timed_out).or_else(passed)
}

/// The text of the innermost cause, which has no URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut error: &(dyn Error + 'static) = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
