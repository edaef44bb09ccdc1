//! Helpers for the tests.

use std::time::{Duration, SystemTime};

use aplomb_core::{Kind, Reason, Scope, WallClock};
use aplomb_provider::{Head, StreamEnd, StreamEvent, StreamReader, detect};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// An owned version of `Head`.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) clock: WallClock,
}

impl Response {
    pub(crate) fn new(status: u16, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
        });
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            clock: WallClock::from_fn(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_696_004_797)),
        }
    }

    pub(crate) fn head(&self) -> Head<'_> {
        Head::new(self.status, &self.headers, &self.clock)
    }
}

/// Reads a whole stream from its chunks.
pub(crate) fn read<'a>(
    mut reader: Box<dyn StreamReader>,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<StreamEvent<'static>>, StreamEnd) {
    let mut events = Vec::new();
    for chunk in chunks {
        reader.push(chunk, &mut |event| events.push(event.into_owned()));
    }
    let end = reader.finish(&mut |event| events.push(event.into_owned()));
    (events, end)
}

/// Reads an event stream as the provider at a URL.
pub(crate) fn stream(url: &str, body: &str) -> (Vec<StreamEvent<'static>>, StreamEnd) {
    let response = Response::new(200, &[("content-type", "text/event-stream")]);
    let whole = read(detect(url).stream(&response.head()), [body.as_bytes()]);
    let split = read(detect(url).stream(&response.head()), body.as_bytes().chunks(7));
    assert_eq!(whole, split, "{url}");
    whole
}

/// Reason, kind, scope and delay in seconds.
pub(crate) type Judged = (Reason, Kind, Scope, Option<u64>);

/// Judges a response as the provider at a URL.
pub(crate) fn judged(url: &str, status: u16, headers: &[(&str, &str)], body: &str) -> Judged {
    let judged = detect(url).judge(&Response::new(status, headers).head(), body.as_bytes());
    let outcome = judged.outcome();
    let delay = outcome.retry_after().map(|delay| delay.as_secs());
    (judged.reason().unwrap(), outcome.kind(), outcome.scope(), delay)
}
