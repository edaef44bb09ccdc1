mod model;
mod service;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::gate_support::Both;
use aplomb_admission::{
    Closing, End, KeyNotice, Permit, Queue, QueueLimits, Queues, RejectReason, Rejected, Wait,
};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready_ok, task};

use crate::gates::Tally;

const S: Duration = Duration::from_secs(1);

/// Two at a time for each key; idle a second after the last call.
fn tallies(max_keys: usize) -> Queues<u64, Tally> {
    Queues::new(max_keys, QueueLimits::new(), |_| Tally::new(2), ())
}

async fn acquire(queues: &Queues<u64, Tally>, key: u64) -> Result<Permit<Tally>, Rejected<&'static str>> {
    queues.acquire(&key, (), Wait::default()).await
}

fn begun(queues: &Queues<u64, Tally>) -> BTreeMap<u64, (u32, u32)> {
    queues.snapshot(|key, gate, _, _| (*key, (gate.kept.begun, gate.kept.ended))).collect()
}

#[tokio::test(start_paused = true)]
async fn keys_do_not_share_a_gate_or_a_line() {
    let queues = tallies(10);
    let held = [
        acquire(&queues, 1).await.unwrap(),
        acquire(&queues, 1).await.unwrap(),
    ];
    let mut waits = task::spawn(queues.acquire(&1, (), Wait::default()));
    assert_pending!(waits.poll());
    let other = acquire(&queues, 2).await.unwrap();
    drop(held);
    assert!(waits.is_woken());
    drop((waits, other));
    assert_eq!(begun(&queues), BTreeMap::from([(1, (3, 3)), (2, (1, 1))]));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_at_rest_is_gone_on_from() {
    let queues = tallies(10);
    for calls in 1..5 {
        drop(acquire(&queues, 1).await.unwrap());
        assert_eq!(queues.forget_idle(Instant::now()), 0);
        assert_eq!((queues.len(), queues.in_use()), (1, 0), "at rest");
        assert_eq!(begun(&queues), BTreeMap::from([(1, (calls, calls))]));
    }
}

#[tokio::test(start_paused = true)]
async fn looking_for_the_queue_of_a_key_makes_none_and_wakes_none() {
    let queues = tallies(10);
    assert!(queues.get(&1).is_none());
    let held = acquire(&queues, 1).await.unwrap();
    assert_eq!(queues.get(&1).unwrap().with(|gate, _| gate.kept.begun), 1);
    drop(held);
    queues.forget_idle(Instant::now());
    assert!(queues.get(&1).is_none(), "at rest");
    assert_eq!((queues.len(), queues.in_use()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn idle_keys_are_forgotten_as_others_are_used_and_the_count_falls() {
    let queues = tallies(1_000);
    for key in 0..500 {
        drop(acquire(&queues, key).await.unwrap());
    }
    assert!(queues.in_use() < 100, "{} keys that nobody uses", queues.in_use());
    tokio::time::advance(2 * S).await;
    for _ in 0..20_000 {
        drop(acquire(&queues, 7).await.unwrap());
    }
    assert!(queues.len() < 50, "{} keys left", queues.len());
    assert!(begun(&queues)[&7].0 >= 20_000, "what is used is kept");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_used_all_the_time_is_not_put_to_rest_between_two_calls() {
    let made = Arc::new(AtomicU32::new(0));
    let makes = Arc::clone(&made);
    let policy = move |key: &u64| {
        makes.fetch_add(u32::from(*key == 7), Relaxed);
        Tally::new(2)
    };
    let queues = Queues::new(10_000, QueueLimits::new(), policy, ());
    for stranger in 100..5_100 {
        for _ in 0..8 {
            drop(acquire(&queues, 7).await.unwrap());
        }
        drop(acquire(&queues, stranger).await.unwrap());
    }
    assert!(queues.in_use() < 200, "{} of 5,001", queues.in_use());
    let made = made.load(Relaxed);
    assert!(made <= 50, "its queue was made {made} times for 40,000 calls");
}

#[tokio::test(start_paused = true)]
async fn gates_that_admit_together_rest_together() {
    let policy = |_: &u64| Both(Tally::new(9), Tally::new(9));
    let queues = Queues::new(10, QueueLimits::new(), policy, ());
    drop(queues.acquire(&1, ((), ()), Wait::default()).await.unwrap());
    queues.forget_idle(Instant::now());
    drop(queues.acquire(&1, ((), ()), Wait::default()).await.unwrap());
    queues.forget_idle(Instant::now());
    assert_eq!((queues.len(), queues.in_use()), (1, 0));
    let tallies: Vec<_> =
        queues.snapshot(|_, gates, _, _| (gates.0.kept.ended, gates.1.kept.begun)).collect();
    assert_eq!(tallies, [(2, 2)]);
    tokio::time::advance(2 * S).await;
    assert_eq!(queues.forget_idle(Instant::now()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_in_use_is_not_forgotten_and_what_outlives_it_reports_to_the_same_gate() {
    let queues = tallies(10);
    let permit = acquire(&queues, 1).await.unwrap();
    let second = acquire(&queues, 2).await.unwrap();
    let third = acquire(&queues, 2).await.unwrap();
    let mut waits = task::spawn(queues.acquire(&2, (), Wait::default()));
    assert_pending!(waits.poll());
    let handle: Queue<Tally> = queues.queue(&3).unwrap();
    tokio::time::advance(99 * S).await;
    assert_eq!(queues.forget_idle(Instant::now()), 0);
    assert_eq!((queues.len(), queues.in_use()), (3, 3));
    permit.end(End::Unsent);
    drop((second, third));
    drop(assert_ready_ok!(waits.poll()));
    drop(waits);
    drop(handle.acquire((), Wait::default()).await.unwrap());
    assert_eq!(begun(&queues), BTreeMap::from([(1, (1, 1)), (2, (3, 3)), (3, (1, 1))]));
    drop(handle);
    tokio::time::advance(2 * S).await;
    assert_eq!(queues.forget_idle(Instant::now()), 3);
    assert!(queues.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_full_map_of_busy_keys_turns_new_ones_away_until_one_is_idle() {
    let queues = tallies(3);
    let held = acquire(&queues, 0).await.unwrap();
    for key in 1..3 {
        drop(acquire(&queues, key).await.unwrap());
    }
    let turned = acquire(&queues, 3).await.unwrap_err();
    assert_eq!(turned.reason(), RejectReason::TooManyKeys);
    assert!(acquire(&queues, 2).await.is_ok(), "known keys go on");
    assert_eq!((queues.len(), queues.max_keys()), (3, 3));
    tokio::time::advance(2 * S).await;
    assert!(acquire(&queues, 3).await.is_ok());
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn what_can_be_spared_makes_room_one_by_one_and_is_kept_otherwise() {
    let policy = |key: &u64| {
        if *key == 0 {
            Tally::new(2)
        } else {
            Tally::new(2).spare()
        }
    };
    let queues = Queues::new(5, QueueLimits::new(), policy, ());
    let held = acquire(&queues, 1).await.unwrap();
    for key in [0, 2, 3, 4] {
        drop(acquire(&queues, key).await.unwrap());
    }
    assert_eq!(queues.forget_idle(Instant::now()), 0, "nobody needs room");
    for stranger in 5..50 {
        drop(acquire(&queues, stranger).await.unwrap());
        assert_eq!(queues.len(), 5, "one goes for one that comes");
    }
    let left = begun(&queues);
    assert!(left.contains_key(&0), "what can not be spared");
    assert!(left.contains_key(&1), "what is in use");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn one_key_is_looked_at_in_use_and_at_rest_and_stays_as_it_is() {
    let queues = tallies(10);
    let look = |key| queues.look(&key, |gate, waiting, _| (gate.kept.begun, gate.kept.ended, waiting));
    assert_eq!((look(1), queues.len()), (None, 0));
    let held = [
        acquire(&queues, 1).await.unwrap(),
        acquire(&queues, 1).await.unwrap(),
    ];
    let mut waits = task::spawn(queues.acquire(&1, (), Wait::default()));
    assert_pending!(waits.poll());
    assert_eq!(look(1), Some((2, 0, 1)));
    drop((waits, held));
    queues.forget_idle(Instant::now());
    assert_eq!((look(1), queues.in_use()), (Some((2, 2, 0)), 0));
}

#[tokio::test(start_paused = true)]
async fn closing_and_bounds_reach_every_key_known_at_rest_or_new() {
    let queues = tallies(10);
    let held = [
        acquire(&queues, 1).await.unwrap(),
        acquire(&queues, 1).await.unwrap(),
    ];
    drop(acquire(&queues, 2).await.unwrap());
    queues.forget_idle(Instant::now());
    queues.set_limits(|limits| limits.max_waiting(0));
    let full = acquire(&queues, 1).await.unwrap_err();
    assert_eq!(full.reason(), RejectReason::QueueFull);
    let two = [
        acquire(&queues, 2).await.unwrap(),
        acquire(&queues, 2).await.unwrap(),
    ];
    assert_eq!(acquire(&queues, 2).await.unwrap_err().reason(), RejectReason::QueueFull);
    drop(two);
    queues.forget_idle(Instant::now());
    queues.close(Closing::Drain);
    for key in [1, 2, 3] {
        assert_eq!(acquire(&queues, key).await.unwrap_err().reason(), RejectReason::Closed, "{key}");
    }
    drop(held);
    assert_eq!(begun(&queues)[&1], (2, 2));
}

#[tokio::test(start_paused = true)]
async fn policies_and_observers_may_use_the_map() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let slot = Arc::new(Mutex::new(None::<Queues<u64, Tally>>));
    let (in_policy, in_observer, tells) = (Arc::clone(&slot), Arc::clone(&slot), Arc::clone(&told));
    let use_map = |slot: &Mutex<Option<Queues<u64, Tally>>>| {
        let queues = slot.lock().unwrap().clone().unwrap();
        queues.forget_idle(Instant::now());
        queues
    };
    let queues = Queues::new(
        100,
        QueueLimits::new(),
        move |key: &u64| {
            let queues = use_map(&in_policy);
            if *key < 5 {
                queues.queue(&(key + 1)).unwrap();
            }
            Tally::new(2)
        },
        move |notice: &KeyNotice<'_, u64, u32>| {
            use_map(&in_observer).snapshot(|_, _, _, _| ()).count();
            tells.lock().unwrap().push((*notice.key(), *notice.notice()));
        },
    );
    *slot.lock().unwrap() = Some(queues.clone());
    drop(acquire(&queues, 1).await.unwrap());
    drop(acquire(&queues, 5).await.unwrap());
    drop(acquire(&queues, 1).await.unwrap());
    assert_eq!(*told.lock().unwrap(), [(1, 1), (5, 1), (1, 2)], "each call is told once, with its key");
    *slot.lock().unwrap() = None;
}

/// The policy changes just when it has been asked for the gate of a key, as by another thread.
#[tokio::test(start_paused = true)]
async fn a_gate_that_is_made_while_the_policy_changes_is_made_as_it_says_then() {
    let slot = Arc::new(Mutex::new(None::<Queues<u64, Tally>>));
    let (most, in_policy) = (Arc::new(AtomicU32::new(1)), Arc::clone(&slot));
    let changed = Arc::clone(&most);
    let policy = move |_: &u64| {
        let made = Tally::new(most.load(Relaxed));
        if most.swap(2, Relaxed) == 1 {
            let queues: Queues<u64, Tally> = in_policy.lock().unwrap().clone().unwrap();
            queues.renew();
            queues.for_each_in_use(|_, _| panic!("it is not in use yet"));
        }
        made
    };
    let queues = Queues::new(1, QueueLimits::new(), policy, ());
    *slot.lock().unwrap() = Some(queues.clone());
    // A key that is new, and then at rest.
    for at_rest in [false, true] {
        assert_eq!((queues.len(), queues.in_use()), (at_rest.into(), 0));
        changed.store(1, Relaxed);
        let acquire = || assert_ready_ok!(task::spawn(queues.acquire(&1, (), Wait::default())).poll());
        let both = (acquire(), acquire());
        assert_eq!(changed.load(Relaxed), 2);
        drop(both);
        queues.forget_idle(Instant::now());
    }
    *slot.lock().unwrap() = None;
}

#[test]
fn threads_share_one_gate_for_a_key_through_any_number_of_rests() {
    let queues = Queues::new(64, QueueLimits::new(), |_: &u64| Tally::new(1).never_idle(), ());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let queues = queues.clone();
            thread::spawn(move || {
                for call in 0..2_000_u64 {
                    drop(tokio_test::block_on(acquire(&queues, call % 3)).unwrap());
                    if call % 5 == 0 {
                        queues.forget_idle(Instant::now());
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let calls = begun(&queues);
    assert_eq!(calls.values().map(|(begun, _)| begun).sum::<u32>(), 8_000);
    assert!(calls.values().all(|(begun, ended)| begun == ended));
    assert_eq!(queues.len(), 3);
}
