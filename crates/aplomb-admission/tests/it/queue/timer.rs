//! The timer of a queue, and the runtime that drives it.

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
fn the_queue_survives_the_runtime_whose_timer_it_used() {
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

    let queue = Queue::new(Undecided(0), QueueLimits::new(), |_| ());
    let start = Instant::now();
    assert!(queue.acquire((), Wait::default()).await.is_ok());
    assert!(start.elapsed() <= Duration::from_millis(10));
}

#[test]
fn the_timer_is_set_where_the_next_caller_waits() {
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
    // The first runtime still exists, but nothing drives it once its caller has been served.
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

/// Admits one call a second, and has an event for each.
#[derive(Default)]
struct Scripted(Vec<Instant>, bool);

impl aplomb_admission::Gate for Scripted {
    type Cost = ();
    type Token = ();
    type Reason = ();
    type Event = Instant;

    fn check(&mut self, (): &(), now: Instant) -> aplomb_admission::Decision<()> {
        match self.0.last() {
            Some(last) if now < *last + PACE => aplomb_admission::Decision::NotBefore(*last + PACE, ()),
            _ => aplomb_admission::Decision::Admit,
        }
    }

    fn admit(&mut self, (): &(), now: Instant) {
        self.0.push(now);
        self.1 = true;
    }

    fn end(&mut self, (): (), _: End, _: Instant) {}

    fn next_event(&mut self) -> Option<Instant> {
        std::mem::take(&mut self.1).then(|| *self.0.last().unwrap())
    }

    crate::gate_support::simple!(on forecast hints pooled);
}

/// The timer of a runtime is no place for the code of observers: all other timers would wait for it.
#[tokio::test(start_paused = true)]
async fn an_observer_does_not_run_inside_the_timer_of_the_runtime() {
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let tells = std::sync::Arc::clone(&told);
    let observer = move |at: &Instant| {
        tells.lock().unwrap().push(*at);
    };
    let queue = Queue::new(Scripted::default(), QueueLimits::new(), observer);
    let start = Instant::now();
    drop(queue.acquire((), Wait::default()).await.unwrap());
    let mut waits = task::spawn(queue.acquire((), Wait::default()));
    assert_pending!(waits.poll());
    tokio::time::advance(PACE).await;
    assert!(waits.is_woken());
    assert_eq!(queue.waiting(), 1, "the timer has woken it, and done nothing else");
    // It is not polled: a tick later the timer admits it, and leaves the event to the next caller.
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(queue.waiting(), 0);
    assert_eq!(*told.lock().unwrap(), [start]);
    assert!(waits.poll().is_ready());
    assert_eq!(told.lock().unwrap().len(), 2);
}

/// No panic is caught to find out that there is no timer: its hook would write to the standard error.
#[test]
fn waiting_for_a_release_without_a_timer_makes_no_noise() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HERE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if HERE.get() {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }
        before(info);
    }));
    HERE.set(true);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let queue = slots(1);
    runtime.block_on(async {
        let held = queue.acquire((), Wait::default()).await.unwrap();
        let mut waits = task::spawn(queue.acquire((), Wait::default()));
        assert_pending!(waits.poll());
        drop(held);
        assert!(waits.is_woken());
        assert!(waits.poll().is_ready());
        // And for an instant, in a section of another caller.
        let paced = Queue::new(Paced::new(), QueueLimits::new(), |_| ());
        drop(paced.acquire((), Wait::default()).await.unwrap());
        paced.with(|_, _| ());
    });
    HERE.set(false);
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}
