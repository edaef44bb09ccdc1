//! A concurrency limit with a place for the call.

use aplomb::concurrency::{Adaptive, ConcurrencyLimitLayer, Latency, Limit};
use tower::Layer;
use tower_resilience_adaptive::{AdaptiveLimiterLayer, Aimd, Vegas};

use super::retry::bare;
use crate::{Calls, Case, Group, Peer, Plain, over};

pub(super) const FREE: Group = Group {
    name: "concurrency",
    about: "a concurrency limit with a place for the call; a request without headers, the answer is read",
    cases: &[
        Case::new("bare", bare::<Plain>).read(),
        Case::new("aplomb-fixed", fixed).read(),
        Case::new("aplomb-fixed-until-head", fixed_until_head).read(),
        Case::new("aplomb-adaptive", adaptive).read(),
        Case::new("aplomb-adaptive-latency", adaptive_by_latency).read(),
        Case::new("tower-fixed", tower_fixed).read(),
        Case::new("tower-resilience-aimd", tower_resilience_aimd).read(),
        Case::new("tower-resilience-vegas", tower_resilience_vegas).read(),
    ],
};

const PLACES: usize = 64;

fn aplomb(limit: impl Into<Limit>) -> Box<dyn Calls> {
    over::<Plain, _, _>(ConcurrencyLimitLayer::new(limit).layer(Peer))
}

fn fixed() -> Box<dyn Calls> {
    aplomb(PLACES)
}

/// The other crates release a place this early.
fn fixed_until_head() -> Box<dyn Calls> {
    over::<Plain, _, _>(ConcurrencyLimitLayer::new(PLACES).until_head().layer(Peer))
}

fn adaptive() -> Box<dyn Calls> {
    aplomb(Adaptive::new())
}

fn adaptive_by_latency() -> Box<dyn Calls> {
    aplomb(Adaptive::new().latency(Latency::first_byte()))
}

fn tower_fixed() -> Box<dyn Calls> {
    over::<Plain, _, _>(tower::limit::ConcurrencyLimitLayer::new(PLACES).layer(Peer))
}

fn tower_resilience_aimd() -> Box<dyn Calls> {
    let limit = Aimd::builder().build().expect("valid");
    over::<Plain, _, _>(AdaptiveLimiterLayer::new(limit).layer(Peer))
}

fn tower_resilience_vegas() -> Box<dyn Calls> {
    let limit = Vegas::builder().build().expect("valid");
    over::<Plain, _, _>(AdaptiveLimiterLayer::new(limit).layer(Peer))
}
