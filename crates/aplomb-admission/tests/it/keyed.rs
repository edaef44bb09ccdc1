//! A gate for each key.

mod model;
mod service;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aplomb_admission::{
    Closing, End, Entries, ErasedKey, KeyBy, Permit, Queue, QueueLimits, RejectReason, Rejected, Wait, Worth,
};
use aplomb_core::{KeyLabel, RequestView};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready_ok, task};

use crate::gates::Tally;

const S: Duration = Duration::from_secs(1);

/// The number that is the path of a request, or 0.
fn by_path() -> KeyBy {
    KeyBy::public(|request: &RequestView<'_>| {
        request.path().and_then(|path| path[1..].parse().ok()).unwrap_or(0_u64)
    })
}

fn entries(max_keys: usize, make: impl Fn(u64) -> Tally + Send + Sync + 'static) -> Entries<Tally> {
    let make = move |key: &dyn ErasedKey| make(*key.as_any().downcast_ref().unwrap());
    Entries::keyed(by_path(), max_keys, QueueLimits::new(), make, |_, _| ())
}

/// Two at a time for each key; equals a fresh one a second after the last call.
fn tallies(max_keys: usize) -> Entries<Tally> {
    entries(max_keys, |_| Tally::new(2))
}

async fn acquire(entries: &Entries<Tally>, key: u64) -> Result<Permit<Tally>, Rejected<&'static str>> {
    entries.acquire(&key, (), Wait::default()).await
}

fn begun(entries: &Entries<Tally>) -> BTreeMap<u64, (u32, u32)> {
    let mut begun = BTreeMap::new();
    entries.for_each(|label, queue| {
        let key = label.unwrap().to_string().parse().unwrap();
        begun.insert(key, queue.with(|gate, _| (gate.begun, gate.ended)));
    });
    begun
}

fn keys(entries: &Entries<Tally>) -> usize {
    entries.keys().unwrap()
}

#[tokio::test(start_paused = true)]
async fn keys_do_not_share_a_gate_or_a_queue() {
    let entries = tallies(10);
    let held = [
        acquire(&entries, 1).await.unwrap(),
        acquire(&entries, 1).await.unwrap(),
    ];
    let mut waits = task::spawn(entries.acquire(&1_u64, (), Wait::default()));
    assert_pending!(waits.poll());
    let other = acquire(&entries, 2).await.unwrap();
    drop(held);
    assert!(waits.is_woken());
    drop((waits, other));
    assert_eq!(begun(&entries), BTreeMap::from([(1, (3, 3)), (2, (1, 1))]));
}

#[tokio::test(start_paused = true)]
async fn a_look_at_a_key_makes_none_and_does_not_keep_it() {
    let entries = tallies(10);
    assert!(entries.get(&1_u64).is_none());
    assert_eq!(keys(&entries), 0);
    drop(acquire(&entries, 1).await.unwrap());
    assert_eq!(entries.get(&1_u64).unwrap().with(|gate, _| gate.begun), 1);
    assert!(entries.get(&"1").is_none(), "a key of another type is another key");
    tokio::time::advance(2 * S).await;
    assert_eq!(entries.evict_fresh(Instant::now()), 1);
    assert!(entries.get(&1_u64).is_none());
}

#[tokio::test(start_paused = true)]
async fn idle_keys_are_evicted_as_others_are_used_and_the_count_falls() {
    let entries = tallies(1_000);
    for key in 0..500 {
        drop(acquire(&entries, key).await.unwrap());
    }
    assert_eq!(keys(&entries), 500, "they are remembered");
    tokio::time::advance(2 * S).await;
    for _ in 0..20_000 {
        drop(acquire(&entries, 7).await.unwrap());
    }
    assert!(keys(&entries) < 50, "{} keys left", keys(&entries));
    assert!(begun(&entries)[&7].0 >= 20_000, "what is used is kept");
}

