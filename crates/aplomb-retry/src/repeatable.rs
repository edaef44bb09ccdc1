//! Which requests may be sent more than once.

use aplomb_core::RequestHead;
use http::Method;

/// The header that makes a request safe to repeat: draft-ietf-httpapi-idempotency-key-header.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Whether a request may be sent more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repeatable {
    /// After any failure that may pass. The default: a completion may be made twice.
    #[default]
    Always,
    /// Only where the server has certainly not begun to act on it: no connection could be made, or
    /// it answered 429, 503 or 529.
    WhenUnprocessed,
    /// Never: it passes through once, and is not copied.
    Never,
}

/// `true` is [`Repeatable::Always`], `false` is [`Repeatable::Never`].
impl From<bool> for Repeatable {
    fn from(repeatable: bool) -> Self {
        if repeatable { Self::Always } else { Self::Never }
    }
}

/// What HTTP says: a request whose method is idempotent (RFC 9110, section 9.2.2), or which has an
/// `Idempotency-Key`, may be repeated; any other only where it was not processed.
pub(crate) fn by_idempotency(request: &dyn RequestHead) -> Repeatable {
    let idempotent = request.method().is_some_and(Method::is_idempotent)
        || request.headers().is_some_and(|headers| headers.contains_key(IDEMPOTENCY_KEY));
    if idempotent {
        Repeatable::Always
    } else {
        Repeatable::WhenUnprocessed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn methods_and_keys() {
        for (method, expected) in [
            (Method::GET, Repeatable::Always),
            (Method::PUT, Repeatable::Always),
            (Method::DELETE, Repeatable::Always),
            (Method::POST, Repeatable::WhenUnprocessed),
            (Method::PATCH, Repeatable::WhenUnprocessed),
        ] {
            let mut request = Request::new(());
            *request.method_mut() = method;
            assert_eq!(by_idempotency(&request), expected);
            request.headers_mut().insert(IDEMPOTENCY_KEY, "1".parse().unwrap());
            assert_eq!(by_idempotency(&request), Repeatable::Always);
        }
        assert_eq!(by_idempotency(&"no method"), Repeatable::WhenUnprocessed);
    }
}
