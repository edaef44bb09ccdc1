use std::cell::Cell;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const S: Duration = Duration::from_secs(1);

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// Busy until an instant; counts how often it is asked.
#[derive(Debug, PartialEq)]
struct Until(Instant, u32);

impl Evictable for Until {
    fn worth(&mut self, now: Instant) -> Worth {
        ASKED.set(ASKED.get() + 1);
        if now > self.0 { Worth::FRESH } else { Worth::IN_USE }
    }
}

fn bump(map: &Keyed<u64, Until>, key: u64, now: Instant, until: Instant) -> Result<u32, Full> {
    let change = |value: &mut Until| {
        *value = Until(until, value.1 + 1);
        value.1
    };
    map.with(&key, now, |_| Until(now, 0), change)
}

#[test]
fn a_key_that_is_not_idle_is_never_forgotten_and_one_too_many_is_refused() {
    let (map, now) = (Keyed::new(100), Instant::now());
    for key in 0..100 {
        assert_eq!(bump(&map, key, now, now + S), Ok(1));
    }
    assert_eq!(bump(&map, 100, now + S, now + S).unwrap_err().max_keys(), 100);
    for key in 0..100 {
        assert_eq!(bump(&map, key, now + S, now + 2 * S), Ok(2), "known keys go on");
    }
    assert_eq!(map.len(), 100);
}

#[test]
fn idle_keys_make_room_and_the_count_falls() {
    let (map, now) = (Keyed::new(1_000), Instant::now());
    for key in 0..1_000 {
        bump(&map, key, now, now + S).unwrap();
    }
    let later = now + 2 * S;
    // Known keys alone move the clock hand: one of four in sixteen calls is enough.
    for _ in 0..16 * 1_000 {
        bump(&map, 7, later, later + S).unwrap();
    }
    assert!(map.len() < 200, "{}", map.len());
    let left = map.len();
    assert_eq!(map.evict_fresh(later + 2 * S), left);
    assert!(map.is_empty());
}

#[test]
fn forgetting_at_once_leaves_what_is_busy() {
    let (map, now) = (Keyed::new(100_000), Instant::now());
    for key in 0..50_000 {
        bump(&map, key, now, if key % 10 == 0 { now + 9 * S } else { now + S }).unwrap();
    }
    assert_eq!(map.evict_fresh(now + S), 0);
    assert_eq!(map.evict_fresh(now + 2 * S), 45_000);
    assert_eq!(map.len(), 5_000);
    assert_eq!(map.snapshot(|key, _| *key).filter(|key| key % 10 == 0).count(), 5_000);
    assert_eq!(map.peek(&0, |value| value.1), Some(1));
    assert_eq!(map.peek(&1, |value| value.1), None);
}

#[test]
fn a_million_new_keys_stay_bounded_and_no_call_looks_at_more_than_a_few() {
    let (map, start) = (Keyed::new(10_000), Instant::now());
    for key in 0..1_000_000_u32 {
        // Each key is busy for as long as a thousand others take to come.
        let now = start + Duration::from_millis(1) * key;
        ASKED.set(0);
        bump(&map, key.into(), now, now + S).unwrap();
        assert!(ASKED.get() <= FEW, "{} entries at once", ASKED.get());
    }
    assert!(map.len() < 2_000, "{} where 1,000 are in use", map.len());
}

#[test]
fn a_full_map_looks_at_a_bounded_number_of_entries_before_it_refuses() {
    let (map, now) = (Keyed::new(10_000), Instant::now());
    for key in 0..10_000 {
        bump(&map, key, now, now + S).unwrap();
    }
    ASKED.set(0);
    assert!(bump(&map, 10_000, now, now).is_err());
    assert!((LOOKED_AT..LOOKED_AT + FEW).contains(&ASKED.get()), "{}", ASKED.get());
}

#[test]
fn a_small_map_is_searched_as_a_whole() {
    for max in 1..=40 {
        let (map, now) = (Keyed::new(max), Instant::now());
        for key in 0..max as u64 {
            bump(&map, key, now, if key == 0 { now } else { now + 9 * S }).unwrap();
        }
        // Shards of few keys are passed more than once, and those of many in several steps.
        let found = (0..3).any(|_| bump(&map, 1_000, now + S, now + 9 * S).is_ok());
        assert!(found, "the one idle key of {max} is found");
        assert_eq!(map.len(), max);
    }
    assert!(bump(&Keyed::new(0), 1, Instant::now(), Instant::now()).is_err());
}

#[test]
fn threads_never_exceed_the_maximum_nor_lose_an_update() {
    let (map, now) = (Arc::new(Keyed::new(64)), Instant::now());
    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            let map = Arc::clone(&map);
            thread::spawn(move || {
                let mut kept = 0;
                for i in 0..5_000_u64 {
                    // Eight keys that all share and that stay; many that come and go.
                    kept += u32::from(bump(&map, i % 8, now, now + 9 * S).is_ok());
                    let _ = bump(&map, 100 + thread * 10_000 + i, now + S, now);
                    assert!(map.len() <= 64);
                }
                kept
            })
        })
        .collect();
    let kept: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let counted: u32 = map.snapshot(|key, value| if *key < 8 { value.1 } else { 0 }).sum();
    assert_eq!((kept, counted), (20_000, 20_000));
    map.evict_fresh(now + S);
    assert_eq!((map.len(), map.snapshot(|_, _| ()).count()), (8, 8), "the count is that of the entries");
}

#[test]
fn a_panic_leaves_the_map_as_it_was() {
    let (map, now) = (Keyed::new(2), Instant::now());
    bump(&map, 1, now, now + S).unwrap();
    let panics = |work: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err();
    assert!(panics(&|| map.with(&2, now, |_| panic!("made badly"), |_| ()).unwrap()));
    assert_eq!(map.len(), 1, "the room is given back");
    assert!(panics(&|| map.with(&1, now, |_| unreachable!(), |_| panic!("changed badly")).unwrap()));
    assert_eq!(bump(&map, 1, now, now), Ok(2));
    assert_eq!(bump(&map, 2, now, now), Ok(1));
}

proptest! {
    /// Against a plain map: busy keys are there with their values, the number of keys is bounded, and what
    /// is refused is refused because the map is full of busy keys.
    #[test]
    fn it_keeps_what_is_busy(
        max in 1_usize..24,
        steps in prop::collection::vec((0_u64..40, 0_u32..5, 0_u32..30), 1..300),
    ) {
        let (map, mut now) = (Keyed::new(max), Instant::now());
        let mut model = std::collections::BTreeMap::<u64, (Instant, u32)>::new();
        for (key, pause, busy) in steps {
            now += S * pause;
            let until = now + S * busy;
            if let Ok(times) = bump(&map, key, now, until) {
                let known = model.get(&key).filter(|(until, _)| *until >= now);
                if let Some((_, before)) = known {
                    prop_assert_eq!(times, before + 1);
                }
                model.insert(key, (until, times));
            } else {
                prop_assert_eq!(map.len(), max);
            }
            prop_assert!(map.len() <= max);
            for (key, (until, times)) in &model {
                if *until >= now {
                    prop_assert_eq!(map.peek(key, |value| value.1), Some(*times));
                }
            }
        }
    }
}
