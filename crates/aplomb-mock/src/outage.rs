//! Outages, and the refusal of requests above the bound on those in flight.

use std::ops::Range;
use std::time::Duration;

/// The fate of requests during an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outage {
    /// A 503 at once, without `retry-after`.
    Unavailable,
    /// A refused connection: the server stops listening and closes all connections. In process, a call fails with
    /// [`ConnectionRefused`](std::io::ErrorKind::ConnectionRefused).
    Refuse,
    /// A reset connection, at once.
    Reset,
    /// No answer, even after the outage, until the client goes away.
    Hang,
}

/// The answer to a request above [`max_in_flight`](crate::Builder::max_in_flight).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// OpenAI's 503 `server_is_overloaded`, Anthropic's 529. The default.
    #[default]
    Overloaded,
    /// A 429 about concurrency, without a delay.
    Throttled,
    /// A 429 about concurrency with a `retry-after` of this long, rounded up to whole seconds.
    ThrottledFor(Duration),
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

/// When the server begins to refuse connections, or stops, next after this time.
pub(crate) fn next_change(windows: &[Window], since_start: Duration) -> Option<Duration> {
    let refusing = windows.iter().filter(|window| window.how == Outage::Refuse);
    let changes = refusing.flat_map(|window| [window.when.start, window.when.end]);
    changes.filter(|change| *change > since_start).min()
}
