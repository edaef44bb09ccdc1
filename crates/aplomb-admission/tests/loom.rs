//! Every interleaving of two threads at one queue, and at one map of keys: no permit is lost, and nobody
//! sleeps for ever.
#![cfg(aplomb_loom)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/mod.rs"]
mod gate_support;
#[path = "it/gates.rs"]
#[allow(dead_code, reason = "not all of the gates are needed here")]
mod gates;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aplomb_admission::{Idle, Keyed, Queue, QueueLimits, Queues, Wait};
use loom::future::block_on;
use loom::thread;

use gates::{Slots, Tally};
use tokio::time::Instant;

fn one_slot() -> Queue<Slots> {
    Queue::new(Slots::new(1), QueueLimits::new(), ())
}

#[test]
fn a_released_permit_reaches_who_waits_for_it() {
    loom::model(|| {
        let queue = one_slot();
        let other = queue.clone();
        let holder = thread::spawn(move || drop(block_on(other.acquire((), Wait::default())).unwrap()));
        // In whatever order they come, both are let through: a lost wake-up would be a deadlock.
        drop(block_on(queue.acquire((), Wait::default())).unwrap());
        holder.join().unwrap();
        assert_eq!(queue.with(|gate, _| (gate.free, gate.ends.len())), (1, 2));
    });
}

#[test]
fn a_caller_that_goes_away_while_it_is_let_through_takes_nothing_along() {
    loom::model(|| {
        let queue = one_slot();
        let held = block_on(queue.acquire((), Wait::default())).unwrap();
        let goes_away = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut acquire = pin!(queue.acquire((), Wait::default()));
                let polled = acquire.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                drop(if let Poll::Ready(permit) = polled {
                    permit.ok()
                } else {
                    None
                });
            })
        };
        drop(held);
        goes_away.join().unwrap();
        assert_eq!(queue.waiting(), 0);
        assert_eq!(queue.with(|gate, _| gate.free), 1);
    });
}

#[test]
fn closing_reaches_who_waits() {
    loom::model(|| {
        let queue = Queue::new(Slots::new(0), QueueLimits::new(), ());
        let other = queue.clone();
        let closes = thread::spawn(move || other.close(aplomb_admission::Closing::Fail));
        assert!(block_on(queue.acquire((), Wait::default())).is_err());
        closes.join().unwrap();
    });
}

fn one_tally(max_keys: usize) -> Queues<u8, Tally> {
    Queues::new(max_keys, QueueLimits::new(), |_| Tally::new(1).never_idle(), ())
}

fn call(queues: &Queues<u8, Tally>, key: u8) -> bool {
    block_on(queues.acquire(&key, (), Wait::default())).is_ok()
}

fn calls(queues: &Queues<u8, Tally>) -> Vec<(u8, u32, u32)> {
    queues.snapshot(|key, gate, _, _| (*key, gate.kept.begun, gate.kept.ended)).collect()
}

#[test]
fn a_call_that_ends_while_its_key_is_put_to_rest_and_another_comes_is_not_lost() {
    loom::model(|| {
        let queues = one_tally(1);
        let held = block_on(queues.acquire(&1, (), Wait::default())).unwrap();
        // The gate itself panics where a second one lets in more than one at a time.
        let ends = thread::spawn(move || drop(held));
        queues.forget_idle(Instant::now());
        assert!(call(&queues, 1));
        ends.join().unwrap();
        queues.forget_idle(Instant::now());
        assert_eq!((queues.len(), queues.in_use(), calls(&queues)), (1, 0, vec![(1, 2, 2)]));
    });
}

#[test]
fn a_key_that_is_woken_by_two_callers_goes_on_from_one_rest() {
    loom::model(|| {
        let queues = one_tally(1);
        assert!(call(&queues, 1));
        queues.forget_idle(Instant::now());
        assert_eq!(queues.in_use(), 0);
        let other = queues.clone();
        let wakes = thread::spawn(move || assert!(call(&other, 1)));
        assert!(call(&queues, 1));
        wakes.join().unwrap();
        assert_eq!((queues.len(), calls(&queues)), (1, vec![(1, 3, 3)]));
    });
}

#[test]
fn a_key_that_is_put_to_rest_by_two_is_kept_once() {
    loom::model(|| {
        let queues = one_tally(2);
        let held = block_on(queues.acquire(&1, (), Wait::default())).unwrap();
        let other = queues.clone();
        let rests = thread::spawn(move || other.forget_idle(Instant::now()));
        drop(held);
        assert_eq!(queues.forget_idle(Instant::now()) + rests.join().unwrap(), 0);
        assert_eq!((queues.len(), calls(&queues)), (1, vec![(1, 1, 1)]));
    });
}

#[test]
fn closing_reaches_a_key_that_is_just_made() {
    loom::model(|| {
        let queues = one_tally(1);
        let other = queues.clone();
        let makes = thread::spawn(move || other.queue(&1).is_ok());
        queues.close(aplomb_admission::Closing::Fail);
        assert!(!call(&queues, 1), "nobody gets in after it is closed");
        assert!(makes.join().unwrap());
    });
}

#[test]
fn two_keys_that_want_the_last_place_do_not_both_get_it() {
    loom::model(|| {
        let queues = one_tally(1);
        let other = queues.clone();
        let takes = thread::spawn(move || call(&other, 1));
        let (first, second) = (call(&queues, 2), takes.join().unwrap());
        assert!(first != second, "one place, one key");
        assert_eq!((queues.len(), calls(&queues).len()), (1, 1));
    });
}

/// Never idle, or always.
struct Count(u32, bool);

impl Idle for Count {
    fn is_idle(&self, _: Instant) -> bool {
        self.1
    }
}

#[test]
fn a_value_made_by_two_at_once_is_one() {
    loom::model(|| {
        let map = std::sync::Arc::new(Keyed::new(2));
        let count = |map: &Keyed<u8, Count>, key, idle| {
            map.with(&key, Instant::now(), |_| Count(0, idle), |count| count.0 += 1)
        };
        let other = std::sync::Arc::clone(&map);
        let counts = thread::spawn(move || {
            count(&other, 1, false).unwrap();
            count(&other, 2, true).unwrap();
        });
        count(&map, 1, false).unwrap();
        counts.join().unwrap();
        assert_eq!(map.peek(&1, |count| count.0), Some(2));
        map.forget_idle(Instant::now());
        assert_eq!((map.len(), map.snapshot(|_, _| ()).count()), (1, 1), "the count is that of the entries");
    });
}
