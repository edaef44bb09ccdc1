//! The worth of an unused limit.

use std::time::Duration;

use aplomb_admission::{Decision, End, Evictable, Gate, Worth};
use aplomb_concurrency::{Adaptive, Latency, SlotToken, Slots};
use aplomb_core::Outcome;
use tokio::time::Instant;

use crate::support::SECOND;

const HOUR: Duration = Duration::from_secs(3_600);
const NANOSECOND: Duration = Duration::from_nanos(1);

/// Fills the limit for `rounds` round trips.
fn rounds(slots: &mut Slots, now: &mut Instant, rounds: usize) {
    for _ in 0..rounds {
        let mut all: Vec<SlotToken> = Vec::new();
        while slots.check(&(), *now) == Decision::Admit {
            all.push(slots.admit(&(), *now));
        }
        *now += SECOND;
        for token in all {
            slots.end(token, End::Judged { outcome: Outcome::success(), usage: None }, *now);
        }
    }
}

#[test]
fn what_was_not_used_up_to_its_limit_is_as_good_as_new() {
    let mut now = Instant::now();
    for mut slots in [Slots::new(16), Slots::new(Adaptive::new())] {
        assert_eq!(slots.worth(now), Worth::FRESH);
        // One at a time: the limit stays where it began.
        for _ in 0..100 {
            let token = slots.admit(&(), now);
            assert_eq!(slots.worth(now), Worth::IN_USE);
            now += SECOND;
            slots.end(token, End::Judged { outcome: Outcome::success(), usage: None }, now);
        }
        assert_eq!(slots.worth(now), Worth::FRESH);
    }
}

#[test]
fn what_was_learned_is_worth_something_for_an_hour() {
    let mut now = Instant::now();
    let mut grown = Slots::new(Adaptive::new());
    rounds(&mut grown, &mut now, 3);
    // The limit did not change, but latencies were learned.
    let mut timed = Slots::new(Adaptive::new().latency(Latency::first_byte()).max(4));
    rounds(&mut timed, &mut now, 20);
    for mut slots in [grown, timed] {
        let used = slots.admit(&(), now);
        slots.end(used, End::Unsent, now);
        assert_eq!(slots.worth(now), Worth::MEDIUM);
        assert_eq!(slots.worth(now + HOUR - NANOSECOND), Worth::MEDIUM);
        assert_eq!(slots.worth(now + HOUR), Worth::FRESH);
    }
}

#[test]
fn abandoned_work_keeps_it_in_use() {
    let mut now = Instant::now();
    let mut slots = Slots::new(Adaptive::new());
    let token = slots.admit(&(), now);
    now += 3 * SECOND;
    slots.end(token, End::Abandoned, now);
    assert_eq!(slots.worth(now + 3 * SECOND - NANOSECOND), Worth::IN_USE);
    assert_eq!(slots.worth(now + 3 * SECOND), Worth::FRESH);
}
