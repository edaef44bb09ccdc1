//! The gate by itself, for any sequence of calls.

use std::collections::VecDeque;
use std::time::Duration;

use aplomb_admission::{Decision, End, Gate, Progress};
use aplomb_concurrency::{Adaptive, Latency, SlotToken, Slots};
use aplomb_core::{ConcurrencyCause, Outcome, Scope, Usage};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::support::SECOND;

fn judged(outcome: Outcome) -> End {
    End::Judged { outcome, usage: None }
}

/// Of eight calls, the first ends in this way; returns the limit, which was eight.
fn after(end: End) -> (usize, Option<ConcurrencyCause>) {
    let mut slots = Slots::new(Adaptive::new().initial(8));
    let now = Instant::now();
    let mut all: VecDeque<SlotToken> = (0..8).map(|_| slots.admit(&(), now)).collect();
    slots.end(all.pop_front().unwrap(), end, now);
    (slots.limit(), slots.last_change().map(|change| change.cause()))
}

#[test]
fn what_each_outcome_does() {
    let up = (9, Some(ConcurrencyCause::SlowStart));
    let down = |cause| (6, Some(cause));
    let same = (8, None);
    for (outcome, expected) in [
        (Outcome::success(), up),
        (Outcome::transient(), down(ConcurrencyCause::Overload)),
        (Outcome::transient().mark_unanswered(), down(ConcurrencyCause::Overload)),
        (Outcome::transient().with_scope(Scope::Request), same),
        (Outcome::throttled(), down(ConcurrencyCause::Throttled)),
        (Outcome::throttled().with_scope(Scope::Server), down(ConcurrencyCause::Throttled)),
        (Outcome::throttled().with_scope(Scope::Request), same),
        // About a rate, for which the quotas pause all callers.
        (Outcome::throttled().with_retry_after(Duration::from_secs(1)), same),
        (
            Outcome::throttled().of_concurrency().with_retry_after(Duration::from_secs(1)),
            down(ConcurrencyCause::Throttled),
        ),
        (Outcome::busy(), same),
        (Outcome::exhausted(), same),
        (Outcome::unauthorized(), same),
        (Outcome::permanent(), same),
        (Outcome::local(), same),
    ] {
        assert_eq!(after(judged(outcome)), expected, "{outcome}");
    }
    assert_eq!(after(End::Abandoned), same);
    assert_eq!(after(End::Unsent), same);
}

#[test]
fn a_slow_peer_is_told_from_long_completions_by_the_time_per_token() {
    // Completions become ten times as long, at the same speed; later the peer is four times as slow.
    let run = |latency: Latency| {
        let adaptive = Adaptive::new().initial(16).max(16).latency(latency);
        let mut slots = Slots::new(adaptive);
        let mut now = Instant::now();
        let mut lowest = Vec::new();
        for (tokens, millis_per_token) in [(100, 10), (1_000, 10), (1_000, 40)] {
            let mut least = usize::MAX;
            for _ in 0..20 {
                let mut all = Vec::new();
                while slots.check(&(), now) == Decision::Admit {
                    all.push(slots.admit(&(), now));
                }
                now += Duration::from_millis(tokens * millis_per_token);
                for token in all {
                    let usage = Some(Usage::unknown().with_output(tokens));
                    slots.end(token, End::Judged { outcome: Outcome::success(), usage }, now);
                    least = least.min(slots.limit());
                }
            }
            lowest.push(least);
        }
        lowest
    };
    assert_eq!(run(Latency::per_output_token()), [16, 16, 8]);
    // If the first byte comes with the last one, longer looks slower.
    assert_eq!(run(Latency::first_byte())[1], 8);
}

#[test]
fn an_answer_without_usage_raises_the_limit_all_the_same() {
    let mut slots = Slots::new(Adaptive::new().latency(Latency::per_output_token()));
    let now = Instant::now();
    for _ in 0..100 {
        let token = slots.admit(&(), now);
        let others: Vec<_> = (1..slots.limit()).map(|_| slots.admit(&(), now)).collect();
        slots.end(token, judged(Outcome::success()), now);
        for token in others {
            slots.end(token, End::Unsent, now);
        }
    }
    assert!(slots.limit() >= 100, "{}", slots.limit());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    Content(usize),
    End(usize, usize),
    Wait(u64),
    Set(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Ask),
        1 => any::<usize>().prop_map(Step::Content),
        5 => (any::<usize>(), 0..6_usize).prop_map(|(which, end)| Step::End(which, end)),
        2 => (0..20_000_u64).prop_map(Step::Wait),
        1 => (0..12_usize).prop_map(Step::Set),
    ]
}

