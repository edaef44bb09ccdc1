//! A rate limit that admits the call.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aplomb_rate_limit::{Charge, Dimension, Quota, RateLimitLayer};
use governor::RateLimiter;
use throttle_net::tower::ThrottleLayer;
use throttle_net::{MultiLimiter, Throttle};
use tower::{Layer, Service, service_fn};
use tower_resilience_ratelimiter::RateLimiterLayer;

use super::retry::bare;
use crate::{Calls, Case, Group, Peer, Plain, Request, alone, over};

pub(super) const ADMITTED: Group = Group {
    name: "limit",
    about: "a rate limit with room for the call; a request without headers",
    cases: &[
        Case::new("bare", bare::<Plain>),
        Case::new("aplomb", aplomb),
        Case::new("governor-check", governor),
        Case::new("tower", tower),
        Case::new("leaky-bucket", leaky_bucket),
        Case::new("throttle-net", throttle_net),
        Case::new("tower-resilience-window", tower_resilience_window),
        Case::new("tower-resilience-bucket", tower_resilience_bucket),
    ],
};

pub(super) const TOKENS: Group = Group {
    name: "limit-tokens",
    about: "two limits, requests and tokens, with room for the call; a request without headers",
    cases: &[
        Case::new("bare", bare::<Plain>),
        Case::new("aplomb", aplomb_tokens),
        Case::new("governor-two-checks", governor_tokens),
        Case::new("throttle-net", throttle_net_tokens),
    ],
};

/// More calls a second than any case makes.
pub(super) const PLENTY: u32 = 1_000_000_000;
pub(super) const MANY: NonZeroU32 = NonZeroU32::new(PLENTY).expect("not zero");
pub(super) const TOKENS_A_CALL: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn plenty(dimension: Dimension) -> Quota {
    Quota::new(dimension, PLENTY.into(), SECOND).burst(PLENTY)
}

fn aplomb() -> Box<dyn Calls> {
    over::<Plain, _, _>(RateLimitLayer::new([plenty(Dimension::REQUESTS)]).layer(Peer))
}

fn aplomb_tokens() -> Box<dyn Calls> {
    let layer = RateLimitLayer::new([plenty(Dimension::REQUESTS), plenty(Dimension::TOKENS)])
        .cost(|_: &Request| Charge::request().output_tokens(u32::from(TOKENS_A_CALL).into()));
    over::<Plain, _, _>(layer.layer(Peer))
}

fn governor() -> Box<dyn Calls> {
    let limiter = Arc::new(RateLimiter::direct(governor::Quota::per_second(MANY)));
    over::<Plain, _, _>(service_fn(move |request: Request| {
        limiter.check().expect("plenty");
        Peer.call(request)
    }))
}

fn governor_tokens() -> Box<dyn Calls> {
    let requests = Arc::new(RateLimiter::direct(governor::Quota::per_second(MANY)));
    let tokens = Arc::new(RateLimiter::direct(governor::Quota::per_second(MANY)));
    over::<Plain, _, _>(service_fn(move |request: Request| {
        requests.check().expect("plenty");
        tokens.check_n(TOKENS_A_CALL).expect("fits").expect("plenty");
        Peer.call(request)
    }))
}

fn tower() -> Box<dyn Calls> {
    alone::<Plain, _, _>(tower::limit::RateLimitLayer::new(PLENTY.into(), SECOND).layer(Peer))
}

fn leaky_bucket() -> Box<dyn Calls> {
    let plenty = PLENTY as usize;
    let limiter = leaky_bucket::RateLimiter::builder()
        .max(plenty)
        .initial(plenty)
        .refill(plenty)
        .interval(SECOND)
        .build();
    let limiter = Arc::new(limiter);
    over::<Plain, _, _>(service_fn(move |request: Request| {
        let limiter = Arc::clone(&limiter);
        async move {
            limiter.acquire_one().await;
            Peer.call(request).await
        }
    }))
}

fn throttle_net() -> Box<dyn Calls> {
    over::<Plain, _, _>(ThrottleLayer::new(Throttle::per_second(PLENTY)).layer(Peer))
}

/// The cost of a call, by the names of [`throttle_net_dimensions`].
pub(super) const COSTS: [(&str, u32); 2] = [("requests", 1), ("tokens", TOKENS_A_CALL.get())];

/// Requests and tokens. Its layer charges one cost only, so the limiter is called directly.
pub(super) fn throttle_net_dimensions() -> MultiLimiter {
    MultiLimiter::builder()
        .dimension("requests", Throttle::per_second(PLENTY))
        .dimension("tokens", Throttle::per_second(PLENTY))
        .build()
}

fn throttle_net_tokens() -> Box<dyn Calls> {
    let limiter = throttle_net_dimensions();
    over::<Plain, _, _>(service_fn(move |request: Request| {
        let limiter = limiter.clone();
        async move {
            limiter.acquire_costs(&COSTS).await.expect("plenty");
            Peer.call(request).await
        }
    }))
}

fn tower_resilience_window() -> Box<dyn Calls> {
    let layer = RateLimiterLayer::per_second(PLENTY as usize).build().expect("valid");
    over::<Plain, _, _>(layer.layer(Peer))
}

fn tower_resilience_bucket() -> Box<dyn Calls> {
    let plenty = PLENTY as usize;
    let layer = RateLimiterLayer::burst(plenty, plenty).build().expect("valid");
    over::<Plain, _, _>(layer.layer(Peer))
}
