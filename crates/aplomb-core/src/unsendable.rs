//! Errors of clients that no retry can fix.

use std::error::Error;
use std::io;

use crate::error::chain;

/// Returns whether `error` means that the request can never be sent: the caller made a mistake, or the TLS handshake
/// was refused.
///
/// hyper-util and its connectors keep the kinds of their errors private, so they are recognized by their texts, which the
/// tests over real sockets check.
pub(crate) fn is_in<E: 'static>(error: &E) -> bool {
    #[cfg(feature = "reqwest-0-13")]
    if crate::find_in::<reqwest::Error, E>(error)
        .is_some_and(|error| error.is_builder() || error.is_redirect())
    {
        return true;
    }
    let mut connects = false;
    chain(error).any(|cause| {
        let text = cause.to_string();
        connects |= text == "client error (Connect)";
        is_mistake(cause, &text) || (connects && is_tls_refusal(cause, &text))
    })
}

/// A request that the client does not send: without a host, with a scheme that its connector does not speak.
fn is_mistake(cause: &(dyn Error + 'static), text: &str) -> bool {
    cause.is::<http::Error>()
        || cause.is::<http::uri::InvalidUri>()
        || cause.is::<http::uri::InvalidUriParts>()
        || ["client error (User", "invalid URL", "unsupported scheme"]
            .iter()
            .any(|start| text.starts_with(start))
}

/// A handshake that would fail again: rustls reports invalid data, OpenSSL and others mention the certificate.
fn is_tls_refusal(cause: &(dyn Error + 'static), text: &str) -> bool {
    let invalid = cause
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData);
    invalid || text.contains("certificate")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BoxError;
    use std::fmt;

    /// An error with this text, caused by that.
    #[derive(Debug)]
    struct Layered(&'static str, Option<BoxError>);

    impl fmt::Display for Layered {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layered {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|source| source as _)
        }
    }

    fn unsendable(outer: &'static str, inner: impl Into<BoxError>) -> bool {
        let error: BoxError = Layered(outer, Some(inner.into())).into();
        is_in(&error)
    }

    #[test]
    fn only_errors_that_waiting_cannot_fix_are_unsendable() {
        let tls = io::Error::new(io::ErrorKind::InvalidData, "invalid peer certificate: UnknownIssuer");
        assert!(unsendable("client error (Connect)", tls));
        assert!(unsendable("client error (Connect)", "certificate verify failed"));
        assert!(unsendable("client error (Connect)", Layered("invalid URL, scheme is not http", None)));
        assert!(is_in::<BoxError>(&"client error (UserAbsoluteUriRequired)".into()));
        let uri = "http://[".parse::<http::Uri>().unwrap_err();
        assert!(is_in::<BoxError>(&uri.into()));

        assert!(!unsendable("client error (Connect)", io::Error::from(io::ErrorKind::ConnectionRefused)));
        assert!(!unsendable("client error (Connect)", "failed to lookup address information"));
        let garbled = io::Error::new(io::ErrorKind::InvalidData, "a garbled response");
        assert!(!unsendable("client error (SendRequest)", garbled));
    }
}
