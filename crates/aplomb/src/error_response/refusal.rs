//! The status of an error, and when to come back.

use std::error::Error;
use std::time::Duration;

use aplomb_admission::RejectReason;
use aplomb_circuit_breaker::CircuitOpen;
use aplomb_concurrency::AtCapacity;
use aplomb_core::{Dimension, Rejection, find};
use aplomb_rate_limit::{RateLimitReason, RateLimited};
use http::StatusCode;

use crate::route::NoRoute;
use crate::{DeadlinePassed, EndpointError, TimedOut};

/// An error, as its caller is told of it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
    /// The quota that is used up.
    pub(super) exhausted: Option<Dimension>,
}

impl Refusal {
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let retry_after = find::<EndpointError>(error)
            .and_then(EndpointError::retry_after)
            .or_else(|| find::<Rejection>(error)?.retry_after());
        let (status, message) = status(error);
        Self { status, message, retry_after, exhausted: exhausted(error) }
    }
}

fn status(error: &(dyn Error + 'static)) -> (StatusCode, String) {
    if let Some(no_route) = find::<NoRoute>(error) {
        return (StatusCode::NOT_FOUND, no_route.to_string());
    }
    if let Some(limited) = find::<RateLimited>(error) {
        return (of_limit(limited), limited.to_string());
    }
    if let Some(open) = find::<CircuitOpen>(error) {
        return (StatusCode::SERVICE_UNAVAILABLE, open.to_string());
    }
    if let Some(full) = find::<AtCapacity>(error) {
        return (StatusCode::SERVICE_UNAVAILABLE, full.to_string());
    }
    if let Some(passed) = find::<DeadlinePassed>(error) {
        return (StatusCode::GATEWAY_TIMEOUT, passed.to_string());
    }
    if let Some(timed_out) = find::<TimedOut>(error) {
        return (StatusCode::GATEWAY_TIMEOUT, timed_out.to_string());
    }
    if let Some(rejection) = find::<Rejection>(error) {
        return (StatusCode::SERVICE_UNAVAILABLE, rejection.to_string());
    }
    if find::<EndpointError>(error).is_some() {
        let message = "the provider gave no answer that could be passed on";
        return (StatusCode::BAD_GATEWAY, message.to_owned());
    }
    (StatusCode::INTERNAL_SERVER_ERROR, "the request failed".to_owned())
}

fn of_limit(limited: &RateLimited) -> StatusCode {
    match (limited.reject_reason(), limited.reason()) {
        // It will not fit later either, and SDKs repeat a 429.
        (_, Some(RateLimitReason::AboveCapacity { .. })) => StatusCode::PAYLOAD_TOO_LARGE,
        (_, Some(RateLimitReason::CostUnknown(_))) => StatusCode::INTERNAL_SERVER_ERROR,
        (RejectReason::QueueFull | RejectReason::Closed | RejectReason::TooManyKeys, _) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::TOO_MANY_REQUESTS,
    }
}

fn exhausted(error: &(dyn Error + 'static)) -> Option<Dimension> {
    match find::<RateLimited>(error)?.reason()? {
        RateLimitReason::Quota(dimension) => Some(dimension),
        _ => None,
    }
}
