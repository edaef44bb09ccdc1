//! Rejections: of which callers, when, and with which details.

use std::convert::Infallible;
use std::time::Duration;

use crate::gate_support::Both;
use crate::gate_support::simple;
use aplomb_admission::{Closing, Decision, End, Gate, Queue, QueueLimits, RejectReason, Wait};
use aplomb_core::{CallOptions, Outcome};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};

use super::{paced, slots};
use crate::gates::{PACE, Paced, Slots};

fn until(deadline: Instant) -> Wait {
    Wait::from(&CallOptions::new().with_deadline(deadline))
}

/// Answers this to heavy calls, and admits light ones.
struct ForTheHeavy(Decision<()>);

enum Weight {
    Heavy,
    Light,
}

impl Gate for ForTheHeavy {
    type Cost = Weight;
    type Token = ();
    type Reason = ();
    type Event = Infallible;

    fn check(&mut self, weight: &Weight, _: Instant) -> Decision<()> {
        match weight {
            Weight::Heavy => self.0,
            Weight::Light => Decision::Admit,
        }
    }

    fn admit(&mut self, _: &Weight, _: Instant) {}

    fn end(&mut self, (): (), _: End, _: Instant) {}

    simple!();
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_end_in_time_is_rejected_immediately() {
    let queue = paced();
    let start = Instant::now();
    drop(queue.acquire((), Wait::default()).await);
    let mut second = task::spawn(queue.acquire((), Wait::default()));
    assert_pending!(second.poll());
    // The second goes after 1 s, so a third would go after 2 s.
    let rejected = queue.acquire((), until(start + PACE * 2)).await.unwrap_err();
    assert_eq!(rejected.reason(), RejectReason::WaitTooLong);
    assert_eq!(rejected.retry_after(), Some(PACE * 2));
    assert_eq!(rejected.place(), Some(1));
    assert_eq!(Instant::now(), start);
    let mut in_time = task::spawn(queue.acquire((), until(start + PACE * 2 + Duration::from_millis(1))));
    assert_pending!(in_time.poll());
    advance(PACE).await;
    drop(assert_ready_ok!(second.poll()));
    advance(PACE).await;
    assert!(in_time.is_woken());
    assert!(assert_ready!(in_time.poll()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_release_ends_at_the_deadline() {
    let queue = slots(1);
    let _first = queue.acquire((), Wait::default()).await.unwrap();
    let start = Instant::now();
    let rejected = queue.acquire((), until(start + PACE)).await.unwrap_err();
    assert_eq!(rejected.reason(), RejectReason::WaitTooLong);
    assert_eq!(rejected.gate_reason(), Some(&"taken"));
    assert!(start.elapsed() >= PACE && start.elapsed() < PACE * 2);
    assert_eq!(queue.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_could_go_without_the_head_is_not_rejected_with_it() {
    let start = Instant::now();
    let millis = |millis| start + Duration::from_millis(millis);
    let waits = |says| Queue::new(ForTheHeavy(says), QueueLimits::new(), |_| ());

    // The instant of the head moves beyond all deadlines.
    let queue = waits(Decision::NotBefore(millis(5_000), ()));
    let mut heavy = task::spawn(queue.acquire(Weight::Heavy, until(millis(30_000))));
    assert_pending!(heavy.poll());
    let mut light = task::spawn(queue.acquire(Weight::Light, until(millis(20_000))));
    assert_pending!(light.poll());
    queue.with(|gate, _| gate.0 = Decision::NotBefore(millis(60_000), ()));
    assert_eq!(assert_ready!(heavy.poll()).unwrap_err().reason(), RejectReason::WaitTooLong);
    assert!(assert_ready!(light.poll()).is_ok());

    // Nothing is released, and both deadlines pass with the same tick of the timer.
    let queue = waits(Decision::WhenReleased(()));
    let deadline = |micros| until(start + Duration::from_micros(micros));
    let mut heavy = task::spawn(queue.acquire(Weight::Heavy, deadline(10_000_200)));
    assert_pending!(heavy.poll());
    let mut light = task::spawn(queue.acquire(Weight::Light, deadline(10_000_100)));
    assert_pending!(light.poll());
    advance(Duration::from_millis(10_001)).await;
    assert_eq!(assert_ready!(heavy.poll()).unwrap_err().reason(), RejectReason::WaitTooLong);
    assert!(assert_ready!(light.poll()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_caller_gives_up_with_the_shortest_of_deadline_bound_and_gate() {
    let waits = |bound, gate, deadline| async move {
        let queue = Queue::new(Slots::new(0), QueueLimits::new().max_wait(bound), |_| ());
        queue.with(|slots, _| slots.longest_wait = gate);
        let start = Instant::now();
        let rejected = queue.acquire((), until(start + deadline)).await.unwrap_err();
        assert_eq!(rejected.reason(), RejectReason::WaitTooLong);
        start.elapsed().as_secs()
    };
    assert_eq!(waits(PACE * 9, Some(PACE * 2), PACE * 9).await, 2);
    assert_eq!(waits(PACE * 3, Some(PACE * 9), PACE * 9).await, 3);
    assert_eq!(waits(PACE * 9, Some(PACE * 9), PACE * 4).await, 4);
    assert_eq!(waits(PACE * 5, None, PACE * 9).await, 5);
    // Two gates are waited for as long as the queue says.
    let joined = Both(Slots::new(1), Slots::new(0));
    let queue = Queue::new(joined, QueueLimits::new().max_wait(PACE * 6), |_| ());
    queue.with(|both, _| both.0.longest_wait = Some(PACE));
    let start = Instant::now();
    queue.acquire(((), ()), Wait::default()).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 6);
}

#[tokio::test(start_paused = true)]
async fn no_waiting_means_now_or_never() {
    let limits = QueueLimits::new().max_wait(Duration::ZERO);
    let queue = Queue::new(Slots::new(1), limits, |_| ());
    let first = queue.acquire((), Wait::default()).await.unwrap();
    let rejected = queue.acquire((), Wait::default()).await.unwrap_err();
    assert_eq!(rejected.reason(), RejectReason::WaitTooLong);
    drop(first);
    assert!(queue.acquire((), Wait::default()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_rejects() {
    let queue = Queue::new(Slots::new(0), QueueLimits::new().max_waiting(1), |_| ());
    let mut first = task::spawn(queue.acquire((), Wait::default()));
    assert_pending!(first.poll());
    let rejected = queue.acquire((), Wait::default()).await.unwrap_err();
    assert_eq!((rejected.reason(), rejected.place()), (RejectReason::QueueFull, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_gate_rejects_is_rejected_on_arrival_and_in_the_queue() {
    let queue = slots(0);
    let mut waiting = task::spawn(queue.acquire((), Wait::default()));
    assert_pending!(waiting.poll());
    queue.with(|gate, _| gate.refuses = true);
    assert!(waiting.is_woken());
    let rejected = tokio_test::assert_ready_err!(waiting.poll());
    assert_eq!((rejected.reason(), rejected.gate_reason()), (RejectReason::Gate, Some(&"refuses")));
    assert!(queue.acquire((), Wait::default()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn closing_rejects_new_callers_and_drains_or_fails_the_waiting() {
    for (closing, served) in [(Closing::Drain, true), (Closing::Fail, false)] {
        let queue = slots(1);
        let first = queue.acquire((), Wait::default()).await.unwrap();
        let mut waiting = task::spawn(queue.acquire((), Wait::default()));
        assert_pending!(waiting.poll());
        queue.close(closing);
        let rejected = queue.acquire((), Wait::default()).await.unwrap_err();
        assert_eq!(rejected.reason(), RejectReason::Closed);
        drop(first);
        assert_eq!(waiting.await.is_ok(), served);
    }
}

#[tokio::test(start_paused = true)]
async fn four_thousand_deadlines_pass_without_a_storm() {
    let queue = slots(0);
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..4_000 {
        let waiting = queue.acquire((), until(start + PACE));
        callers.spawn(async move { waiting.await.unwrap_err().reason() });
    }
    let because = callers.join_all().await;
    assert!(because.iter().all(|because| *because == RejectReason::WaitTooLong));
    assert_eq!(queue.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_deadline_has_passed_is_not_let_through() {
    let queue = slots(1);
    let now = Instant::now();
    tokio::time::advance(PACE).await;
    let rejected = queue.acquire((), until(now)).await.unwrap_err();
    assert_eq!(rejected.reason(), RejectReason::WaitTooLong);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_sent_again_passes_a_queue_that_drains() {
    let queue = slots(1);
    queue.close(Closing::Drain);
    let arrived = CallOptions::new().with_arrival(Instant::now());
    assert!(queue.acquire((), Wait::from(&arrived)).await.is_err(), "it may say so for the first time");
    let again = Wait::from(&arrived.with_attempts(1, Outcome::transient()));
    assert!(queue.acquire((), again).await.is_ok());
    queue.close(Closing::Fail);
    assert!(queue.acquire((), again).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_says_when_it_will_have_passed() {
    let limits = QueueLimits::new().max_waiting(100);
    let queue = Queue::new(Paced::new(), limits, |_| ());
    drop(queue.acquire((), Wait::default()).await);
    let mut waiting: Vec<_> = (0..100).map(|_| task::spawn(queue.acquire((), Wait::default()))).collect();
    for waiting in &mut waiting {
        assert_pending!(waiting.poll());
    }
    let rejected = queue.acquire((), Wait::default()).await.unwrap_err();
    assert_eq!((rejected.reason(), rejected.retry_after()), (RejectReason::QueueFull, Some(PACE * 101)));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_looked_at_too_late_learns_what_it_waited_for() {
    let queue = slots(0);
    let mut waits = task::spawn(queue.acquire((), until(Instant::now() + PACE)));
    assert_pending!(waits.poll());
    // The thread was busy: the timer fires long after it should have.
    advance(10 * PACE).await;
    let rejected = assert_ready!(waits.poll()).err().unwrap();
    assert_eq!((rejected.reason(), rejected.gate_reason().is_some()), (RejectReason::WaitTooLong, true));
}
