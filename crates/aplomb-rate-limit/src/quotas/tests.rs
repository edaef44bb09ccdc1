//! The quotas as a pure state machine.

use super::*;
use crate::{Charge, Dimension};
use aplomb_core::{Decision, End, Gate, Outcome, Scope};
use proptest::prelude::*;

const S: Duration = Duration::from_secs(1);

fn requests_and_tokens() -> Quotas {
    let requests = Quota::requests_per_second(2);
    let tokens = Quota::new(Dimension::TOKENS, 100, S);
    Quotas::new([requests, tokens], 1)
}

/// Admits a call, as the queue does: right after asking.
fn admit(quotas: &mut Quotas, charge: &Charge, now: Instant) -> Drawn {
    assert_eq!(quotas.check(charge, now), Decision::Admit);
    quotas.admit(charge, now)
}

fn judged(outcome: Outcome) -> End {
    End::Judged { outcome, usage: None }
}

#[test]
fn promise_19_when_one_dimension_refuses_nothing_is_taken_from_the_others() {
    let mut quotas = requests_and_tokens();
    let now = quotas.setup.epoch;
    let all = Charge::request().input_tokens(100);
    assert_eq!(quotas.check(&all, now), Decision::Admit);
    admit(&mut quotas, &all, now);
    let more = Charge::request().input_tokens(50);
    let half = Decision::NotBefore(now + S / 2, Limit::Quota(Dimension::TOKENS));
    assert_eq!(quotas.check(&more, now), half);
    let left: Vec<_> = quotas.available(now).map(|(_, left)| left).collect();
    assert_eq!(left, [1, 0]);
}

#[test]
fn above_capacity_is_refused_at_once() {
    let mut quotas = requests_and_tokens();
    let huge = Charge::request().input_tokens(99).output_tokens(2);
    let limit = Limit::AboveCapacity { dimension: Dimension::TOKENS, cost: 101, capacity: 100 };
    assert_eq!(quotas.check(&huge, quotas.setup.epoch), Decision::Refuse(limit));
}

#[test]
fn promise_23_a_throttle_of_the_account_pauses_and_one_of_the_request_does_not() {
    let mut quotas = Quotas::new([], 1);
    let now = quotas.setup.epoch;
    let throttled = Outcome::throttled().with_retry_after(3 * S);
    let drawn = admit(&mut quotas, &Charge::request(), now);
    quotas.end(drawn, judged(throttled.with_scope(Scope::Request)), now);
    assert_eq!(quotas.check(&Charge::request(), now), Decision::Admit);
    let drawn = admit(&mut quotas, &Charge::request(), now);
    quotas.end(drawn, judged(throttled), now);
    let paused = Decision::NotBefore(now + 3 * S, Limit::Paused);
    assert_eq!(quotas.check(&Charge::request(), now), paused);
}

#[test]
fn the_forecast_is_never_later_than_the_turn_that_comes() {
    // In debt, and behind a call that costs tokens, a call that costs none waits for its request only.
    let mut quotas = requests_and_tokens();
    let now = quotas.setup.epoch;
    admit(&mut quotas, &Charge::request().input_tokens(100), now);
    admit(&mut quotas, &Charge::request(), now);
    let (tokens, free) = (Charge::request().input_tokens(30), Charge::request());
    assert_eq!(quotas.forecast(&mut [&free].into_iter(), now), Some(now + S / 2));
    // Behind 30 tokens, which flow back in 300 ms: the second request flows back after 1 s.
    assert_eq!(quotas.forecast(&mut [&tokens, &free].into_iter(), now), Some(now + S));
    let many = Charge::request().requests(0).input_tokens(100);
    assert_eq!(quotas.forecast(&mut [&many, &free].into_iter(), now), Some(now + S));
}

proptest! {
    /// A line of calls is let through one by one; nobody's turn comes before its forecast.
    #[test]
    fn nobody_goes_before_the_forecast(
        burst in 1_u32..120, drawn in 0_u64..100,
        costs in prop::collection::vec(0_u64..100, 1..12),
    ) {
        let quota = Quota::new(Dimension::TOKENS, 100, S).burst(burst);
        let mut quotas = Quotas::new([quota, Quota::requests_per_second(3)], 1);
        let mut now = quotas.setup.epoch;
        let before = Charge::request().input_tokens(drawn);
        admit(&mut quotas, &before, now);
        let line: Vec<_> = costs.iter().map(|cost| Charge::request().input_tokens(*cost)).collect();
        let forecasts: Vec<_> = (1..=line.len()).map(|n| quotas.forecast(&mut line[..n].iter(), now)).collect();
        for (charge, forecast) in line.iter().zip(forecasts) {
            while let Decision::NotBefore(at, _) = quotas.check(charge, now) {
                now = at;
            }
            prop_assert!(forecast.is_none_or(|forecast| forecast <= now));
            quotas.admit(charge, now);
        }
    }

    /// Reserved = used + refunded + in flight, whatever becomes of the calls.
    #[test]
    fn promise_20_what_is_not_refunded_stays_drawn(ends in prop::collection::vec(0_u8..5, 1..60)) {
        let quota = Quota::new(Dimension::TOKENS, 1_000, 60 * S);
        let mut quotas = Quotas::new([quota], 1);
        let now = quotas.setup.epoch;
        let (mut kept, mut flying) = (0, Vec::new());
        for (i, end) in ends.into_iter().enumerate() {
            let cost = i as u64 % 20;
            let charge = Charge::request().output_tokens(cost);
            if quotas.check(&charge, now) != Decision::Admit {
                continue;
            }
            let drawn = admit(&mut quotas, &charge, now);
            match end {
                0 => quotas.end(drawn, End::Unsent, now),
                1 => quotas.end(drawn, judged(Outcome::local()), now),
                2 => { kept += cost; quotas.end(drawn, End::Abandoned, now) }
                3 => { kept += cost; quotas.end(drawn, judged(Outcome::transient()), now) }
                _ => { kept += cost; flying.push(drawn) }
            }
        }
        let (_, left) = quotas.available(now).next().unwrap();
        prop_assert_eq!(left, 1_000 - i64::try_from(kept).unwrap());
        prop_assert_eq!(quotas.in_flight(), flying.len());
    }
}
