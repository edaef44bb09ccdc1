//! Members in several threads at once: never a call too many.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use aplomb_rate_limit::{Charge, Pool, Quota, RateLimitPermit, RateLimiter};
use tokio_test::task;

/// A permit, if there is one now.
fn at_once(member: &RateLimiter) -> Option<RateLimitPermit> {
    match task::spawn(member.acquire(Charge::request())).poll() {
        Poll::Ready(permit) => permit.ok(),
        Poll::Pending => None,
    }
}

#[test]
fn promise_17_threads_that_ask_at_once_never_get_more_than_there_is() {
    const THREADS: usize = 4;
    for _ in 0..20 {
        // Nothing flows back while this runs.
        let pool = Pool::new([Quota::requests_per_day(400).burst(400)]);
        let (gone, together) = (AtomicU32::new(0), Barrier::new(THREADS));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let member = pool.limiter();
                    member.set_max_wait(Duration::ZERO);
                    together.wait();
                    for i in 0..400 {
                        if let Some(mut permit) = at_once(&member) {
                            // Every third is given back, for others to take.
                            if i % 3 > 0 {
                                permit.sent();
                                gone.fetch_add(1, Relaxed);
                            }
                        }
                    }
                });
            }
        });
        // Nobody may have been left to take the last that was given back.
        let last = pool.limiter();
        last.set_max_wait(Duration::ZERO);
        while let Some(mut permit) = at_once(&last) {
            permit.sent();
            gone.fetch_add(1, Relaxed);
        }
        assert_eq!(gone.load(Relaxed), 400);
        assert_eq!((pool.snapshot().available()[0].1, pool.snapshot().in_flight()), (0, 0));
    }
}
