use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aplomb_core::{
    Acquire, AtBodyEnd, AtHead, Both, BoxError, CallKey, CallOptions, Closing, End, Gated, HttpClassifier,
    Idle, KeyNotice, KeyRefused, KeyedDoor, Permit, Plan, Queue, QueueLimits, Queues, Refused, Terms, Turned,
    TurnedBecause, Wait, find_in,
};
use proptest::prelude::*;
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower_service::Service;

use crate::gates::{Keepsake, Tally};

const S: Duration = Duration::from_secs(1);

/// Two at a time for each key; idle a second after the last call.
fn tallies(max_keys: usize) -> Queues<u64, Tally> {
    Queues::new(max_keys, QueueLimits::new(), |_| Tally::new(2), ())
}

async fn acquire(queues: &Queues<u64, Tally>, key: u64) -> Result<Permit<Tally>, Turned<&'static str>> {
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
    assert_eq!(turned.because(), TurnedBecause::TooManyKeys);
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
    assert_eq!(full.because(), TurnedBecause::Full);
    let two = [
        acquire(&queues, 2).await.unwrap(),
        acquire(&queues, 2).await.unwrap(),
    ];
    assert_eq!(acquire(&queues, 2).await.unwrap_err().because(), TurnedBecause::Full);
    drop(two);
    queues.forget_idle(Instant::now());
    queues.close(Closing::Drain);
    for key in [1, 2, 3] {
        assert_eq!(acquire(&queues, key).await.unwrap_err().because(), TurnedBecause::Closed, "{key}");
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

#[derive(Clone, Debug)]
enum Step {
    Acquire(u64),
    End(usize),
    Wait(u64),
    Leave(usize),
    Advance(u64),
    Sweep,
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

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6_u64).prop_map(Step::Acquire),
        4 => (0..9_usize).prop_map(Step::End),
        2 => (0..6_u64).prop_map(Step::Wait),
        2 => (0..9_usize).prop_map(Step::Leave),
        1 => (0..1_500_u64).prop_map(Step::Advance),
        2 => Just(Step::Sweep),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    /// Whatever is begun, ended, waited for and left, each key's gate is told all of it, and its state
    /// is only ever gone when it said that it may.
    #[test]
    fn no_call_is_lost_and_no_key_has_two_gates(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let queues = tallies(100);
            // What each key's gate has to know, and when it was last used.
            let mut model = BTreeMap::<u64, Keepsake>::new();
            let mut held = Vec::new();
            let mut waits = Vec::<(u64, task::Spawn<Acquire<Tally>>)>::new();
            for step in steps {
                let now = Instant::now();
                match step {
                    Step::Acquire(key) => {
                        let mut acquire = task::spawn(queues.acquire(&key, (), Wait::default()));
                        let kept = model.entry(key).or_insert(Keepsake::new(now));
                        if kept.begun - kept.ended < 2 {
                            held.push((key, assert_ready!(acquire.poll()).unwrap()));
                            if kept.is_idle(now) && begun(&queues)[&key] == (1, 0) {
                                // It has been forgotten, as it might be.
                                *kept = Keepsake::new(now);
                            }
                            kept.begun += 1;
                            kept.last = now;
                        } else {
                            assert_pending!(acquire.poll());
                        }
                    }
                    Step::End(at) if at < held.len() => {
                        let (key, permit) = held.remove(at);
                        permit.end(End::Unsent);
                        let kept = model.get_mut(&key).unwrap();
                        kept.ended += 1;
                        kept.last = now;
                        // Who waits for it is let through at once, polled or not.
                        if let Some(at) = waits.iter().position(|(waits, _)| *waits == key) {
                            let (key, mut acquire) = waits.remove(at);
                            let permit = acquire.poll();
                            held.push((key, assert_ready!(permit).unwrap()));
                            kept.begun += 1;
                        }
                    }
                    Step::Wait(key) => {
                        let kept = model.get(&key);
                        if kept.is_some_and(|kept| kept.begun - kept.ended == 2) {
                            let mut acquire = task::spawn(queues.acquire(&key, (), Wait::default()));
                            assert_pending!(acquire.poll());
                            waits.push((key, acquire));
                        }
                    }
                    Step::Leave(at) if at < waits.len() => drop(waits.remove(at)),
                    Step::Advance(ms) => tokio::time::advance(Duration::from_millis(ms)).await,
                    Step::Sweep => { queues.forget_idle(now); }
                    _ => {}
                }
                let now = Instant::now();
                let found: BTreeMap<_, _> =
                    queues.snapshot(|key, gate, waiting, _| (*key, (gate.kept.begun, gate.kept.ended, waiting))).collect();
                for (key, kept) in &model {
                    let waiting = waits.iter().filter(|(waits, _)| waits == key).count();
                    match found.get(key) {
                        Some(found) if !kept.is_idle(now) => {
                            assert_eq!(*found, (kept.begun, kept.ended, waiting), "key {key}");
                        }
                        Some(_) => {}
                        None => assert!(kept.is_idle(now), "key {key} was in use"),
                    }
                }
            }
        });
    }
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

