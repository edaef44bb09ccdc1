//! A panic under the queue's lock leaves nothing behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::gate_support::simple;
use aplomb_admission::{Acquire, Decision, End, Gate, Queue, QueueLimits, Wait};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, advance};
use tokio_test::task::{self, Spawn};
use tokio_test::{assert_pending, assert_ready_ok};

const S: Duration = Duration::from_secs(1);

/// Answers as it is set to, and panics where it is set to.
struct Fragile {
    says: Says,
    in_flight: u32,
    /// How many more times it is asked until it panics, once.
    good_for: Option<u32>,
    /// It has an event, and panics when it is asked for the next.
    has_bad_news: bool,
    told: bool,
}

#[derive(Clone, Copy)]
enum Says {
    Go,
    Later,
    NotBefore(Instant),
    /// Go, one at a time; and after that, not before this instant.
    One(Instant),
}

impl Gate for Fragile {
    type Cost = ();
    type Token = ();
    type Reason = ();
    type Event = ();

    fn check(&mut self, (): &(), now: Instant) -> Decision<()> {
        if let Some(times) = self.good_for.take() {
            assert!(times > 0, "as planned");
            self.good_for = Some(times - 1);
        }
        match self.says {
            Says::NotBefore(at) if at > now => Decision::NotBefore(at, ()),
            Says::Go | Says::NotBefore(_) => Decision::Admit,
            Says::One(_) if self.in_flight == 0 => Decision::Admit,
            Says::Later | Says::One(_) => Decision::WhenReleased(()),
        }
    }

    fn admit(&mut self, (): &(), _: Instant) {
        self.in_flight += 1;
    }

    fn end(&mut self, (): (), _: End, _: Instant) {
        self.in_flight -= 1;
        if let Says::One(at) = self.says {
            self.says = Says::NotBefore(at);
        }
    }

    simple!(on forecast hints pooled);

    fn next_event(&mut self) -> Option<()> {
        assert!(!std::mem::take(&mut self.told), "as planned");
        self.told = std::mem::take(&mut self.has_bad_news);
        self.told.then_some(())
    }
}

fn queue(says: Says) -> Queue<Fragile> {
    let gate = Fragile { says, in_flight: 0, good_for: None, has_bad_news: false, told: false };
    Queue::new(gate, QueueLimits::new(), |()| ())
}

fn asks(queue: &Queue<Fragile>) -> Spawn<Acquire<Fragile>> {
    task::spawn(queue.acquire((), Wait::default()))
}

fn panics<T>(act: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(|| drop(act()))).is_err()
}

fn in_flight(queue: &Queue<Fragile>) -> u32 {
    queue.with(|gate, _| gate.in_flight)
}

/// A runtime without a timer.
fn timeless() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn promise_7_a_caller_that_was_admitted_in_a_section_that_panics_is_woken() {
    let queue = queue(Says::Later);
    let (mut first, mut second) = (asks(&queue), asks(&queue));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    assert!(panics(|| queue.with(|gate, _| {
        (gate.says, gate.good_for) = (Says::Go, Some(1));
    })));
    assert!(first.is_woken() && second.is_woken());
    let _permit = assert_ready_ok!(first.poll());
    assert_ready_ok!(second.poll()).sent();
}

#[tokio::test(start_paused = true)]
async fn promise_7_a_caller_whose_arrival_panics_is_not_in_the_queue() {
    let queue = queue(Says::NotBefore(Instant::now() + S));
    // Asked when it arrives, and when the queue is looked at.
    for times in 0..2 {
        queue.with(|gate, _| gate.good_for = Some(times));
        let mut call = asks(&queue);
        assert!(panics(|| call.poll()));
        assert_eq!(queue.waiting(), 0, "though its future is held");
    }
    let mut next = asks(&queue);
    assert_pending!(next.poll());
    advance(S).await;
    assert!(next.is_woken());
    assert_ready_ok!(next.poll()).sent();
}

#[tokio::test(start_paused = true)]
async fn promise_7_a_caller_that_panics_when_it_is_polled_leaves_the_queue() {
    let queue = queue(Says::Later);
    let (mut first, mut second) = (asks(&queue), asks(&queue));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    queue.with(|gate, _| gate.good_for = Some(1));
    assert!(panics(|| first.poll()));
    assert_eq!(queue.waiting(), 1, "though its future is held");
    assert!(second.is_woken(), "it looks at the queue");
    queue.with(|gate, _| gate.says = Says::Go);
    assert_ready_ok!(second.poll()).sent();
}

#[tokio::test(start_paused = true)]
async fn promise_7_what_was_admitted_in_a_section_that_panics_is_given_back() {
    let queue = queue(Says::Go);
    // At once, and after a wait.
    for says in [Says::Go, Says::Later] {
        queue.with(|gate, _| gate.says = says);
        let mut call = asks(&queue);
        if let Says::Later = says {
            assert_pending!(call.poll());
            queue.with(|gate, _| gate.says = Says::Go);
            assert_eq!((in_flight(&queue), call.is_woken()), (1, true));
        }
        // A section that ends with a panic asks for no event.
        let event = |gate: &mut Fragile, _| {
            gate.has_bad_news = true;
            panic!("as planned");
        };
        assert!(panics(|| queue.with(event)));
        assert!(panics(|| call.poll()));
        assert_eq!((in_flight(&queue), queue.waiting()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn promise_7_callers_that_cannot_wait_where_they_are_do_not_stop_others() {
    let queue = queue(Says::Later);
    let timeless = timeless();
    let mut lost = [asks(&queue), asks(&queue)];
    for call in &mut lost {
        let _there = timeless.enter();
        assert_pending!(call.poll());
    }
    let mut call = asks(&queue);
    assert_pending!(call.poll());
    let at = Instant::now() + S;
    queue.with(|gate, _| gate.says = Says::NotBefore(at));
    for call in &mut lost {
        let _there = timeless.enter();
        assert!(call.is_woken());
        assert!(panics(|| call.poll()));
    }
    assert!(call.is_woken());
    assert_pending!(call.poll());
    advance(S).await;
    assert!(call.is_woken());
    assert_ready_ok!(call.poll()).sent();
    timeless.shutdown_background();
}

#[tokio::test(start_paused = true)]
async fn promise_7_a_call_that_ends_where_others_cannot_wait_does_not_panic_for_them() {
    let at = Instant::now() + S;
    let queue = queue(Says::One(at));
    let timeless = timeless();
    let there = timeless.enter();
    let permit = assert_ready_ok!(asks(&queue).poll());
    let mut lost = asks(&queue);
    assert_pending!(lost.poll());
    // The next caller has to wait for an instant from now on, and cannot here.
    drop(permit);
    assert_eq!(in_flight(&queue), 0);
    assert!(lost.is_woken());
    assert!(panics(|| lost.poll()));
    assert_eq!(queue.waiting(), 0);
    drop(there);
    timeless.shutdown_background();
}
