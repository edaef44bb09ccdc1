//! The cost of a request, and the request for usage in its response.

use std::any::Any;

use aplomb_core::{Dimension, InMemory};
use aplomb_provider::endpoint::{is_body_signed, remove_body_digests};
use aplomb_provider::{Estimate, Provider};
use aplomb_rate_limit::{Charge, Quota};
use bytes::Bytes;
use http_body::Body;
use http_body_util::Full;

use super::calibration::{Calibration, PromptEstimate};
use crate::{AdaptedBody, Policy};

/// The most tokens that one call may cost under a policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenLimits {
    tokens: u64,
    output: u64,
}

impl TokenLimits {
    pub(super) fn of(policy: &Policy) -> Self {
        let smallest = |dimension| {
            let quotas = policy.quotas.iter().filter(|quota| quota.dimension() == dimension);
            quotas.map(Quota::capacity).min().unwrap_or(u64::MAX)
        };
        Self { tokens: smallest(Dimension::TOKENS), output: smallest(Dimension::OUTPUT_TOKENS) }
    }
}

/// The cost of a request: the caller's charge, or else an estimate of what the provider reserves for it. In the
/// latter case also the estimate of its prompt.
pub(super) fn charge<A: Body + Clone>(
    request: &http::Request<A>,
    provider: &dyn Provider,
    calibration: &Calibration,
    limits: TokenLimits,
) -> (Charge, Option<PromptEstimate>) {
    if let Some(charge) = request.extensions().get::<Charge>() {
        return (charge.clone(), None);
    }
    // Nothing is generated: a list of models, a file to be deleted.
    if request.body().is_end_stream() {
        return (Charge::request(), None);
    }
    // A body that is not in memory may be anything: the default estimate applies.
    let estimate = request
        .body_bytes()
        .map_or_else(Estimate::default, |body| provider.estimate(request.uri().path(), &body, None));
    let prompt = PromptEstimate(estimate.input());
    let estimate = estimate.with_input(calibration.calibrated(prompt));
    let reserved = provider.accounting().reserved(&estimate);
    let input = reserved.input();
    let output = match estimate.output() {
        Some(_) => reserved.output(),
        // A guess is no reason to reject a request forever.
        None => reserved.output().min(limits.output).min(limits.tokens.saturating_sub(input)),
    };
    (Charge::request().input_tokens(input).output_tokens(output), Some(prompt))
}

/// Asks for usage in the stream where the provider reports it only on demand and the body can be changed.
pub(super) fn include_usage<A>(request: &mut http::Request<A>, provider: &dyn Provider)
where
    A: Body + Clone + 'static,
{
    if is_body_signed(request.headers()) {
        return;
    }
    let changed = request.body_bytes().and_then(|body| provider.include_usage(request.uri().path(), &body));
    let Some(changed) = changed else {
        return;
    };
    let body: &mut dyn Any = request.body_mut();
    let length = changed.len();
    if let Some(body) = body.downcast_mut::<Full<Bytes>>() {
        *body = Full::from(changed);
    } else if let Some(body) = body.downcast_mut::<String>() {
        let Ok(changed) = String::from_utf8(changed) else {
            return;
        };
        *body = changed;
    } else if let Some(body) = body.downcast_mut::<AdaptedBody>() {
        body.set_bytes(changed.into());
    } else {
        return;
    }
    let headers = request.headers_mut();
    remove_body_digests(headers);
    if let Some(announced) = headers.get_mut(http::header::CONTENT_LENGTH) {
        *announced = length.into();
    }
}