/// A call asks for nothing but to pass.
#[derive(Clone)]
struct Pass;

impl<Req> Terms<Req> for Pass {
    type Gate = Tally;

    fn ask(&self, _: &Req, _: &CallOptions) {}

    fn refuse(&self, turned: Turned<&'static str>, _: &CallOptions) -> BoxError {
        Box::new(Refused::by("tally").with_retry_after(turned.retry_after()))
    }

    fn refuse_key(&self, key: &Arc<str>, turned: Turned<&'static str>, options: &CallOptions) -> BoxError {
        assert_eq!(&**key, "404");
        Terms::<Req>::refuse(self, turned, options)
    }
}

fn by_path(request: &http::Request<()>) -> u64 {
    request.uri().path()[1..].parse().unwrap_or(0)
}

type ByPath = KeyedDoor<u64, fn(&http::Request<()>) -> u64, Pass, Tally>;

fn plan<U>(queues: &Queues<u64, Tally>, until: U) -> Arc<Plan<ByPath, HttpClassifier, U>> {
    let door = KeyedDoor::new(queues.clone(), by_path as fn(&http::Request<()>) -> u64, Pass);
    Arc::new(Plan::new(door, HttpClassifier::new(), until))
}

fn get(key: u64) -> http::Request<()> {
    http::Request::get(format!("/{key}")).body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_service_asks_the_gate_of_the_requests_key_and_names_it_in_a_refusal() {
    let queues = tallies(2);
    let answers = crate::gated::Answers;
    let mut service = Gated::new(answers, plan(&queues, AtHead));
    service.call(get(200)).await.unwrap();
    service.call(get(503)).await.unwrap();
    assert_eq!(begun(&queues), BTreeMap::from([(200, (1, 1)), (503, (1, 1))]));
    let mut overridden = get(404);
    overridden.extensions_mut().insert(CallKey(200_u64));
    service.call(overridden).await.unwrap();
    assert_eq!(begun(&queues)[&200], (2, 2));

    let error = service.call(get(404)).await.err().unwrap();
    assert_eq!(find_in::<KeyRefused, _>(&error).unwrap().key(), "404");
    assert_eq!(find_in::<Refused, _>(&error).unwrap().who(), "tally");
    assert_eq!(error.to_string(), "refused for key 404: refused by the tally");
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_or_panicking_at_any_point_leaves_its_key_as_it_was() {
    let queues = tallies(10);
    let mut service = Gated::new(crate::gated::Answers, plan(&queues, AtBodyEnd));
    let hang = || http::Request::get("/hang").body(()).unwrap();
    drop(service.call(hang()));
    assert!(queues.is_empty(), "nothing is made before it is polled");
    let mut calls: Vec<_> = (0..2).map(|_| task::spawn(service.call(hang()))).collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    let mut waiting = task::spawn(service.call(hang()));
    assert_pending!(waiting.poll());
    drop(waiting);
    drop(calls);
    let answered = service.call(get(200)).await.unwrap();
    drop(answered);
    let mut panics = task::spawn(service.call(http::Request::get("/panic").body(()).unwrap()));
    assert!(std::panic::catch_unwind(AssertUnwindSafe(|| panics.poll())).is_err());
    drop(panics);
    for (key, (begun, ended)) in begun(&queues) {
        assert_eq!(begun, ended, "{key}");
    }
    tokio::time::advance(2 * S).await;
    queues.forget_idle(Instant::now());
    assert!(queues.is_empty(), "nobody is stuck");
}
