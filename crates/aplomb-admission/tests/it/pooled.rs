//! A gate that other queues draw on as well: what it admits may be gone before it is taken.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use crate::gate_support::{Both, simple};
use aplomb_admission::{Decision, End, Gate, PooledGate, Queue, QueueLimits, Wait};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready_ok, task};

use crate::gates::{PACE, Paced, Slots};

/// A number of tokens, which other threads take at the worst moment.
struct Tokens(Arc<Mutex<Till>>);

#[derive(Default)]
struct Till {
    left: u32,
    /// This many are gone between a check and the reservation.
    robbed: u32,
    awaited: u32,
    ended: Vec<End>,
    queue: Option<Waker>,
}

impl Gate for Tokens {
    type Cost = ();
    type Token = ();
    type Reason = &'static str;
    type Event = Infallible;

    fn check(&mut self, (): &(), _: Instant) -> Decision<&'static str> {
        if self.0.lock().unwrap().left > 0 {
            Decision::Admit
        } else {
            Decision::WhenReleased("none left")
        }
    }

    fn admit(&mut self, (): &(), _: Instant) {}

    fn end(&mut self, (): (), end: End, _: Instant) {
        let mut till = self.0.lock().unwrap();
        till.left += 1;
        till.ended.push(end);
    }

    fn pooled(&mut self) -> Option<&mut dyn PooledGate<(), &'static str>> {
        Some(self)
    }

    simple!(on forecast hints next_event);
}

impl PooledGate<(), &'static str> for Tokens {
    fn reserve(&mut self, ask: &(), now: Instant) -> Decision<&'static str> {
        {
            let mut till = self.0.lock().unwrap();
            till.left -= std::mem::take(&mut till.robbed).min(till.left);
        }
        let decision = self.check(ask, now);
        if decision == Decision::Admit {
            self.0.lock().unwrap().left -= 1;
        }
        decision
    }

    fn register_waiter(&mut self, (): &(), _: Option<Instant>, _: &&'static str, _: Instant) {
        self.0.lock().unwrap().awaited += 1;
    }

    fn end_section(&mut self, queue: Option<&dyn Fn() -> Waker>, _: &mut Vec<Waker>) {
        self.0.lock().unwrap().queue = queue.map(|queue| queue());
    }
}

fn tokens(left: u32, robbed: u32) -> (Tokens, Arc<Mutex<Till>>) {
    let till = Arc::new(Mutex::new(Till { left, robbed, ..Till::default() }));
    (Tokens(Arc::clone(&till)), till)
}

fn asks<G: Gate<Cost = A>, A: Default>(queue: &Queue<G>) -> task::Spawn<aplomb_admission::Acquire<G>> {
    task::spawn(queue.acquire(A::default(), Wait::default()))
}

#[tokio::test(start_paused = true)]
async fn capacity_that_is_gone_before_it_is_reserved_is_waited_for() {
    let (gate, till) = tokens(1, 1);
    let queue = Queue::new(gate, QueueLimits::new(), |_| ());
    let mut call = asks(&queue);
    assert_pending!(call.poll());
    assert!(till.lock().unwrap().awaited > 0);
    till.lock().unwrap().left = 1;
    assert!(!call.is_woken(), "nobody has told the queue");
    let again = till.lock().unwrap().queue.take().unwrap();
    again.wake();
    assert!(call.is_woken());
    let permit = assert_ready_ok!(call.poll());
    assert_eq!(till.lock().unwrap().left, 0);
    assert!(till.lock().unwrap().queue.take().is_none(), "nobody waits");
    drop(permit);
    assert_eq!(till.lock().unwrap().left, 1);
}

#[tokio::test(start_paused = true)]
async fn promise_19_what_one_gate_has_taken_is_given_back_when_the_other_is_robbed() {
    let ((first, one), (second, other)) = (tokens(1, 0), tokens(1, 1));
    let queue = Queue::new(Both(first, second), QueueLimits::new(), |_| ());
    let mut call = asks(&queue);
    assert_pending!(call.poll());
    assert_eq!(one.lock().unwrap().left, 1);
    assert_eq!(one.lock().unwrap().ended, [End::Unsent]);
    other.lock().unwrap().left = 1;
    queue.with(|_, _| ());
    drop(assert_ready_ok!(call.poll()));
    assert_eq!(one.lock().unwrap().left + other.lock().unwrap().left, 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_for_another_gate_is_not_registered_with_this_one() {
    // An instant of the other.
    let (gate, till) = tokens(0, 0);
    let queue = Queue::new(Both(Paced::new(), gate), QueueLimits::new(), |_| ());
    till.lock().unwrap().left = 1;
    drop(assert_ready_ok!(asks(&queue).poll()));
    till.lock().unwrap().left = 0;
    let mut call = asks(&queue);
    assert_pending!(call.poll());
    assert_eq!(till.lock().unwrap().awaited, 0);
    tokio::time::sleep(PACE + Duration::from_millis(1)).await;
    assert!(till.lock().unwrap().awaited > 0, "now it is this one");
    // A release of the other.
    let (gate, till) = tokens(0, 0);
    let queue = Queue::new(Both(gate, Slots::new(0)), QueueLimits::new(), |_| ());
    let mut call = asks(&queue);
    assert_pending!(call.poll());
    assert_eq!(till.lock().unwrap().awaited, 0);
}
