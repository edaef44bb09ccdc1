//! The connections that a client may have kept open.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aplomb_core::{BoxError, is_connection_lost};
use tokio::time::Instant;

/// A connection that the server closed while nobody used it shows so within a round trip.
const ROUND_TRIP: Duration = Duration::from_secs(1);

/// Servers close connections that nobody has used for so many milliseconds, and seldom earlier.
const PAUSE: u64 = 1_000;

/// How many connections a client may have kept from before the last pause, in which the server may have closed them.
///
/// Clients do not tell whether a request went out on a new connection. They use an idle one where they have one, so it was an
/// old one for as many requests as there were responses before the pause, and not one more: what a server closes again and again
/// soon counts as a failure of the server, and so does what it closes while it is in use.
#[derive(Debug)]
pub(super) struct IdleConnections {
    began: Instant,
    /// When the last request was sent, in milliseconds.
    sent: AtomicU64,
    /// All that are idle.
    idle: AtomicUsize,
    /// Those of them that are from before the pause.
    old: AtomicUsize,
}

impl IdleConnections {
    pub(super) fn new() -> Self {
        let (sent, idle, old) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        Self { began: Instant::now(), sent, idle, old }
    }

    /// A request is sent. Returns when, if it may go out on an old connection.
    pub(super) fn send(&self, now: Instant) -> Option<Instant> {
        let since = now.saturating_duration_since(self.began);
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let before = self.sent.swap(since, Relaxed);
        if since.saturating_sub(before) >= PAUSE {
            self.old.store(self.idle.load(Relaxed), Relaxed);
        }
        let _ = self.idle.fetch_update(Relaxed, Relaxed, |idle| idle.checked_sub(1));
        self.old.fetch_update(Relaxed, Relaxed, |old| old.checked_sub(1)).ok().map(|_| now)
    }

    /// The head of a response has come: its connection is alive.
    pub(super) fn answered(&self) {
        self.idle.fetch_add(1, Relaxed);
    }

    /// A request failed for another reason than an old connection: what the client has kept is of no use either.
    pub(super) fn failed(&self) {
        self.idle.store(0, Relaxed);
        self.old.store(0, Relaxed);
    }
}

/// Returns whether a request that was sent at `reused`, on a connection that was used before, was lost because the server had
/// closed the connection.
pub(super) fn was_closed_before(error: &BoxError, reused: Option<Instant>) -> bool {
    reused.is_some_and(|sent| sent.elapsed() < ROUND_TRIP) && is_connection_lost(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use tokio::time::advance;

    fn send(idle: &IdleConnections) -> bool {
        idle.send(Instant::now()).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn only_those_from_before_a_pause_are_old() {
        let idle = IdleConnections::new();
        assert!(!send(&idle));
        for _ in 0..3 {
            idle.answered();
        }
        assert!(!send(&idle), "it was used just now");
        advance(Duration::from_millis(PAUSE)).await;
        assert_eq!([send(&idle), send(&idle), send(&idle)], [true, true, false]);
        idle.answered();
        assert!(!send(&idle));
        idle.answered();
        idle.failed();
        advance(Duration::from_millis(PAUSE)).await;
        assert!(!send(&idle), "they are lost with the server");
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_lost_within_a_round_trip_was_closed_before() {
        let lost: BoxError = io::Error::from(io::ErrorKind::ConnectionReset).into();
        let now = Instant::now();
        assert!(was_closed_before(&lost, Some(now)));
        assert!(!was_closed_before(&lost, None));
        assert!(!was_closed_before(&"timed out".into(), Some(now)));
        advance(ROUND_TRIP).await;
        assert!(!was_closed_before(&lost, Some(now)), "the server may have begun");
    }
}