/// Fills the limit for `rounds` round trips, all of which are answered.
fn answered_round_trips(slots: &mut Slots, rounds: usize, now: &mut Instant) {
    for _ in 0..rounds {
        let mut all = Vec::new();
        while slots.check(&(), *now) == Decision::Admit {
            all.push(slots.admit(&(), *now));
        }
        *now += SECOND;
        for token in all {
            slots.end(token, judged(Outcome::success()), *now);
        }
    }
}

#[test]
fn an_adaptive_limit_that_is_set_again_keeps_what_it_has_learned() {
    let mut now = Instant::now();
    let mut slots = Slots::new(Adaptive::new());
    answered_round_trips(&mut slots, 3, &mut now);
    assert_eq!(slots.limit(), 20);
    slots.set_limit(Adaptive::new(), now);
    assert_eq!(slots.limit(), 20);
    // Other bounds: it continues within them.
    slots.set_limit(Adaptive::new().max(10), now);
    assert_eq!((slots.limit(), slots.last_change().unwrap().cause()), (10, ConcurrencyCause::Set));
    slots.set_limit(Adaptive::new().max(100), now);
    answered_round_trips(&mut slots, 2, &mut now);
    assert!(slots.limit() > 20, "it is still in slow start: {}", slots.limit());
}

proptest! {
    #[test]
    fn what_is_counted_is_what_is_there(
        steps in prop::collection::vec(step(), 1..400),
        fixed: bool, longest in 0..10_000_u64,
    ) {
        let longest = Duration::from_millis(longest);
        let adaptive = Adaptive::new().max(20).latency(Latency::first_byte());
        let mut slots = if fixed { Slots::new(5) } else { Slots::new(adaptive) };
        slots.set_abandoned(longest);
        let mut now = Instant::now();
        // The model: calls in flight since when, and whether answered; and until when abandoned calls count.
        let mut in_flight: Vec<(SlotToken, Instant, bool)> = Vec::new();
        let mut abandoned: Vec<Instant> = Vec::new();
        for step in steps {
            abandoned.retain(|until| *until > now);
            match step {
                Step::Ask => {
                    let free = in_flight.len() + abandoned.len() < slots.limit();
                    let decision = slots.check(&(), now);
                    prop_assert_eq!(decision == Decision::Admit, free);
                    if free {
                        in_flight.push((slots.admit(&(), now), now, false));
                    } else {
                        prop_assert!(matches!(decision, Decision::WhenReleased(_)));
                        prop_assert_eq!(slots.hints().next_wakeup, abandoned.iter().min().copied());
                    }
                }
                Step::Content(which) if !in_flight.is_empty() => {
                    let which = which % in_flight.len();
                    in_flight[which].2 = true;
                    slots.on(&mut in_flight[which].0, Progress::FirstByte, now);
                }
                Step::End(which, end) if !in_flight.is_empty() => {
                    let (token, since, begun) = in_flight.swap_remove(which % in_flight.len());
                    let (end, at_work) = match end {
                        0 => (End::Unsent, false),
                        1 => (End::Abandoned, !begun),
                        2 => (judged(Outcome::transient().mark_unanswered()), true),
                        3 => (judged(Outcome::transient()), false),
                        4 => (judged(Outcome::permanent()), false),
                        _ => (judged(Outcome::success()), false),
                    };
                    slots.end(token, end, now);
                    let until = now + (now - since).min(longest);
                    abandoned.extend((at_work && until > now).then_some(until));
                }
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::Set(limit) => {
                    slots.set_limit(limit, now);
                    prop_assert_eq!(slots.limit(), limit.max(1));
                }
                _ => {}
            }
            abandoned.retain(|until| *until > now);
            prop_assert_eq!(slots.in_flight(), in_flight.len());
            prop_assert_eq!(slots.abandoned(now), abandoned.len());
        }
        // Nothing is left when all calls have ended and time has passed.
        for (token, ..) in in_flight {
            slots.end(token, End::Abandoned, now);
        }
        now += longest;
        prop_assert_eq!((slots.in_flight(), slots.abandoned(now)), (0, 0));
        prop_assert_eq!(slots.check(&(), now), Decision::Admit);
    }
}
