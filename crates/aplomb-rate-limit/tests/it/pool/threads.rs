//! Members in several threads at once: never a call too many.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;

use aplomb_rate_limit::{Charge, Pool, Quota};
use tokio_test::task;

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
                    member.set_max_wait(std::time::Duration::ZERO);
                    together.wait();
                    for i in 0..400 {
                        let polled = task::spawn(member.acquire(Charge::request())).poll();
                        if let std::task::Poll::Ready(Ok(mut permit)) = polled {
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
        assert_eq!(gone.load(Relaxed), 400);
        assert_eq!((pool.snapshot().available()[0].1, pool.snapshot().in_flight()), (0, 0));
    }
}
