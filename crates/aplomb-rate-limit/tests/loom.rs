//! Every interleaving of two threads at one pool: never more than there is, and no call sleeps forever.
#![cfg(aplomb_loom)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::task::{Context, Waker};

use aplomb_rate_limit::{Charge, Pool, Quota, RateLimiter};
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::thread;
use tokio::runtime::{Builder, Handle};

/// Timers are set in a runtime that is not driven, whose clock stands still: none will ever fire, and
/// nothing flows back.
fn model(test: impl Fn(&Handle) + Sync + Send + 'static) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let handle = runtime.handle().clone();
    loom::model(move || {
        let _here = handle.enter();
        test(&handle);
    });
}

/// Makes a call that is never sent, and counts the calls in flight meanwhile.
fn call(member: &RateLimiter, in_flight: &AtomicUsize) {
    let permit = block_on(member.acquire(Charge::request())).unwrap();
    assert_eq!(in_flight.fetch_add(1, SeqCst), 0, "more than there is");
    in_flight.fetch_sub(1, SeqCst);
    drop(permit);
}

fn one_a_day() -> Pool {
    Pool::new([Quota::requests_per_day(1)])
}

fn is_as_before(pool: &Pool) {
    let now = pool.snapshot();
    assert_eq!((now.available()[0].1, now.in_flight(), now.waiting()), (1, 0, 0));
}

#[test]
fn promise_17_and_18_what_one_member_gives_back_reaches_the_other_and_never_both() {
    model(|runtime| {
        let pool = one_a_day();
        let in_flight = Arc::new(AtomicUsize::new(0));
        let other = {
            let (member, in_flight, runtime) = (pool.limiter(), Arc::clone(&in_flight), runtime.clone());
            thread::spawn(move || {
                let _here = runtime.enter();
                call(&member, &in_flight);
            })
        };
        call(&pool.limiter(), &in_flight);
        other.join().unwrap();
        is_as_before(&pool);
    });
}

#[test]
fn promise_26_a_head_that_goes_away_lets_the_next_go() {
    model(|runtime| {
        let pool = Pool::new([Quota::requests_per_day(1).burst(2)]);
        let mut held = block_on(pool.limiter().acquire(Charge::request())).unwrap();
        held.sent();
        let large = pool.limiter();
        let mut large = Box::pin(async move { large.acquire(Charge::request().requests(2)).await });
        assert!(large.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let goes_away = {
            let runtime = runtime.clone();
            thread::spawn(move || {
                let _here = runtime.enter();
                drop(large);
            })
        };
        drop(block_on(pool.limiter().acquire(Charge::request())).unwrap());
        goes_away.join().unwrap();
        let now = pool.snapshot();
        assert_eq!((now.available()[0].1, now.waiting()), (1, 0));
    });
}

#[test]
fn promise_25_a_change_reaches_calls_that_begin_to_wait() {
    model(|runtime| {
        let pool = one_a_day();
        let mut held = block_on(pool.limiter().acquire(Charge::request())).unwrap();
        held.sent();
        let changes = {
            let (pool, runtime) = (pool.clone(), runtime.clone());
            thread::spawn(move || {
                let _here = runtime.enter();
                pool.set_quotas([Quota::requests_per_second(2)]);
            })
        };
        drop(block_on(pool.limiter().acquire(Charge::request())).unwrap());
        changes.join().unwrap();
    });
}
