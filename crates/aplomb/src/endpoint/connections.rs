//! The connections that a client may have kept open.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aplomb_core::{BoxError, is_connection_lost};
use tokio::time::Instant;

/// A connection that the server closed while nobody used it shows so within a round trip.
const ROUND_TRIP: Duration = Duration::from_secs(1);

/// How many connections a client may have kept from earlier responses.
///
/// Clients do not tell whether a request went out on a new connection. They use an idle one where they have one, so it was an
/// earlier one for as many requests as there were responses before, and not one more: what a server closes again and again
/// soon counts as a failure of the server.
#[derive(Debug, Default)]
pub(super) struct IdleConnections(AtomicUsize);

impl IdleConnections {
    /// A request is sent. Returns when, if it may go out on a connection that was used before.
    pub(super) fn send(&self, now: Instant) -> Option<Instant> {
        self.0.fetch_update(Relaxed, Relaxed, |idle| idle.checked_sub(1)).ok().map(|_| now)
    }

    /// The head of a response has come: its connection is alive.
    pub(super) fn answered(&self) {
        self.0.fetch_add(1, Relaxed);
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

    #[tokio::test(start_paused = true)]
    async fn only_as_many_were_used_before_as_have_answered() {
        let (idle, now) = (IdleConnections::default(), Instant::now());
        assert_eq!(idle.send(now), None);
        idle.answered();
        idle.answered();
        assert_eq!([idle.send(now), idle.send(now), idle.send(now)], [Some(now), Some(now), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_lost_within_a_round_trip_was_closed_before() {
        let lost: BoxError = io::Error::from(io::ErrorKind::ConnectionReset).into();
        let now = Instant::now();
        assert!(was_closed_before(&lost, Some(now)));
        assert!(!was_closed_before(&lost, None));
        assert!(!was_closed_before(&"timed out".into(), Some(now)));
        tokio::time::advance(ROUND_TRIP).await;
        assert!(!was_closed_before(&lost, Some(now)), "the server may have begun");
    }
}
