//! Times at which nobody is served.

use std::ops::Range;
use std::time::Duration;

/// What every request meets during an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outage {
    /// A 503 at once, without a `retry-after`.
    Unavailable,
    /// A reset connection, at once.
    Reset,
    /// No answer until the client goes away, also after the outage.
    Hang,
}

/// When, since the start of the mock, and how.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) when: Range<Duration>,
    pub(crate) how: Outage,
}

/// The outage at this time; of several, the one named first.
pub(crate) fn at(windows: &[Window], since_start: Duration) -> Option<Outage> {
    windows.iter().find(|window| window.when.contains(&since_start)).map(|window| window.how)
}
