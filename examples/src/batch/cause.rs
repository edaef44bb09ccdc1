//! The causes of errors, as text for people.

use std::error::Error;

use aplomb::{Rejection, find};

/// An error and its causes, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        // Some errors repeat their cause, and the layer that rejected a call has already said so.
        if !cause.is::<Rejection>() && !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

/// Why no later attempt can succeed either, where that is certain: the server's certificate is refused, or the
/// port does not speak TLS. All other failures of a client may pass.
pub(crate) fn permanent(error: &(dyn Error + 'static)) -> Option<String> {
    use rustls::Error as Tls;
    match find::<Tls>(error)? {
        Tls::InvalidMessage(_) => Some("the server does not speak TLS on this port".to_owned()),
        error @ (Tls::InvalidCertificate(_)
        | Tls::PeerIncompatible(_)
        | Tls::NoCertificatesPresented
        | Tls::UnsupportedNameType) => Some(error.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aplomb::LayerName;
    use std::io;

    #[derive(Debug)]
    struct Failed(io::Error);

    impl std::fmt::Display for Failed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("it failed")
        }
    }

    impl Error for Failed {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        assert_eq!(chain(&Failed(io::Error::other("no route"))), "it failed: no route");
        assert_eq!(chain(&Failed(io::Error::other("failed"))), "it failed");
        let refused = io::Error::other(Rejection::by(LayerName::Other("x")));
        assert_eq!(chain(&Failed(refused)), "it failed: rejected by the x");
    }

    #[test]
    fn a_refused_certificate_is_permanent_and_a_refused_connection_is_not() {
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let nested = Failed(io::Error::other(io::Error::other(expired)));
        assert!(permanent(&nested).unwrap().contains("certificate"));
        assert_eq!(permanent(&Failed(io::ErrorKind::ConnectionRefused.into())), None);
    }
}
