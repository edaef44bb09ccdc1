//! The requests that may be sent more than once.

use std::sync::Arc;

use aplomb_core::RequestHead;
use http::{HeaderName, Method};

/// The header that makes a request safe to repeat: draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The requests that may be sent more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repeatable {
    /// After any failure that may pass. The default: making a completion twice does no harm.
    #[default]
    Always,
    /// Only if the server has certainly not begun to act on it: no connection could be made, the request was not written, the
    /// server refused the HTTP/2 stream (`REFUSED_STREAM`, `GOAWAY`), or it answered 429, 503 or 529.
    WhenUnprocessed,
    /// Never. The request is sent once and not copied.
    Never,
}

/// `true` is [`Repeatable::Always`], `false` is [`Repeatable::Never`].
impl From<bool> for Repeatable {
    fn from(repeatable: bool) -> Self {
        if repeatable { Self::Always } else { Self::Never }
    }
}

/// The rule for which requests may be repeated.
#[derive(Clone, Default)]
pub(crate) enum Rule {
    #[default]
    All,
    /// See [`by_idempotency`].
    Idempotent,
    Custom(Arc<CustomRule>),
}

type CustomRule = dyn Fn(&dyn RequestHead) -> Repeatable + Send + Sync;

impl Rule {
    /// Applies the rule to `request`. `adds_key` is whether this layer adds an idempotency key.
    pub(crate) fn of(&self, request: &dyn RequestHead, adds_key: bool) -> Repeatable {
        match self {
            Self::All => Repeatable::Always,
            Self::Idempotent => by_idempotency(request, adds_key),
            Self::Custom(rule) => rule(request),
        }
    }
}

/// A request with an idempotent method (RFC 9110, section 9.2.2) or with a key may be repeated; any other only
/// if it was not processed.
fn by_idempotency(request: &dyn RequestHead, adds_key: bool) -> Repeatable {
    let has_key = request
        .headers()
        .is_some_and(|headers| adds_key || headers.contains_key(&IDEMPOTENCY_KEY));
    if has_key || request.method().is_some_and(Method::is_idempotent) {
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
            assert_eq!(by_idempotency(&request, false), expected);
            assert_eq!(by_idempotency(&request, true), Repeatable::Always);
            request.headers_mut().insert(IDEMPOTENCY_KEY, "1".parse().unwrap());
            assert_eq!(by_idempotency(&request, false), Repeatable::Always);
        }
        // It has no headers to which a key could be added.
        assert_eq!(by_idempotency(&"no method", true), Repeatable::WhenUnprocessed);
    }
}
