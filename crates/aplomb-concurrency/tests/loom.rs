//! Every interleaving of two threads at one limit: never more in flight than allowed, and no call waits
//! forever.
#![cfg(aplomb_loom)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aplomb_concurrency::{Adaptive, ConcurrencyLimiter};
use aplomb_core::{CallOptions, Outcome};
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::thread;

/// Makes a call, and counts the calls in flight meanwhile.
fn call(limiter: &ConcurrencyLimiter, in_flight: &AtomicUsize, most: usize) {
    let permit = block_on(limiter.acquire(&CallOptions::new())).unwrap();
    assert!(in_flight.fetch_add(1, SeqCst) < most, "more in flight than the limit allows");
    in_flight.fetch_sub(1, SeqCst);
    permit.end(Outcome::success());
}

#[test]
fn never_more_in_flight_than_the_limit_and_everybody_gets_through() {
    loom::model(|| {
        let limiter = ConcurrencyLimiter::new(1);
        let in_flight = Arc::new(AtomicUsize::new(0));
        let other = {
            let (limiter, in_flight) = (limiter.clone(), Arc::clone(&in_flight));
            thread::spawn(move || call(&limiter, &in_flight, 1))
        };
        call(&limiter, &in_flight, 1);
        other.join().unwrap();
        let now = limiter.snapshot();
        assert_eq!((now.in_flight(), now.waiting()), (0, 0));
    });
}

#[test]
fn a_limit_that_grows_lets_in_who_waits() {
    loom::model(|| {
        let limiter = ConcurrencyLimiter::new(Adaptive::new().initial(1));
        let held = block_on(limiter.acquire(&CallOptions::new())).unwrap();
        let others = limiter.clone();
        // One answer makes room for two; the waiting call takes one.
        let waits = thread::spawn(move || {
            let permit = block_on(others.acquire(&CallOptions::new())).unwrap();
            let more = block_on(others.acquire(&CallOptions::new())).unwrap();
            (permit, more)
        });
        held.end(Outcome::success());
        drop(waits.join().unwrap());
        assert_eq!((limiter.snapshot().limit(), limiter.snapshot().in_flight()), (2, 0));
    });
}

#[test]
fn a_permit_that_is_dropped_while_another_gives_up_is_not_lost() {
    loom::model(|| {
        let limiter = ConcurrencyLimiter::new(1);
        let held = block_on(limiter.acquire(&CallOptions::new())).unwrap();
        let gives_up = {
            let limiter = limiter.clone();
            thread::spawn(move || {
                let options = CallOptions::new();
                let mut acquire = pin!(limiter.acquire(&options));
                let polled = acquire.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                drop(if let Poll::Ready(permit) = polled {
                    permit.ok()
                } else {
                    None
                });
            })
        };
        drop(held);
        gives_up.join().unwrap();
        let now = limiter.snapshot();
        assert_eq!((now.in_flight(), now.waiting()), (0, 0));
        drop(block_on(limiter.acquire(&CallOptions::new())).unwrap());
    });
}
