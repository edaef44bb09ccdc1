//! Times at which no request is served.

use std::ops::Range;
use std::time::Duration;

/// The fate of requests during an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outage {
    /// A 503 at once, without `retry-after`.
    Unavailable,
    /// A reset connection, at once.
    Reset,
    /// No answer, even after the outage, until the client goes away.
    Hang,
}

/// An outage from and to these times since the start of the mock.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) when: Range<Duration>,
    pub(crate) how: Outage,
}

/// The outage at this time: the first of several.
pub(crate) fn at(windows: &[Window], since_start: Duration) -> Option<Outage> {
    windows.iter().find(|window| window.when.contains(&since_start)).map(|window| window.how)
}
