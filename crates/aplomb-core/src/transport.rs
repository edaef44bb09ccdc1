//! How far a request got before its connection failed.

use std::io;

use crate::Outcome;
use crate::error::chain;

/// Texts of errors after which the server has certainly not begun with the request, and that say nothing about it.
///
/// The types are those of hyper and h2, which this crate does not depend on; the tests over real sockets check the texts.
const NEVER_BEGUN: [&str; 3] = [
    // hyper: the connection was closed before the request was written to it.
    "operation was canceled",
    // hyper-util: the same, where its own retry is switched off.
    "client error (Canceled)",
    // h2: the server closes the connection, and names an earlier stream as the last one it acts on (RFC 9113, 6.8).
    "connection error received: ",
];

/// h2: `REFUSED_STREAM` (RFC 9113, 8.7). Here the server says that it is too busy.
const REFUSED_STREAM: &str = "stream error received: refused stream before processing any application logic";

/// hyper: the connection ended where the response should have begun, or within its head.
const NO_RESPONSE: &str = "connection closed before message completed";

/// The outcome of an error after which the server has not begun with the request; `None` if it may have.
pub(crate) fn not_begun<E: 'static>(error: &E) -> Option<Outcome> {
    chain(error).find_map(|cause| {
        let text = cause.to_string();
        if text == REFUSED_STREAM {
            return Some(Outcome::transient().mark_unprocessed());
        }
        NEVER_BEGUN.iter().any(|known| text.starts_with(known)).then(Outcome::never_begun)
    })
}

/// Returns whether the connection was lost before the head of a response.
///
/// A client that sends a request on a connection that the server has closed in the meantime gets such an error.
pub fn is_connection_lost<E: 'static>(error: &E) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let is_lost = |kind| {
        matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
    };
    chain(error).any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| is_lost(error.kind()))
            || cause.to_string() == NO_RESPONSE
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxError, Scope};

    #[test]
    fn what_was_never_begun_concerns_the_request_alone() {
        for text in [
            "operation was canceled: connection closed",
            "connection error received: not a result of an error",
            "client error (Canceled)",
        ] {
            let error: BoxError = io::Error::other(text).into();
            let outcome = not_begun(&error).unwrap();
            assert!(outcome.is_retryable() && outcome.is_never_begun(), "{text}");
            assert_eq!(outcome.scope(), Scope::Request);
        }
        let refused: BoxError = REFUSED_STREAM.into();
        let refused = not_begun(&refused).unwrap();
        assert!(refused.is_unprocessed() && !refused.is_never_begun());
        for text in [
            "stream error received: stream no longer needed",
            "connection reset",
            NO_RESPONSE,
            "",
        ] {
            assert_eq!(not_begun::<BoxError>(&text.into()), None, "{text}");
        }
    }

    #[test]
    fn a_lost_connection_is_told_by_the_system_or_by_hyper() {
        let lost = |error: BoxError| is_connection_lost(&error);
        assert!(lost(io::Error::other(io::Error::from(io::ErrorKind::ConnectionReset)).into()));
        assert!(lost(NO_RESPONSE.into()));
        assert!(!lost(io::Error::from(io::ErrorKind::ConnectionRefused).into()));
        assert!(!lost("timed out".into()));
    }
}
