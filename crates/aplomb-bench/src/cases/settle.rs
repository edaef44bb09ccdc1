//! A rate limit that reserves before a call and settles when the answer has been read.

use std::sync::Arc;

use aplomb_rate_limit::{Charge, Dimension, Quota, RateLimitLayer, RateLimiter, Settle};
use governor::RateLimiter as Governor;
use tower::{Layer, Service, service_fn};

use super::limit::{COSTS, MANY, TOKENS_A_CALL, plenty, throttle_net_dimensions};
use crate::{Calls, Case, Group, PRODUCED, Plain, Request, Told, over};

pub(super) const SETTLED: Group = Group {
    name: "limit-settle",
    about: "requests and output tokens: reserved, and settled with what the answer holds; the answer is read",
    cases: &[
        Case::new("bare", bare).read(),
        Case::new("aplomb", aplomb).read(),
        Case::new("aplomb-acquire-settle", acquire_and_settle).read(),
        Case::new("governor-two-checks", governor).read(),
        Case::new("throttle-net", throttle_net).read(),
    ],
};

pub(super) fn bare() -> Box<dyn Calls> {
    over::<Plain, _, _>(Told)
}

/// Requests and output tokens; tokens that were not produced are given back.
pub(super) fn quotas() -> [Quota; 2] {
    let tokens = plenty(Dimension::OUTPUT_TOKENS).settle(Settle::Correct);
    [plenty(Dimension::REQUESTS), tokens]
}

/// More tokens than are produced.
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
        let limiter = limiter.clone();
        async move {
            let mut permit = limiter.acquire(reserved()).await.expect("plenty");
            permit.sent();
            let answer = Told.call(request).await;
            permit.settle(&Charge::request().output_tokens(PRODUCED));
            answer
        }
    }))
}

/// governor cannot give anything back.
fn governor() -> Box<dyn Calls> {
    let requests = Arc::new(Governor::direct(governor::Quota::per_second(MANY)));
    let tokens = Arc::new(Governor::direct(governor::Quota::per_second(MANY)));
    over::<Plain, _, _>(service_fn(move |request: Request| {
        requests.check().expect("plenty");
        tokens.check_n(TOKENS_A_CALL).expect("fits").expect("plenty");
        Told.call(request)
    }))
}

fn throttle_net() -> Box<dyn Calls> {
    let limiter = throttle_net_dimensions();
    over::<Plain, _, _>(service_fn(move |request: Request| {
        let limiter = limiter.clone();
        async move {
            limiter.acquire_costs(&COSTS).await.expect("plenty");
            let answer = Told.call(request).await;
            let produced = u32::try_from(PRODUCED).expect("a few");
            limiter.settle_costs(&COSTS, &[("requests", 1), ("tokens", produced)]);
            answer
        }
    }))
}
