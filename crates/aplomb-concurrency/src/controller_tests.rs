//! Raising and lowering an adaptive limit, call by call and for any sequence of calls.

use std::time::Duration;

use super::*;
use crate::Latency;
use proptest::prelude::*;

/// A server and the calls in flight to it.
struct Bench {
    controller: Controller,
    now: Instant,
    next: u64,
    in_flight: Vec<(u64, usize)>,
}

impl Bench {
    fn new(config: Adaptive) -> Self {
        Self {
            controller: Controller::new(config, 0),
            now: Instant::now(),
            next: 0,
            in_flight: Vec::new(),
        }
    }

    /// Admits as many calls as the limit allows, at most `most`.
    fn fill(&mut self, most: usize) {
        while self.in_flight.len() < self.controller.limit().min(most) {
            self.controller.admit(self.next, self.now);
            self.in_flight.push((self.next, self.in_flight.len() + 1));
            self.next += 1;
        }
    }

    fn answer(&mut self, which: usize, latency: Option<f64>) -> Option<ConcurrencyCause> {
        let used = self.in_flight.len();
        let (number, taken) = self.in_flight.remove(which);
        let used = used.max(taken);
        let Some(seconds) = latency else {
            self.controller.untimed(number);
            return self.controller.answered(number, used, false);
        };
        self.now += Duration::from_secs_f64(seconds / count(used));
        let change = self.controller.timed(number, seconds, used, self.now);
        change.or(self.controller.answered(number, used, true))
    }

    fn fail(&mut self, which: usize) -> Option<ConcurrencyCause> {
        let (number, _) = self.in_flight.remove(which);
        self.controller.untimed(number);
        self.controller.overloaded(number, ConcurrencyCause::Overload)
    }

    /// A round trip: all calls in flight are answered, and replaced one by one. The server rejects calls beyond its
    /// capacity at once.
    fn round(&mut self, capacity: usize, callers: usize) -> usize {
        self.fill(callers);
        let mut refused = 0;
        for _ in 0..self.in_flight.len().min(capacity) {
            self.answer(0, None);
            self.fill(callers);
            while self.in_flight.len() > capacity {
                self.fail(self.in_flight.len() - 1);
                refused += 1;
                self.fill(callers);
            }
        }
        refused
    }
}

#[test]
fn a_slow_start_doubles_with_each_round_trip() {
    let mut bench = Bench::new(Adaptive::new());
    let limits: Vec<_> = (0..5)
        .map(|_| {
            bench.round(usize::MAX, 1_000);
            bench.controller.limit()
        })
        .collect();
    assert_eq!(limits, [8, 16, 32, 64, 128]);
}

#[test]
fn a_dead_key_is_found_with_a_handful() {
    let mut bench = Bench::new(Adaptive::new());
    for _ in 0..100 {
        bench.fill(1_000);
        let (number, _) = bench.in_flight.remove(0);
        bench.controller.ended(number);
    }
    assert_eq!(bench.controller.limit(), 4);
}

#[test]
fn a_burst_of_failures_is_one_decrease() {
    let mut bench = Bench::new(Adaptive::new().initial(64));
    bench.fill(64);
    for _ in 0..64 {
        bench.fail(0);
    }
    assert_eq!(bench.controller.limit(), 48);
    bench.fill(64);
    bench.fail(0);
    assert_eq!(bench.controller.limit(), 36);
}

#[test]
fn the_ceiling_is_remembered_approached_gently_and_left_behind() {
    let mut bench = Bench::new(Adaptive::new());
    for _ in 0..6 {
        bench.round(100, 1_000);
    }
    let ceiling = bench.controller.ceiling.unwrap();
    assert!((100.0..=101.0).contains(&ceiling), "{ceiling}");
    let at = |bench: &Bench| bench.controller.limit();
    // At the ceiling, the one call that is too many fails.
    let refused: usize = (0..50).map(|_| bench.round(100, 1_000)).sum();
    assert!(refused <= 50, "{refused} refused of 5,000");
    assert!((70..=101).contains(&at(&bench)), "{}", at(&bench));
    // Twice the capacity is found within ten round trips.
    let rounds = (1..=20).find(|_| {
        bench.round(200, 1_000);
        at(&bench) >= 180
    });
    assert!(rounds.is_some_and(|rounds| rounds <= 10), "{rounds:?}");
    // And half of the original capacity.
    let rounds = (1..=20).find(|_| {
        bench.round(50, 1_000);
        at(&bench) <= 51
    });
    assert!(rounds.is_some_and(|rounds| rounds <= 10), "{rounds:?}");
}

#[test]
fn an_outage_does_not_teach_a_low_ceiling() {
    // Beyond a ceiling, a limit that measures latency grows only by its square root.
    let mut bench = Bench::new(Adaptive::new().latency(Latency::first_byte()));
    let answers = |bench: &mut Bench, many| {
        for _ in 0..many {
            bench.fill(100);
            bench.answer(0, Some(1.0));
        }
    };
    answers(&mut bench, 500);
    for _ in 0..50 {
        bench.fill(100);
        while !bench.in_flight.is_empty() {
            bench.fail(0);
        }
    }
    assert_eq!(bench.controller.limit(), 1);
    answers(&mut bench, 150);
    assert!(bench.controller.limit() >= 50, "{}", bench.controller.limit());
}

