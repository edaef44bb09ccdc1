//! A pattern that makes no sense.

use std::error::Error;
use std::fmt;

/// A route can not be: one of its patterns makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRoute {
    part: Part,
    pattern: Box<str>,
    why: &'static str,
}

/// What a pattern was to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The host.
    Host,
    /// The path.
    Path,
    /// A header.
    Header,
    /// The model.
    Model,
}

impl InvalidRoute {
    pub(super) fn new(part: Part, pattern: &str, why: &'static str) -> Self {
        // Who pastes an address may paste a password or a key with it.
        let shown = pattern.split_once('?').map_or(pattern, |(before, _)| before);
        let shown = shown.rsplit_once('@').map_or(shown, |(_, behind)| behind);
        Self { part, pattern: shown.into(), why }
    }

    /// What the pattern was to match.
    #[must_use]
    pub const fn part(&self) -> Part {
        self.part
    }

    /// The pattern as it was given, without what may be a secret: of a header its name, of an address neither the
    /// query nor what stands before an `@`.
    #[must_use]
    pub const fn pattern(&self) -> &str {
        &self.pattern
    }
}

impl fmt::Display for InvalidRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::Host => "host",
            Part::Path => "path",
            Part::Header => "header",
            Part::Model => "model",
        };
        write!(f, "a route's {part} can not be `{}`: {}", self.pattern, self.why)
    }
}

impl Error for InvalidRoute {}
