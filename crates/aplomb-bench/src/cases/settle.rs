//! A rate limit that reserves before a call, and settles when its answer has been read.

use std::sync::Arc;

use aplomb_rate_limit::{Charge, Dimension, Quota, RateLimitLayer, RateLimiter, Settle};
use governor::RateLimiter as Governor;
use tower::{Layer, Service, service_fn};

use super::limit::{MANY, TOKENS_A_CALL, plenty};
use crate::{Calls, Case, Group, PRODUCED, Plain, Request, Told, over};

pub(super) const SETTLED: Group = Group {
    name: "limit-settle",
    about: "requests and output tokens: reserved, and settled with what the answer holds; the answer is read",
    cases: &[
        Case::new("bare", bare).read(),
        Case::new("aplomb", aplomb).read(),
        Case::new("aplomb-acquire-settle", acquire_and_settle).read(),
        Case::new("governor-two-checks", governor).read(),
    ],
};

pub(super) fn bare() -> Box<dyn Calls> {
    over::<Plain, _, _>(Told)
}

/// Requests and output tokens; those are given back that were not produced.
pub(super) fn quotas() -> [Quota; 2] {
    let tokens = plenty(Dimension::OUTPUT_TOKENS).settle(Settle::Correct);
    [plenty(Dimension::REQUESTS), tokens]
}

/// More than are produced.
pub(super) fn reserved() -> Charge {
    Charge::request().output_tokens(u32::from(TOKENS_A_CALL).into())
}

fn aplomb() -> Box<dyn Calls> {
    let layer = RateLimitLayer::new(quotas()).cost(|_: &Request| reserved()).until_body_end();
    over::<Plain, _, _>(layer.layer(Told))
}

fn acquire_and_settle() -> Box<dyn Calls> {
    let limiter = RateLimiter::new(quotas());
    over::<Plain, _, _>(service_fn(move |request: Request| {
        let acquiring = limiter.acquire(reserved());
        async move {
            let mut permit = acquiring.await.expect("plenty");
            permit.sent();
            let answer = Told.call(request).await;
            permit.settle(&Charge::request().output_tokens(PRODUCED));
            answer
        }
    }))
}

/// Which never gives anything back.
fn governor() -> Box<dyn Calls> {
    let requests = Arc::new(Governor::direct(governor::Quota::per_second(MANY)));
    let tokens = Arc::new(Governor::direct(governor::Quota::per_second(MANY)));
    over::<Plain, _, _>(service_fn(move |request: Request| {
        requests.check().expect("plenty");
        tokens.check_n(TOKENS_A_CALL).expect("fits").expect("plenty");
        Told.call(request)
    }))
}
