//! A panic in one queue of a pool does not affect the others.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aplomb_admission::{Decision, End, Gate, Hints, Queue, QueueLimits, Wait};
use aplomb_core::CallOptions;
use aplomb_rate_limit::{Charge, Dimension, Pool, Quota, RateLimiter};
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout};
use tokio_test::task;

use super::S;
use crate::gate_support::{Both, simple};

/// Panics when it is asked how long answers take, once.
struct Fragile(bool);

impl Gate for Fragile {
    type Cost = ();
    type Token = ();
    type Reason = ();
    type Event = Infallible;

    fn check(&mut self, (): &(), _: Instant) -> Decision<()> {
        Decision::Admit
    }

    fn admit(&mut self, (): &(), _: Instant) {}

    fn end(&mut self, (): (), _: End, _: Instant) {}

    simple!(on forecast next_event pooled);

    fn hints(&self) -> Hints {
        assert!(!self.0, "as planned");
        Hints::default()
    }
}

/// Its caller waits for the pool already.
#[tokio::test(start_paused = true)]
async fn promise_7_a_place_left_by_a_panic_does_not_stop_the_other_lines() {
    let pool = Pool::new([Quota::requests_per_second(1)]);
    let other = pool.limiter();
    other.acquire(Charge::request()).await.unwrap().sent();
    let fragile = Queue::new(Both(Fragile(true), pool.member()), QueueLimits::new(), |_| ());
    let options = CallOptions::new().with_deadline(Instant::now() + 60 * S);
    let mut call = task::spawn(fragile.acquire(((), Charge::request()), Wait::from(&options)));
    let panicked = catch_unwind(AssertUnwindSafe(|| call.poll().is_ready()));
    assert!(panicked.is_err());
    drop(call);
    let served = timeout(100 * S, other.acquire(Charge::request())).await;
    assert!(served.is_ok(), "{:?}", pool.snapshot());
}

#[test]
fn promise_7_a_call_in_a_runtime_without_a_timer_does_not_stop_the_other_lines() {
    let pool = Pool::new([Quota::new(Dimension::REQUESTS, 10, S).burst(1)]);
    let (other, timeless) = (pool.limiter(), pool.limiter());
    let bad = Builder::new_current_thread().build().unwrap();
    bad.block_on(async { timeless.acquire(Charge::request()).await.unwrap().sent() });
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        bad.block_on(async { drop(timeless.acquire(Charge::request()).await) });
    }));
    assert!(panicked.is_err());
    let good = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let served = good.block_on(async { timeout(3 * S, other.acquire(Charge::request())).await });
    assert!(served.is_ok(), "{:?}", pool.snapshot());
}

#[test]
fn promise_7_a_call_in_a_runtime_without_a_timer_leaves_the_queue() {
    let limiter = RateLimiter::new([Quota::new(Dimension::REQUESTS, 10, S).burst(1)]);
    let bad = Builder::new_current_thread().build().unwrap();
    bad.block_on(async { limiter.acquire(Charge::request()).await.unwrap().sent() });
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        bad.block_on(async { drop(limiter.acquire(Charge::request()).await) });
    }));
    assert!(panicked.is_err());
    let good = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let served = good.block_on(async { timeout(3 * S, limiter.acquire(Charge::request())).await });
    let (is_served, snapshot) = (served.is_ok(), limiter.snapshot());
    drop(served);
    assert!(is_served && limiter.snapshot().waiting() == 0, "served {is_served} {snapshot:?}");
}
