//! A response before its body.

use std::fmt;
use std::time::SystemTime;

use aplomb_core::{WallClock, sent_at};
use http::header::{CONTENT_TYPE, DATE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::Settings;

/// The prefix that a gateway gives to headers of the provider behind it.
const FORWARDED: &str = "llm_provider-";

static DEFAULTS: Settings = Settings::new();

/// The head of a response: its status and headers, and the clock and settings to read them with.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    clock: &'a WallClock,
    settings: &'a Settings,
}

impl<'a> Head<'a> {
    /// Combines what is known before the body.
    ///
    /// The clock is read only if a header names a point in time and the response has no `Date`.
    #[must_use]
    pub fn new(status: StatusCode, headers: &'a HeaderMap, clock: &'a WallClock) -> Self {
        Self { status, headers, clock, settings: &DEFAULTS }
    }

    /// Sets how the response is read. Default: [`Settings::new`].
    #[must_use]
    pub const fn with_settings(mut self, settings: &'a Settings) -> Self {
        self.settings = settings;
        self
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

    /// The settings.
    pub(crate) const fn settings(&self) -> &'a Settings {
        self.settings
    }

    /// The headers of the provider behind a gateway under their own names: `llm_provider-retry-after` as
    /// `retry-after`. `None` if the gateway forwards none.
    pub(crate) fn forwarded(&self) -> Option<HeaderMap> {
        let forwarded = self.headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(FORWARDED)?;
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value.clone()))
        });
        let mut forwarded = forwarded.collect::<HeaderMap>();
        if forwarded.is_empty() {
            return None;
        }
        // Without a date of its own, it was sent when the gateway sent its response.
        if let (Some(date), false) = (self.headers.get(DATE), forwarded.contains_key(DATE)) {
            forwarded.insert(DATE, date.clone());
        }
        Some(forwarded)
    }

    /// A header's value without surrounding white space, if it is ASCII.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name).and_then(text)
    }

    /// When the response was sent: its `Date`, or the clock's time in whole seconds, like dates in headers.
    pub fn sent(&self) -> SystemTime {
        sent_at(self.headers, self.clock)
    }

    /// The media type of the body, without parameters, in the case it was sent in.
    pub(crate) fn media_type(&self) -> Option<&'a str> {
        let value = text(self.headers.get(CONTENT_TYPE)?)?;
        Some(value.split(';').next().unwrap_or(value).trim())
    }

    /// The address of a redirect, without parts that may hold credentials.
    pub(crate) fn redirect(&self) -> Option<&'a str> {
        let location = text(self.headers.get(LOCATION)?).filter(|_| self.status.is_redirection())?;
        location.split(['?', '#']).next().filter(|location| !location.contains('@'))
    }
}

/// A header's value without surrounding white space, if it is ASCII.
pub(crate) fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim_ascii)
}

/// When a response was sent, determined when it is needed. Without a `Date`, an error in a stream counts as sent
/// when it is read, which is later than the head.
#[derive(Clone, Debug)]
pub(crate) struct SentAt {
    date: Option<HeaderValue>,
    clock: WallClock,
}

impl SentAt {
    pub(crate) fn of(head: &Head<'_>) -> Self {
        Self { date: head.headers.get(DATE).cloned(), clock: head.clock.clone() }
    }

    pub(crate) fn time(&self) -> SystemTime {
        let date = self.date.iter().map(|date| (DATE, date.clone()));
        sent_at(&date.collect(), &self.clock)
    }
}

impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").field("status", &self.status).finish_non_exhaustive()
    }
}
