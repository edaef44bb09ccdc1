//! Which requests may be sent more than once.

use std::sync::Arc;

use aplomb_core::RequestHead;
use http::{HeaderName, Method};

/// The header that makes a request safe to repeat: draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether a request may be sent more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repeatable {
    /// After any failure that may pass. The default: making a completion twice does no harm.
    #[default]
    Always,
    /// Only if the server has certainly not begun to act on it: no connection could be made, or it answered
    /// 429, 503 or 529.
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
    /// Applies the rule to `request`. `key` is the header of this layer's idempotency keys.
    pub(crate) fn of(&self, request: &dyn RequestHead, key: Option<&HeaderName>) -> Repeatable {
        match self {
            Self::All => Repeatable::Always,
            Self::Idempotent => by_idempotency(request, key),
            Self::Custom(rule) => rule(request),
        }
    }
}

/// A request with an idempotent method (RFC 9110, section 9.2.2) or with a key may be repeated; any other only
/// if it was not processed.
fn by_idempotency(request: &dyn RequestHead, key: Option<&HeaderName>) -> Repeatable {
    let has = |name: &HeaderName| request.headers().is_some_and(|headers| headers.contains_key(name));
    let idempotent =
        request.method().is_some_and(Method::is_idempotent) || has(&IDEMPOTENCY_KEY) || key.is_some_and(has);
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
            assert_eq!(by_idempotency(&request, None), expected);
            request.headers_mut().insert(IDEMPOTENCY_KEY, "1".parse().unwrap());
            assert_eq!(by_idempotency(&request, None), Repeatable::Always);
        }
        let own = HeaderName::from_static("x-key");
        let mut request = Request::post("/").body(()).unwrap();
        assert_eq!(by_idempotency(&request, Some(&own)), Repeatable::WhenUnprocessed);
        request.headers_mut().insert(&own, "1".parse().unwrap());
        assert_eq!(by_idempotency(&request, Some(&own)), Repeatable::Always);
        assert_eq!(by_idempotency(&"no method", None), Repeatable::WhenUnprocessed);
    }
}
