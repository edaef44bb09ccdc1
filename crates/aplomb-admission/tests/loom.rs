//! Every interleaving of two threads at one queue, and at one map of keys: no permit is lost, and no caller
//! sleeps forever.
#![cfg(aplomb_loom)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/mod.rs"]
mod gate_support;
#[path = "it/gates.rs"]
#[allow(dead_code, reason = "not all of the gates are needed here")]
mod gates;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aplomb_admission::{Entries, ErasedKey, Evictable, KeyBy, Keyed, Queue, QueueLimits, Wait, Worth};
use aplomb_core::RequestView;
use loom::future::block_on;
use loom::thread;

use gates::{Slots, Tally};
use tokio::time::Instant;

fn one_slot() -> Queue<Slots> {
    Queue::new(Slots::new(1), QueueLimits::new(), |_| ())
}

#[test]
fn a_released_permit_reaches_who_waits_for_it() {
    loom::model(|| {
        let queue = one_slot();
        let other = queue.clone();
        let holder = thread::spawn(move || drop(block_on(other.acquire((), Wait::default())).unwrap()));
        // In any order, both are admitted: a lost wakeup would be a deadlock.
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
        let queue = Queue::new(Slots::new(0), QueueLimits::new(), |_| ());
        let other = queue.clone();
        let closes = thread::spawn(move || other.close(aplomb_admission::Closing::Fail));
        assert!(block_on(queue.acquire((), Wait::default())).is_err());
        closes.join().unwrap();
    });
}

/// All interleavings with at most two preemptions: a key that is made takes several locks, one after the other.
fn bounded(test: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(test);
}

/// One at a time for each key, which is evicted only if it is `worth` little.
fn tallies(max_keys: usize, worth: Worth) -> Entries<Tally> {
    let by = KeyBy::secret(|_: &RequestView<'_>| 0_u8);
    let make = move |_: &dyn ErasedKey| Tally::new(1).worth(worth);
    Entries::keyed(by, max_keys, QueueLimits::new(), make, |_, _| ())
}

fn call(entries: &Entries<Tally>, key: u8) -> bool {
    block_on(entries.acquire(&key, (), Wait::default())).is_ok()
}

fn calls(entries: &Entries<Tally>) -> Vec<(u32, u32)> {
    let mut calls = Vec::new();
    entries.for_each(|_, queue| calls.push(queue.with(|gate, _| (gate.begun, gate.ended))));
    calls
}

#[test]
fn a_call_that_ends_while_its_key_is_to_be_evicted_and_another_comes_is_not_lost() {
    bounded(|| {
        let entries = tallies(1, Worth::IN_USE);
        let held = block_on(entries.acquire(&1_u8, (), Wait::default())).unwrap();
        // The gate itself panics if a second one admits more than one at a time.
        let ends = thread::spawn(move || drop(held));
        entries.evict_fresh(Instant::now());
        assert!(call(&entries, 1));
        ends.join().unwrap();
        assert_eq!(calls(&entries), [(2, 2)]);
    });
}

#[test]
fn a_key_that_is_made_by_two_callers_has_one_gate() {
    bounded(|| {
        let entries = tallies(1, Worth::IN_USE);
        let other = entries.clone();
        let makes = thread::spawn(move || assert!(call(&other, 1)));
        assert!(call(&entries, 1));
        makes.join().unwrap();
        assert_eq!((entries.keys(), calls(&entries)), (Some(1), vec![(2, 2)]));
    });
}

#[test]
fn a_key_is_evicted_by_two_only_once() {
    bounded(|| {
        let entries = tallies(2, Worth::FRESH);
        let held = block_on(entries.acquire(&1_u8, (), Wait::default())).unwrap();
        let other = entries.clone();
        let evicts = thread::spawn(move || other.evict_fresh(Instant::now()));
        drop(held);
        let evicted = entries.evict_fresh(Instant::now()) + evicts.join().unwrap();
        assert_eq!((evicted, entries.keys(), calls(&entries).len()), (1, Some(0), 0));
    });
}

#[test]
fn closing_reaches_a_key_that_is_just_made() {
    bounded(|| {
        let entries = tallies(1, Worth::IN_USE);
        let other = entries.clone();
        let makes = thread::spawn(move || other.queue(&1_u8).is_ok());
        entries.close(aplomb_admission::Closing::Fail);
        assert!(!call(&entries, 1), "nobody gets in after it is closed");
        assert!(makes.join().unwrap());
    });
}

#[test]
fn two_keys_that_want_the_last_place_do_not_both_get_it() {
    bounded(|| {
        let entries = tallies(1, Worth::IN_USE);
        let other = entries.clone();
        let takes = thread::spawn(move || call(&other, 1));
        let (first, second) = (call(&entries, 2), takes.join().unwrap());
        assert!(first != second, "one place, one key");
        assert_eq!((entries.keys(), calls(&entries).len()), (Some(1), 1));
    });
}

#[test]
fn two_keys_that_want_the_place_of_a_third_never_exceed_the_limit() {
    bounded(|| {
        let entries = tallies(1, Worth::LOW);
        let other = entries.clone();
        let takes = thread::spawn(move || call(&other, 1));
        call(&entries, 2);
        takes.join().unwrap();
        assert_eq!((entries.keys(), calls(&entries).len()), (Some(1), 1), "the count is that of the entries");
    });
}

/// Equals a fresh one, or is in use.
struct Count(u32, Worth);

impl Evictable for Count {
    fn worth(&mut self, _: Instant) -> Worth {
        self.1
    }
}

#[test]
fn a_value_made_by_two_at_once_is_one() {
    bounded(|| {
        let map = std::sync::Arc::new(Keyed::new(2));
        let count = |map: &Keyed<u8, Count>, key, worth| {
            map.with(&key, Instant::now(), |_| Count(0, worth), |count| count.0 += 1)
        };
        let other = std::sync::Arc::clone(&map);
        let counts = thread::spawn(move || {
            count(&other, 1, Worth::IN_USE).unwrap();
            count(&other, 2, Worth::FRESH).unwrap();
        });
        count(&map, 1, Worth::IN_USE).unwrap();
        counts.join().unwrap();
        assert_eq!(map.peek(&1, |count| count.0), Some(2));
        map.evict_fresh(Instant::now());
        assert_eq!((map.len(), map.snapshot(|_, _| ()).count()), (1, 1), "the count is that of the entries");
    });
}