#[test]
fn what_is_not_used_does_not_grow() {
    let mut bench = Bench::new(Adaptive::new().initial(20));
    for _ in 0..1_000 {
        bench.round(usize::MAX, 10);
    }
    assert_eq!(bench.controller.limit(), 20);
    // Nor does a limit rise far above its use.
    let mut bench = Bench::new(Adaptive::new());
    for _ in 0..1_000 {
        bench.round(usize::MAX, 10);
    }
    assert!(bench.controller.limit() <= 20, "{}", bench.controller.limit());
}

#[test]
fn it_recovers_after_an_outlier() {
    let mut bench = Bench::new(Adaptive::new().latency(Latency::first_byte()));
    for n in 0..2_000_u32 {
        bench.fill(32);
        bench.answer(0, Some(if n == 1_000 { 600.0 } else { 1.0 }));
    }
    // Slow start ends when half of the limit is used.
    assert_eq!(bench.controller.limit(), 64);
    // A whole sample of them lowers the limit for a while.
    let mut lowest = usize::MAX;
    for _ in 0..160 {
        bench.fill(32);
        bench.answer(0, Some(600.0));
        lowest = lowest.min(bench.controller.limit());
    }
    assert_eq!(lowest, 32);
    for _ in 0..600 {
        bench.fill(64);
        bench.answer(0, Some(1.0));
    }
    assert!(bench.controller.limit() >= 64, "{}", bench.controller.limit());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Answer { which: usize, millis: Option<u32> },
    Fail { which: usize },
    Other { which: usize },
    Fill { most: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..100_usize;
    prop_oneof![
        6 => (which.clone(), prop::option::of(0..100_000_u32))
            .prop_map(|(which, millis)| Step::Answer { which, millis }),
        1 => which.clone().prop_map(|which| Step::Fail { which }),
        1 => which.prop_map(|which| Step::Other { which }),
        6 => (0..200_usize).prop_map(|most| Step::Fill { most }),
    ]
}

proptest! {
    #[test]
    fn a_few_outliers_do_not_lower_it(
        at in 100..900_u32, many in 1..4_u32, seconds in prop_oneof![1e-6..1e-3_f64, 10.0..1e5_f64],
    ) {
        let mut bench = Bench::new(Adaptive::new().latency(Latency::first_byte()));
        let mut highest = 0;
        for n in 0..1_000 {
            bench.fill(32);
            bench.answer(0, Some(if (at..at + many).contains(&n) { seconds } else { 1.0 }));
            highest = highest.max(bench.controller.limit());
            prop_assert_eq!(bench.controller.limit(), highest);
        }
    }

    #[test]
    fn whatever_happens(
        steps in prop::collection::vec(step(), 1..800),
        initial in 0..300_usize, min in 0..20_usize, max in 0..300_usize,
        timed: bool, decrease in prop_oneof![-1.0..2.0_f64, Just(f64::NAN)],
    ) {
        let mut config = Adaptive::new().initial(initial).min(min).max(max).decrease(decrease);
        if timed {
            config = config.latency(Latency::first_byte());
        }
        let mut bench = Bench::new(config);
        // The number of the first call after the last decrease.
        let mut lowered_at = 0;
        for step in steps {
            let before = bench.controller.limit;
            let (number, used) = match step {
                Step::Fill { most } => {
                    bench.fill(most);
                    prop_assert_eq!(bench.controller.limit.to_bits(), before.to_bits());
                    continue;
                }
                _ if bench.in_flight.is_empty() => continue,
                Step::Answer { which, .. } | Step::Fail { which } | Step::Other { which } => {
                    let (number, taken) = bench.in_flight[which % bench.in_flight.len()];
                    (number, taken.max(bench.in_flight.len()))
                }
            };
            let change = match step {
                Step::Answer { which, millis } => {
                    let latency = millis.map(|millis| f64::from(millis) / 1e3);
                    bench.answer(which % bench.in_flight.len(), latency)
                }
                Step::Fail { which } => bench.fail(which % bench.in_flight.len()),
                Step::Other { which } => {
                    bench.in_flight.remove(which % bench.in_flight.len());
                    bench.controller.untimed(number);
                    bench.controller.ended(number);
                    None
                }
                Step::Fill { .. } => unreachable!(),
            };
            let after = bench.controller.limit;
            let (low, high) = (min.max(1), max.max(min).max(1));
            prop_assert!(after >= count(low) && after <= count(high), "within bounds: {after}");
            let changed = after.floor().to_bits() != before.floor().to_bits();
            prop_assert_eq!(change.is_some(), changed, "a change is reported");
            if after > before {
                prop_assert!(2.0 * count(used) > before.floor(), "no increase when idle");
                prop_assert!(number >= lowered_at, "calls sent before a decrease change nothing");
                let by_an_answer = matches!(step, Step::Answer { .. });
                prop_assert!(by_an_answer, "only answers raise it");
            }
            if after < before {
                prop_assert!(number >= lowered_at, "one decrease per round trip");
                lowered_at = bench.next;
            }
        }
    }
}
