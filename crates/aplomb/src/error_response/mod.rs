//! Errors as responses: for services that pass calls on.

mod layer;
mod refusal;
mod shape;

use std::error::Error;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response};
use http_body_util::Full;

use self::refusal::Refusal;

pub use self::layer::{ErrorResponse, ErrorResponseFuture, ErrorResponseLayer};
pub use self::shape::Shape;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The response to a caller whose call ended with an error: the status, when to come back, and a body in the words that the
/// caller's SDK understands.
///
/// | error | status |
/// | --- | --- |
/// | [`RateLimited`](crate::rate_limit::RateLimited) | 429 |
/// | the same, for a call that costs more than the quota ever holds | 413 |
/// | [`CircuitOpen`](crate::circuit_breaker::CircuitOpen), [`AtCapacity`](crate::concurrency::AtCapacity), a full or closed queue | 503 |
/// | [`DeadlinePassed`](crate::DeadlinePassed), [`TimedOut`](crate::TimedOut) | 504 |
/// | [`NoRoute`](crate::route::NoRoute) | 404 |
/// | any other [`EndpointError`](crate::EndpointError) | 502 |
/// | anything else | 500 |
///
/// If the time is known, `Retry-After` has the seconds, rounded up, for a caller must not come back too early; and `RateLimit`
/// (draft-ietf-httpapi-ratelimit-headers-10) has the exhausted quota. In the shapes of providers, `retry-after-ms` has the
/// milliseconds, which official SDKs prefer.
///
/// The message is that of aplomb's own errors, which contain no credential and no prompt. That of other errors, as a client's, is
/// not shown.
///
/// It is implemented for all errors, also in a [`BoxError`](crate::BoxError).
///
/// # Examples
///
/// ```
/// use aplomb::rate_limit::{Charge, Quota, RateLimiter};
/// use aplomb::{Shape, ToResponse};
///
/// let limiter = RateLimiter::new([Quota::requests_per_minute(1)]);
/// limiter.try_acquire(&Charge::request()).unwrap().sent();
/// let limited = limiter.try_acquire(&Charge::request()).unwrap_err();
/// let response = limited.to_response(Shape::OpenAi);
/// assert_eq!(response.status(), 429);
/// assert_eq!(response.headers()["retry-after"], "60");
/// assert_eq!(response.headers()["ratelimit"], r#""requests";r=0;t=60"#);
/// ```
pub trait ToResponse {
    /// The response, with a body in this shape.
    fn to_response(&self, shape: Shape) -> Response<Full<Bytes>>;
}

impl<E: Error + 'static> ToResponse for E {
    fn to_response(&self, shape: Shape) -> Response<Full<Bytes>> {
        respond(&Refusal::of(self), shape)
    }
}

impl ToResponse for dyn Error + Send + Sync + 'static {
    fn to_response(&self, shape: Shape) -> Response<Full<Bytes>> {
        respond(&Refusal::of(self), shape)
    }
}

fn respond(refusal: &Refusal, shape: Shape) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(shape.body(refusal)));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(shape.content_type()));
    if let Some(after) = refusal.retry_after {
        let millis = after.as_micros().div_ceil(1_000);
        let seconds = u64::try_from(millis.div_ceil(1_000)).unwrap_or(u64::MAX);
        headers.insert(RETRY_AFTER, seconds.into());
        if shape != Shape::Plain {
            headers.insert(RETRY_AFTER_MS, u64::try_from(millis).unwrap_or(u64::MAX).into());
        }
        let quota = refusal.exhausted.map(|dimension| format!("\"{dimension}\";r=0;t={seconds}"));
        if let Some(quota) = quota.and_then(|quota| HeaderValue::try_from(quota).ok()) {
            headers.insert(RATE_LIMIT, quota);
        }
    }
    response
}

/// In plain text: a handler can return a `Result` with this error.
#[cfg(feature = "axum")]
impl axum_core::response::IntoResponse for crate::EndpointError {
    fn into_response(self) -> axum_core::response::Response {
        self.to_response(Shape::Plain).map(axum_core::body::Body::new)
    }
}
