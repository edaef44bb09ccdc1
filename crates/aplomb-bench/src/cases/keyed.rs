//! A rate limit by key: always the same key, and any of a million.

use std::cell::Cell;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use aplomb_core::{CallOptions, RequestView};
use aplomb_rate_limit::{Charge, RateLimitLayer};
use governor::RateLimiter;
use throttle_net::{Eviction, PerKey};
use tower::{Layer, Service, service_fn};

use super::limit::{MANY, PLENTY, TOKENS_A_CALL};
use super::settle::{quotas, reserved};
use crate::{Calls, Case, Group, PRODUCED, Plain, Request, Told, over};

pub(super) const KEYED: Group = Group {
    name: "limit-keyed",
    about: "the same for each of 1,000,000 keys, all of them in use: always one of them, or any",
    cases: &[
        Case::new("bare", bare).read(),
        Case::new("aplomb-hot", layer::<Hot>).read(),
        Case::new("aplomb-random", layer::<Random>).read(),
        Case::new("aplomb-acquire-settle-hot", acquire_and_settle::<Hot>).read(),
        Case::new("aplomb-acquire-settle-random", acquire_and_settle::<Random>).read(),
        Case::new("governor-two-checks-hot", governor::<Hot>).read(),
        Case::new("governor-two-checks-random", governor::<Random>).read(),
        Case::new("throttle-net-hot", throttle_net::<Hot>).read(),
        Case::new("throttle-net-random", throttle_net::<Random>).read(),
    ],
};

const KEYS: u32 = 1_000_000;

/// The key of the next call.
trait Next: 'static {
    fn next() -> u64;
}

struct Hot;

struct Random;

impl Next for Hot {
    fn next() -> u64 {
        black_box(7)
    }
}

impl Next for Random {
    /// The same sequence in each case and thread: `SplitMix64` (Steele, Lea and Flood, 2014).
    fn next() -> u64 {
        thread_local! {
            static STATE: Cell<u64> = const { Cell::new(0) };
        }
        let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        STATE.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % u64::from(KEYS)
    }
}

/// Draws a key too.
fn bare() -> Box<dyn Calls> {
    over::<Plain, _, _>(service_fn(|request: Request| {
        black_box(Random::next());
        Told.call(request)
    }))
}

/// A layer that has seen all keys.
fn all_seen<N: Next>() -> RateLimitLayer {
    let layer = RateLimitLayer::new(quotas())
        .by_key(|_: &RequestView<'_>| N::next())
        .max_keys(KEYS as usize);
    let (limiter, options) = (layer.limiter(), CallOptions::new());
    for key in 0..u64::from(KEYS) {
        let acquiring = pin!(limiter.acquire_for(&key, reserved(), &options));
        let ready = acquiring.poll(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(ready, "there is room");
    }
    layer
}

fn layer<N: Next>() -> Box<dyn Calls> {
    let layer = all_seen::<N>().cost(|_: &Request| reserved()).until_body_end();
    over::<Plain, _, _>(layer.layer(Told))
}

fn acquire_and_settle<N: Next>() -> Box<dyn Calls> {
    let limiter = all_seen::<N>().limiter();
    over::<Plain, _, _>(service_fn(move |request: Request| {
        let limiter = limiter.clone();
        async move {
            let permit = limiter.acquire_for(&N::next(), reserved(), &CallOptions::new()).await;
            let mut permit = permit.expect("plenty");
            permit.sent();
            let answer = Told.call(request).await;
            permit.settle(&Charge::request().output_tokens(PRODUCED));
            answer
        }
    }))
}

/// In the map of its default features.
fn governor<N: Next>() -> Box<dyn Calls> {
    let requests = Arc::new(RateLimiter::dashmap(governor::Quota::per_second(MANY)));
    let tokens = Arc::new(RateLimiter::dashmap(governor::Quota::per_second(MANY)));
    let check = move |key: u64| {
        requests.check_key(&key).expect("plenty");
        tokens.check_key_n(&key, TOKENS_A_CALL).expect("fits").expect("plenty");
    };
    (0..KEYS.into()).for_each(&check);
    over::<Plain, _, _>(service_fn(move |request: Request| {
        check(N::next());
        Told.call(request)
    }))
}

/// A limiter for each of the two quotas, settled by a refund.
fn throttle_net<N: Next>() -> Box<dyn Calls> {
    let per_key = || {
        let limiter = PerKey::<u64>::per_second(PLENTY);
        Arc::new(limiter.with_eviction(Eviction::unbounded()))
    };
    let (requests, tokens) = (per_key(), per_key());
    for key in 0..u64::from(KEYS) {
        let admitted = requests.try_acquire(&key) && tokens.try_acquire_with_cost(&key, TOKENS_A_CALL.get());
        assert!(admitted, "there is room");
    }
    over::<Plain, _, _>(service_fn(move |request: Request| {
        let (requests, tokens) = (Arc::clone(&requests), Arc::clone(&tokens));
        async move {
            let key = N::next();
            requests.acquire(&key).await.expect("plenty");
            tokens.acquire_with_cost(&key, TOKENS_A_CALL.get()).await.expect("plenty");
            let answer = Told.call(request).await;
            tokens.refund(&key, TOKENS_A_CALL.get() - u32::try_from(PRODUCED).expect("a few"));
            answer
        }
    }))
}
