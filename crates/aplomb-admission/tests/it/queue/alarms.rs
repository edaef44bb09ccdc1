//! What wakes a line, and in which runtime.

use std::time::Duration;

use aplomb_admission::{End, Queue, QueueLimits, Wait};
use tokio::time::{Instant, timeout};
use tokio_test::{assert_pending, task};

use super::{paced, slots};
use crate::gates::{PACE, Paced};

#[test]
fn a_permit_dropped_outside_of_a_runtime_lets_the_next_one_in() {
    let queue = slots(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let permit = runtime.block_on(queue.acquire((), Wait::default())).unwrap();
    let waiting = {
        let mut waiting = task::spawn(queue.acquire((), Wait::default()));
        assert_pending!(waiting.poll());
        waiting
    };
    drop(permit);
    assert!(waiting.is_woken());
}

#[test]
fn the_line_survives_the_runtime_whose_timer_it_used() {
    let queue = {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { paced() })
    };
    let build = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let first = build();
    let mut waiting = Box::pin(queue.acquire((), Wait::default()));
    first.block_on(async {
        drop(queue.acquire((), Wait::default()).await);
        assert!(timeout(PACE / 2, &mut waiting).await.is_err());
    });
    drop(first);
    build().block_on(async { assert!(waiting.await.is_ok()) });
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_is_polled_twice() {
    let queue = paced();
    drop(queue.acquire((), Wait::default()).await);
    let mut polls = 0;
    let mut waiting = std::pin::pin!(queue.acquire((), Wait::default()));
    let permit = std::future::poll_fn(|cx| {
        polls += 1;
        waiting.as_mut().poll(cx)
    })
    .await;
    assert!(permit.is_ok());
    assert_eq!(polls, 2);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_names_the_past_is_asked_again_a_tick_later() {
    struct Undecided(u32);

    impl aplomb_admission::Gate for Undecided {
        type Cost = ();
        type Token = ();
        type Reason = ();
        type Event = std::convert::Infallible;

        fn check(&mut self, (): &(), now: Instant) -> aplomb_admission::Decision<()> {
            self.0 += 1;
            if self.0 < 10 {
                aplomb_admission::Decision::NotBefore(now, ())
            } else {
                aplomb_admission::Decision::Admit
            }
        }

        fn admit(&mut self, (): &(), _: Instant) {}

        fn end(&mut self, (): (), _: End, _: Instant) {}

        crate::gate_support::simple!();
    }

    let queue = Queue::new(Undecided(0), QueueLimits::new(), ());
    let start = Instant::now();
    assert!(queue.acquire((), Wait::default()).await.is_ok());
    assert!(start.elapsed() <= Duration::from_millis(10));
}

#[test]
fn the_alarm_is_set_where_the_next_caller_waits() {
    let build = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (first, second) = (build(), build());
    let queue = first.block_on(async { paced() });
    drop(first.block_on(queue.acquire((), Wait::default())));
    let waits = |queue: Queue<Paced>| async move {
        timeout(PACE * 10, queue.acquire((), Wait::default()))
            .await
            .is_ok_and(|permit| permit.is_ok())
    };
    let (one, two) = (waits(queue.clone()), waits(queue));
    // The first runtime lives on, and nobody drives it when its caller has been served.
    let other = std::thread::spawn(move || second.block_on(two));
    assert!(first.block_on(one));
    assert!(other.join().unwrap());
}

#[test]
#[should_panic(expected = "there is no reactor running")]
fn waiting_for_an_instant_outside_of_a_runtime_panics_rather_than_spins() {
    let queue = paced();
    for _ in 0..2 {
        drop(task::spawn(queue.acquire((), Wait::default())).poll());
    }
}
