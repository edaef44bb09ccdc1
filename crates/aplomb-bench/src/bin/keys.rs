//! `cargo run --release --bin keys`: memory of a million keys, and the time of single calls.

use std::alloc::System;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aplomb_core::{CallOptions, RequestView};
use aplomb_rate_limit::{Charge, Quota, RateLimitLayer, RateLimiter};
use clap::Parser;
use cpu_time::ThreadTime;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A key whose quotas are never used up.
const PLENTY: u64 = 7;

/// Uses every key of a keyed limiter with two quotas, and then some of them again.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Number of keys.
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Gives all keys the quotas of the layer, which they share. Default: quotas that depend on the key.
    #[arg(long)]
    same_quotas: bool,
}

fn main() {
    let Args { keys, same_quotas } = Args::parse();
    let mut calls = Calls::with_capacity(keys);
    let region = Region::new(HEAP);
    let quotas_of = |key: &u64| {
        let each = if *key == PLENTY { 1_000_000_000_000 } else { 1_000 };
        [Quota::requests_per_day(each), Quota::tokens_per_day(each * 1_000)]
    };
    let key_of = |_: &RequestView<'_>| PLENTY;
    let layer = if same_quotas {
        RateLimitLayer::new(quotas_of(&0)).by_key(key_of)
    } else {
        RateLimitLayer::new([]).by_key_with(key_of, quotas_of)
    };
    let layer = layer.max_keys(keys);
    let limiter = &layer.limiter();
    let known = || limiter.keys().unwrap_or_default();
    // The most bytes per key so far: tables grow in steps.
    let mut most = 0.0_f64;
    for key in 0..keys {
        calls.time(|| call(&limiter, key as u64));
        if key % 1_024 == 0 && key >= keys / 2 {
            most = most.max(each(&region, known()));
        }
    }
    println!("{} keys, a u64 each, with two quotas that have been drawn from", known());
    println!("bytes a key: {:.1}; at most, from half of them on: {most:.1}", each(&region, known()));
    calls.print("the first call of each key");
    (0..keys).for_each(|key| calls.time(|| call(&limiter, key as u64)));
    calls.print("the second call, which the quota rejects");
    let before = region.change().allocations;
    (0..keys).for_each(|_| calls.time(|| call(&limiter, PLENTY)));
    calls.print("all with one key, which has plenty");
    println!("    with {} allocations in all", region.change().allocations - before);
    (0..keys).for_each(|key| calls.time(|| call(&limiter, (keys + key) as u64)));
    calls.print("new keys, which evict old ones");
}

/// Makes a call and returns whether it was admitted at once.
fn call(limiter: &RateLimiter, key: u64) -> bool {
    let options = CallOptions::new().with_deadline(tokio::time::Instant::now() + Duration::from_secs(1));
    let charge = Charge::request().input_tokens(1_000);
    let mut acquire = pin!(limiter.acquire_for(&key, charge, &options));
    match acquire.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(mut permit)) => {
            permit.sent();
            true
        }
        Poll::Ready(Err(refused)) => {
            black_box(refused);
            false
        }
        Poll::Pending => unreachable!("the deadline is too near"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn each(region: &Region<'_, System>, keys: usize) -> f64 {
    let change = region.change();
    (change.bytes_allocated - change.bytes_deallocated) as f64 / keys as f64
}

/// Durations of calls in processor time of this thread, which a busy machine hardly changes.
struct Calls {
    nanos: Vec<u32>,
    admitted: usize,
}

impl Calls {
    fn with_capacity(calls: usize) -> Self {
        Self { nanos: Vec::with_capacity(calls), admitted: 0 }
    }

    fn time(&mut self, call: impl FnOnce() -> bool) {
        let start = ThreadTime::now();
        self.admitted += usize::from(call());
        self.nanos.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }

    /// Prints and clears the durations.
    fn print(&mut self, what: &str) {
        self.nanos.sort_unstable();
        let below = |of: usize| self.nanos[self.nanos.len() - 1 - self.nanos.len() / of];
        let (median, rare, rarest, longest) = (below(2), below(1_000), below(100_000), below(usize::MAX));
        println!(
            "{what}: {} of {} admitted; ns: half below {median}, all but 1 of 1,000 below {rare}, of 100,000 \
             below {rarest}, longest {longest}",
            self.admitted,
            self.nanos.len(),
        );
        self.nanos.clear();
        self.admitted = 0;
    }
}
