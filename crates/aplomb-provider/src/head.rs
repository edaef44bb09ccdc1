//! What is known of an answer before its body.

use std::fmt;
use std::time::SystemTime;

use aplomb_core::{WallClock, sent_at};
use http::{HeaderMap, StatusCode};

/// The head of a response: status and headers, and the clock that dates in them are read with.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    clock: &'a WallClock,
}

impl<'a> Head<'a> {
    /// Brings together what is known before the body.
    ///
    /// The clock is read only where a header names a point in time and the response has no `Date`.
    #[must_use]
    pub const fn new(status: StatusCode, headers: &'a HeaderMap, clock: &'a WallClock) -> Self {
        Self { status, headers, clock }
    }

    /// The status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The clock.
    pub const fn clock(&self) -> &'a WallClock {
        self.clock
    }

    /// A header's value, trimmed, where it is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }

    /// When the response was sent: its `Date`, or else the clock's time in whole seconds, as dates
    /// in headers are.
    pub fn sent(&self) -> SystemTime {
        sent_at(self.headers, self.clock)
    }

    /// The media type of the body, without parameters, in the case it was sent in.
    pub(crate) fn media_type(&self) -> Option<&'a str> {
        let value = self.header("content-type")?;
        Some(value.split(';').next().unwrap_or(value).trim())
    }
}

impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").field("status", &self.status).finish_non_exhaustive()
    }
}