#[tokio::test(start_paused = true)]
async fn a_key_in_use_is_not_evicted_and_what_outlives_it_reports_to_the_same_gate() {
    let entries = tallies(10);
    let permit = acquire(&entries, 1).await.unwrap();
    let second = acquire(&entries, 2).await.unwrap();
    let third = acquire(&entries, 2).await.unwrap();
    let mut waits = task::spawn(entries.acquire(&2_u64, (), Wait::default()));
    assert_pending!(waits.poll());
    let handle: Queue<Tally> = entries.queue(&3_u64).unwrap();
    tokio::time::advance(99 * S).await;
    assert_eq!(entries.evict_fresh(Instant::now()), 0);
    assert_eq!(keys(&entries), 3);
    permit.end(End::Unsent);
    drop((second, third));
    drop(assert_ready_ok!(waits.poll()));
    drop(waits);
    drop(handle.acquire((), Wait::default()).await.unwrap());
    assert_eq!(begun(&entries), BTreeMap::from([(1, (1, 1)), (2, (3, 3)), (3, (1, 1))]));
    drop(handle);
    tokio::time::advance(2 * S).await;
    assert_eq!(entries.evict_fresh(Instant::now()), 3);
    assert_eq!(keys(&entries), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_map_of_keys_in_use_rejects_new_ones_until_one_is_free() {
    let entries = tallies(3);
    let mut held = Vec::new();
    for key in 0..3 {
        held.push(acquire(&entries, key).await.unwrap());
    }
    let rejected = acquire(&entries, 3).await.unwrap_err();
    assert_eq!(rejected.reason(), RejectReason::TooManyKeys);
    assert!(acquire(&entries, 2).await.is_ok(), "known keys go on");
    assert_eq!(keys(&entries), 3);
    held.pop();
    assert!(acquire(&entries, 3).await.is_ok());
    assert_eq!(keys(&entries), 3);
}

#[tokio::test(start_paused = true)]
async fn under_pressure_the_keys_that_are_worth_least_go_first() {
    let worth = |key| match key {
        0 => Worth::HIGH,
        1 => Worth::MEDIUM,
        _ => Worth::LOW,
    };
    let entries = entries(6, move |key| Tally::new(2).worth(worth(key)));
    let held = acquire(&entries, 2).await.unwrap();
    for key in [0, 1, 3, 4, 5] {
        drop(acquire(&entries, key).await.unwrap());
    }
    assert_eq!(entries.evict_fresh(Instant::now()), 0, "there is room");
    // New keys with one failure each, and more of them than there is room for.
    for stranger in 10..1_000 {
        assert!(acquire(&entries, stranger).await.is_ok(), "a newcomer is not rejected");
        assert_eq!(keys(&entries), 6, "one goes for one that comes");
    }
    let left = begun(&entries);
    assert!(left.contains_key(&0), "an open circuit, a debt");
    assert!(left.contains_key(&1), "what was learned");
    assert!(left.contains_key(&2), "what is in use");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn closing_and_limits_reach_every_key_known_or_new() {
    let entries = tallies(10);
    let held = [
        acquire(&entries, 1).await.unwrap(),
        acquire(&entries, 1).await.unwrap(),
    ];
    drop(acquire(&entries, 2).await.unwrap());
    entries.set_limits(|limits| limits.max_waiting(0));
    assert_eq!(acquire(&entries, 1).await.unwrap_err().reason(), RejectReason::QueueFull);
    for key in [2, 3] {
        let two = [
            acquire(&entries, key).await.unwrap(),
            acquire(&entries, key).await.unwrap(),
        ];
        assert_eq!(acquire(&entries, key).await.unwrap_err().reason(), RejectReason::QueueFull);
        drop(two);
    }
    entries.close(Closing::Drain);
    for key in [1, 2, 3, 4] {
        assert_eq!(acquire(&entries, key).await.unwrap_err().reason(), RejectReason::Closed, "{key}");
    }
    drop(held);
    assert_eq!(begun(&entries)[&1], (2, 2));
}

#[tokio::test(start_paused = true)]
async fn makers_of_gates_and_observers_may_use_the_map() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let slot = Arc::new(Mutex::new(None::<Entries<Tally>>));
    let (in_maker, in_observer, tells) = (Arc::clone(&slot), Arc::clone(&slot), Arc::clone(&told));
    let use_map = |slot: &Mutex<Option<Entries<Tally>>>| {
        let entries = slot.lock().unwrap().clone().unwrap();
        entries.evict_fresh(Instant::now());
        entries
    };
    let make = move |key: &dyn ErasedKey| {
        let entries = use_map(&in_maker);
        let key: u64 = *key.as_any().downcast_ref().unwrap();
        if key < 5 {
            entries.queue(&(key + 1)).unwrap();
        }
        Tally::new(2)
    };
    let observer = move |event: &u32, key: Option<&KeyLabel>| {
        use_map(&in_observer).for_each(|_, _| ());
        tells.lock().unwrap().push((key.unwrap().to_string(), *event));
    };
    let entries = Entries::keyed(by_path(), 100, QueueLimits::new(), make, observer);
    *slot.lock().unwrap() = Some(entries.clone());
    for key in [1, 5, 1] {
        drop(acquire(&entries, key).await.unwrap());
    }
    let told: Vec<_> = told.lock().unwrap().iter().map(|(key, event)| format!("{key}: {event}")).collect();
    assert_eq!(told, ["1: 1", "5: 1", "1: 2"], "each call is told once, with its key");
    *slot.lock().unwrap() = None;
}

/// The settings change just when the gate of a key is being made, as by another thread.
#[tokio::test(start_paused = true)]
async fn a_gate_that_is_made_while_the_settings_change_is_made_again() {
    let slot = Arc::new(Mutex::new(None::<Entries<Tally>>));
    let (most, in_maker) = (Arc::new(AtomicU32::new(1)), Arc::clone(&slot));
    let changed = Arc::clone(&most);
    let make = move |_: u64| {
        let made = Tally::new(most.load(Relaxed));
        if most.swap(2, Relaxed) == 1 {
            let entries: Entries<Tally> = in_maker.lock().unwrap().clone().unwrap();
            entries.for_each_gate(|_, _| panic!("there is none yet"));
        }
        made
    };
    let entries = entries(1, make);
    *slot.lock().unwrap() = Some(entries.clone());
    let acquire = || assert_ready_ok!(task::spawn(entries.acquire(&1_u64, (), Wait::default())).poll());
    let both = (acquire(), acquire());
    assert_eq!(changed.load(Relaxed), 2);
    drop(both);
    *slot.lock().unwrap() = None;
}

#[test]
fn a_key_is_shown_as_a_hash_unless_it_is_public() {
    let request = http::Request::get("/7").body(()).unwrap();
    let view = RequestView::head(&request);
    assert_eq!(by_path().label_of(&view).to_string(), "7");
    let secret = KeyBy::secret(|request: &RequestView<'_>| request.path().unwrap().to_owned());
    let label = secret.label_of(&view).to_string();
    assert!(label.starts_with('#') && label.len() == 17, "{label}");
    assert_eq!(label, secret.label_of(&view).to_string(), "the same for the same key");
}

#[test]
fn threads_share_one_gate_for_a_key() {
    let entries = entries(64, |_| Tally::new(1));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let entries = entries.clone();
            thread::spawn(move || {
                for call in 0..2_000_u64 {
                    drop(tokio_test::block_on(acquire(&entries, call % 3)).unwrap());
                    if call % 5 == 0 {
                        entries.evict_fresh(Instant::now());
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let calls = begun(&entries);
    assert_eq!(calls.values().map(|(begun, _)| begun).sum::<u32>(), 8_000);
    assert!(calls.values().all(|(begun, ended)| begun == ended));
    assert_eq!(keys(&entries), 3);
}
