//! A concurrency limit with room for the call.

use aplomb_concurrency::{Adaptive, ConcurrencyLimitLayer};
use tower::Layer;

use super::retry::bare;
use crate::{Calls, Case, Group, Peer, Plain, over};

pub(super) const ROOM: Group = Group {
    name: "concurrency",
    about: "a concurrency limit with room for the call; a request without headers",
    cases: &[
        Case::new("bare", bare::<Plain>),
        Case::new("aplomb", aplomb),
        Case::new("aplomb-until-head", until_head),
        Case::new("aplomb-adaptive", adaptive),
        Case::new("tower", tower),
    ],
};

const PLENTY: usize = 1_000;

/// Holds the place until the body has ended.
fn aplomb() -> Box<dyn Calls> {
    over::<Plain, _, _>(ConcurrencyLimitLayer::new(PLENTY).layer(Peer))
}

/// Holds the place until the head has arrived, as tower's does.
fn until_head() -> Box<dyn Calls> {
    over::<Plain, _, _>(ConcurrencyLimitLayer::new(PLENTY).until_head().layer(Peer))
}

fn adaptive() -> Box<dyn Calls> {
    over::<Plain, _, _>(ConcurrencyLimitLayer::new(Adaptive::new()).layer(Peer))
}

fn tower() -> Box<dyn Calls> {
    over::<Plain, _, _>(tower::limit::ConcurrencyLimitLayer::new(PLENTY).layer(Peer))
}
