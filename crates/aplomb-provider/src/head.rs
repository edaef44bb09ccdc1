//! What is known of an answer before its body.

use std::fmt;
use std::time::SystemTime;

use aplomb_core::{WallClock, sent_at};
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::Settings;

/// What a gateway puts before the names of headers that it passes on from the provider behind it.
const PASSED_ON: &str = "llm_provider-";

static DEFAULTS: Settings = Settings::new();

/// The head of a response: status and headers, and the clock and the settings they are read with.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    clock: &'a WallClock,
    settings: &'a Settings,
}

impl<'a> Head<'a> {
    /// Brings together what is known before the body.
    ///
    /// The clock is read only where a header names a point in time and the response has no `Date`.
    #[must_use]
    pub fn new(status: StatusCode, headers: &'a HeaderMap, clock: &'a WallClock) -> Self {
        Self { status, headers, clock, settings: &DEFAULTS }
    }

    /// Has the response read with other settings than the defaults.
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

    /// What a gateway passes on of the headers of the provider behind it, under their own names:
    /// `llm_provider-retry-after` as `retry-after`. `None` where it passes on nothing.
    pub(crate) fn passed_on(&self) -> Option<HeaderMap> {
        let passed_on = self.headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(PASSED_ON)?;
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value.clone()))
        });
        let mut passed_on = passed_on.collect::<HeaderMap>();
        if passed_on.is_empty() {
            return None;
        }
        // Points in time are counted from when the answer was sent on, unless it says when it was made.
        if let (Some(date), false) = (self.headers.get(DATE), passed_on.contains_key(DATE)) {
            passed_on.insert(DATE, date.clone());
        }
        Some(passed_on)
    }

    /// A header's value, trimmed, where it is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name).and_then(text)
    }

    /// When the response was sent: its `Date`, or else the clock's time in whole seconds, as dates
    /// in headers are.
    pub fn sent(&self) -> SystemTime {
        sent_at(self.headers, self.clock)
    }

    /// The media type of the body, without parameters, in the case it was sent in.
    pub(crate) fn media_type(&self) -> Option<&'a str> {
        let value = text(self.headers.get(CONTENT_TYPE)?)?;
        Some(value.split(';').next().unwrap_or(value).trim())
    }
}

/// The value of a header, trimmed, where it is text: that is ASCII.
pub(crate) fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim_ascii)
}

/// When a response was sent, found out when it is asked for: its `Date` is kept as it came. Without one an
/// error counts as sent when it is read, in a stream that is later than its head.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    date: Option<HeaderValue>,
    clock: WallClock,
}

impl Sent {
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
