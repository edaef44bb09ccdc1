//! Every interleaving of two threads at one queue: no permit is lost, and nobody sleeps for ever.
#![cfg(aplomb_loom)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "it/gates.rs"]
#[allow(dead_code, reason = "one of the gates is not needed here")]
mod gates;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aplomb_core::{Queue, QueueLimits, Wait};
use loom::future::block_on;
use loom::thread;

use gates::Slots;

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
        let closes = thread::spawn(move || other.close(aplomb_core::Closing::Fail));
        assert!(block_on(queue.acquire((), Wait::default())).is_err());
        closes.join().unwrap();
    });
}
