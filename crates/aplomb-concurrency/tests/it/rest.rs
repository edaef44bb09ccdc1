//! A limit that rests goes on as one that did not.

use std::time::Duration;

use aplomb_admission::{Decision, End, Gate, Idle, Rests};
use aplomb_concurrency::{Adaptive, Latency, Limit, SlotToken, Slots};
use aplomb_core::Outcome;
use proptest::prelude::*;
use tokio::time::Instant;

use crate::support::SECOND;

const HOUR: Duration = Duration::from_secs(3_600);

/// Fills the limit for so many round trips; of each, the first ends as `first` says.
fn rounds(slots: &mut Slots, now: &mut Instant, rounds: usize, first: Outcome, took: Duration) {
    for _ in 0..rounds {
        let mut all: Vec<SlotToken> = Vec::new();
        while slots.check(&(), *now) == Decision::Admit {
            all.push(slots.admit(&(), *now));
        }
        *now += took;
        for (n, slot) in all.into_iter().enumerate() {
            let outcome = if n == 0 { first } else { Outcome::success() };
            slots.end(slot, End::Judged { outcome, usage: None }, *now);
        }
    }
}

fn after_a_rest(slots: &Slots, limit: impl Into<Limit>, now: Instant) -> Slots {
    let mut resumed = Slots::new(limit);
    resumed.resume(slots.rest(now).unwrap());
    resumed
}

#[test]
fn what_was_not_used_up_to_its_limit_is_as_good_as_new() {
    let mut now = Instant::now();
    for mut slots in [Slots::new(16), Slots::new(Adaptive::new())] {
        assert!(slots.rest(now).unwrap().is_idle(now));
        // One at a time: the limit stays where it began.
        for _ in 0..100 {
            let slot = slots.admit(&(), now);
            assert!(slots.rest(now).is_none(), "in flight");
            now += SECOND;
            slots.end(slot, End::Judged { outcome: Outcome::success(), usage: None }, now);
        }
        assert!(slots.rest(now).unwrap().is_idle(now));
    }
}

#[test]
fn what_was_learned_is_kept_for_an_hour_and_can_be_spared() {
    let mut now = Instant::now();
    let mut grown = Slots::new(Adaptive::new());
    rounds(&mut grown, &mut now, 3, Outcome::success(), SECOND);
    // Nothing moved, and yet it is known how fast answers come.
    let mut timed = Slots::new(Adaptive::new().latency(Latency::first_byte()).max(4));
    rounds(&mut timed, &mut now, 20, Outcome::success(), SECOND);
    assert_eq!((grown.limit(), timed.limit()), (20, 4));
    for slots in [grown, timed] {
        let rest = slots.rest(now).unwrap();
        assert!(rest.is_spare(now));
        assert!(!rest.is_idle(now + HOUR - Duration::from_nanos(1)));
        assert!(rest.is_idle(now + HOUR));
    }
}

#[test]
fn a_policy_that_has_changed_holds_and_the_rest_is_gone_on_from() {
    let mut now = Instant::now();
    let mut slots = Slots::new(Adaptive::new().latency(Latency::first_byte()));
    rounds(&mut slots, &mut now, 3, Outcome::success(), SECOND);
    let limit = slots.limit();
    assert!(limit > 8);
    assert_eq!(after_a_rest(&slots, Adaptive::new().max(6), now).limit(), 6);
    assert_eq!(after_a_rest(&slots, Adaptive::new().min(100), now).limit(), 100);
    let fixed = after_a_rest(&slots, 3, now);
    assert_eq!((fixed.limit(), fixed.last_change()), (3, None));
    // Seconds are not compared with seconds for each token.
    let per_token = Adaptive::new().latency(Latency::per_output_token());
    assert_eq!(after_a_rest(&slots, per_token, now).limit(), limit);
}

#[test]
fn abandoned_work_keeps_it_busy() {
    let mut now = Instant::now();
    let mut slots = Slots::new(Adaptive::new());
    let slot = slots.admit(&(), now);
    now += 3 * SECOND;
    slots.end(slot, End::Abandoned, now);
    assert!(slots.rest(now + 3 * SECOND - Duration::from_nanos(1)).is_none());
    assert!(slots.rest(now + 3 * SECOND).unwrap().is_idle(now));
}

proptest! {
    /// Between rounds nobody calls: whether the gate rests then or not makes no difference.
    #[test]
    fn a_rest_makes_no_difference(
        steps in prop::collection::vec((1_usize..6, 0_u8..4, 1_u32..5), 1..40),
        initial in 1_usize..40,
    ) {
        let config = Adaptive::new().initial(initial).max(300);
        let (mut stays, mut rests) = (Slots::new(config), Slots::new(config));
        let mut now = Instant::now();
        for (trips, kind, seconds) in steps {
            let first = match kind {
                0 => Outcome::transient(),
                1 => Outcome::throttled(),
                _ => Outcome::success(),
            };
            let mut then = now;
            rounds(&mut stays, &mut now, trips, first, SECOND * seconds);
            rounds(&mut rests, &mut then, trips, first, SECOND * seconds);
            prop_assert_eq!(stays.snapshot(0, now), rests.snapshot(0, now));
            rests = after_a_rest(&rests, config, now);
        }
    }
}
