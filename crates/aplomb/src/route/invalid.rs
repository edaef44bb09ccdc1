//! Invalid patterns.

use std::error::Error;
use std::fmt;

/// A route has an invalid pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRoute {
    part: &'static str,
    pattern: Box<str>,
    problem: &'static str,
}

impl InvalidRoute {
    pub(super) fn new(part: &'static str, pattern: &str, problem: &'static str) -> Self {
        // A pasted URL may contain a password or a key.
        let shown = pattern.split_once('?').map_or(pattern, |(before, _)| before);
        let shown = shown.rsplit_once('@').map_or(shown, |(_, behind)| behind);
        Self { part, pattern: shown.into(), problem }
    }

    /// The part that the pattern should match: `"host"`, `"path"`, `"header"` or `"model"`.
    #[must_use]
    pub const fn part(&self) -> &'static str {
        self.part
    }

    /// The pattern without possible secrets: of a header only the name, of a URL neither the query nor what is before
    /// an `@`.
    #[must_use]
    pub const fn pattern(&self) -> &str {
        &self.pattern
    }
}

impl fmt::Display for InvalidRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid {} in a route: `{}` {}", self.part, self.pattern, self.problem)
    }
}

impl Error for InvalidRoute {}
