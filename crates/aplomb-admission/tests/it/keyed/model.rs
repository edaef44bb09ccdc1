//! Any number of keys against a simple model.

use std::collections::BTreeMap;
use std::time::Duration;

use aplomb_admission::{Acquire, End, Wait};
use proptest::prelude::*;
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready, task};

use super::{begun, tallies};
use crate::gates::Tally;

#[derive(Clone, Debug)]
enum Step {
    Acquire(u64),
    End(usize),
    Wait(u64),
    Leave(usize),
    Advance(u64),
    Sweep,
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
    /// Whatever is begun, ended, waited for and left, the gate of each key learns all of it, and its state
    /// is only ever gone when it said that it may.
    #[test]
    fn no_call_is_lost_and_no_key_has_two_gates(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let entries = tallies(100);
            // The calls that the gate of each key must have counted.
            let mut model = BTreeMap::<u64, Tally>::new();
            let mut held = Vec::new();
            let mut waits = Vec::<(u64, task::Spawn<Acquire<Tally>>)>::new();
            for step in steps {
                let now = Instant::now();
                match step {
                    Step::Acquire(key) => {
                        let mut acquire = task::spawn(entries.acquire(&key, (), Wait::default()));
                        let kept = model.entry(key).or_insert(Tally::new(2));
                        if kept.begun - kept.ended < 2 {
                            held.push((key, assert_ready!(acquire.poll()).unwrap()));
                            if kept.is_fresh(now) && begun(&entries)[&key] == (1, 0) {
                                // It has been forgotten, as it might be.
                                *kept = Tally::new(2);
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
                        // A caller that waits for it is admitted immediately, polled or not.
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
                            let mut acquire = task::spawn(entries.acquire(&key, (), Wait::default()));
                            assert_pending!(acquire.poll());
                            waits.push((key, acquire));
                        }
                    }
                    Step::Leave(at) if at < waits.len() => drop(waits.remove(at)),
                    Step::Advance(ms) => tokio::time::advance(Duration::from_millis(ms)).await,
                    Step::Sweep => { entries.evict_fresh(now); }
                    _ => {}
                }
                let now = Instant::now();
                let mut found = BTreeMap::new();
                entries.for_each(|label, queue| {
                    let key: u64 = label.unwrap().to_string().parse().unwrap();
                    let (begun, ended) = queue.with(|gate, _| (gate.begun, gate.ended));
                    found.insert(key, (begun, ended, queue.waiting()));
                });
                for (key, kept) in &model {
                    let waiting = waits.iter().filter(|(waits, _)| waits == key).count();
                    match found.get(key) {
                        Some(found) if !kept.is_fresh(now) => {
                            assert_eq!(*found, (kept.begun, kept.ended, waiting), "key {key}");
                        }
                        Some(_) => {}
                        None => assert!(kept.is_fresh(now), "key {key} was in use"),
                    }
                }
            }
        });
    }
}
