//! The quotas as a pure state machine.

use super::*;
use crate::{Charge, Dimension, Settle};
use aplomb_admission::{Decision, End, Evictable, Gate, Progress, Worth};
use aplomb_core::{Outcome, Scope, Usage};
use proptest::prelude::*;

const S: Duration = Duration::from_secs(1);

fn requests_and_tokens() -> Quotas {
    let requests = Quota::requests_per_second(2);
    let tokens = Quota::new(Dimension::TOKENS, 100, S);
    Quotas::new([requests, tokens])
}

/// Admits a call, as the queue does: right after asking.
fn admit(quotas: &mut Quotas, charge: &Charge, now: Instant) -> Reservation {
    assert_eq!(quotas.check(charge, now), Decision::Admit);
    quotas.admit(charge, now)
}

fn judged(outcome: Outcome) -> End {
    End::Judged { outcome, usage: None }
}

#[test]
fn promise_19_when_one_dimension_refuses_nothing_is_taken_from_the_others() {
    let mut quotas = requests_and_tokens();
    let now = quotas.set.epoch();
    let all = Charge::request().input_tokens(100);
    assert_eq!(quotas.check(&all, now), Decision::Admit);
    admit(&mut quotas, &all, now);
    let more = Charge::request().input_tokens(50);
    let half = Decision::NotBefore(now + S / 2, RateLimitReason::Quota(Dimension::TOKENS));
    assert_eq!(quotas.check(&more, now), half);
    let left: Vec<_> = quotas.available(now).map(|(_, left)| left).collect();
    assert_eq!(left, [1, 0]);
}

#[test]
fn quotas_that_are_not_used_have_no_server_and_inbound_ones_never() {
    let mut quotas = Quotas::new([]);
    let now = quotas.set.epoch();
    assert!(quotas.brakes.is_none());
    let call = admit(&mut quotas, &Charge::request(), now);
    assert!(quotas.brakes.is_some());
    quotas.end(call, judged(Outcome::success()), now);
    assert_eq!((quotas.worth(now), quotas.brakes.is_none()), (Worth::FRESH, true));
    quotas.set_inbound();
    let call = admit(&mut quotas, &Charge::request(), now);
    quotas.end(call, judged(Outcome::throttled()), now);
    assert!(quotas.brakes.is_none() && quotas.check(&Charge::request(), now).is_admit());
}

#[test]
fn a_cost_above_the_capacity_is_rejected_immediately() {
    let mut quotas = requests_and_tokens();
    let huge = Charge::request().input_tokens(99).output_tokens(2);
    let limit = RateLimitReason::AboveCapacity { dimension: Dimension::TOKENS, cost: 101, capacity: 100 };
    assert_eq!(quotas.check(&huge, quotas.set.epoch()), Decision::Reject(limit));
}

#[test]
fn promise_23_a_throttle_of_the_account_pauses_and_one_of_the_request_does_not() {
    let mut quotas = Quotas::new([]);
    let now = quotas.set.epoch();
    let throttled = Outcome::throttled().with_retry_after(S);
    let drawn = admit(&mut quotas, &Charge::request(), now);
    quotas.end(drawn, judged(throttled.with_scope(Scope::Request)), now);
    assert_eq!(quotas.check(&Charge::request(), now), Decision::Admit);
    let drawn = admit(&mut quotas, &Charge::request(), now);
    quotas.end(drawn, judged(throttled), now);
    let paused = Decision::NotBefore(now + S, RateLimitReason::Paused);
    assert_eq!(quotas.check(&Charge::request(), now), paused);
}

#[test]
fn the_forecast_is_never_later_than_the_turn_that_comes() {
    // In debt, and behind a call that costs tokens, a call that costs none waits for its request only.
    let mut quotas = requests_and_tokens();
    let now = quotas.set.epoch();
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
    /// Calls are admitted one by one, and none before its forecast.
    #[test]
    fn no_call_goes_before_its_forecast(
        burst in 1_u32..120, drawn in 0_u64..100,
        costs in prop::collection::vec(0_u64..100, 1..12),
    ) {
        let quota = Quota::new(Dimension::TOKENS, 100, S).burst(burst);
        let mut quotas = Quotas::new([quota, Quota::requests_per_second(3)]);
        let mut now = quotas.set.epoch();
        let before = Charge::request().input_tokens(drawn);
        admit(&mut quotas, &before, now);
        let queue: Vec<_> = costs.iter().map(|cost| Charge::request().input_tokens(*cost)).collect();
        let forecasts: Vec<_> = (1..=queue.len()).map(|n| quotas.forecast(&mut queue[..n].iter(), now)).collect();
        for (charge, forecast) in queue.iter().zip(forecasts) {
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
        let mut quotas = Quotas::new([quota]);
        let now = quotas.set.epoch();
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

    /// The books, against a model in units, while no time passes: reserved + debt = used + refunded +
    /// in flight, in every mode of settling, and across changes of the quotas.
    #[test]
    fn promise_20_and_21_the_books_balance(
        calls in prop::collection::vec((0_u64..50, 0_u8..9, 0_u64..90, any::<bool>()), 1..60),
    ) {
        const MODES: [Settle; 3] = [Settle::Keep, Settle::Correct, Settle::DebtOnly];
        let dimensions = [Dimension::TOKENS, Dimension::INPUT_TOKENS, Dimension::OUTPUT_TOKENS];
        // So much per minute, all of which may come at once.
        let quotas_of = |per_minute: u64| {
            dimensions.into_iter().zip(MODES).map(move |(dimension, mode)| {
                Quota::new(dimension, per_minute, 60 * S).burst(100_000).settle(mode)
            })
        };
        let mut quotas = Quotas::new(quotas_of(60_000));
        let now = quotas.set.epoch();
        let (mut owed, mut flying, mut changes) = ([0_u64; 3], Vec::new(), 0);
        for (cost, fate, used, change) in calls {
            let charge = Charge::request().input_tokens(cost).output_tokens(2 * cost);
            let costs = [3 * cost, cost, 2 * cost];
            let drawn = admit(&mut quotas, &charge, now);
            flying.push((drawn, costs, changes));
            for (owed, cost) in owed.iter_mut().zip(costs) {
                *owed += cost;
            }
            if change {
                changes += 1;
                quotas.set_quotas(quotas_of(60_000 / (1 + changes % 7)), now);
            }
            // Some stay in flight, and end after others that came later.
            if fate == 8 || flying.len() < 3 {
                continue;
            }
            let (mut drawn, costs, then) = flying.remove(usize::from(fate) % flying.len());
            let usage = Usage::unknown().with_input(used).with_output(used / 2);
            let all_used = [used + used / 2, used, used / 2];
            let refunds = changes - then <= crate::active_quota::REMEMBERED as u64;
            let end = match fate {
                0 => End::Unsent,
                1 => judged(Outcome::local()),
                2 => End::Abandoned,
                3 => { quotas.on(&mut drawn, Progress::Usage(usage), now); End::Abandoned }
                4 => End::Judged { outcome: Outcome::transient(), usage: Some(usage) },
                5 | 6 => End::Judged { outcome: Outcome::success(), usage: Some(usage) },
                _ => judged(Outcome::success()),
            };
            quotas.end(drawn, end, now);
            for (((owed, cost), used), mode) in owed.iter_mut().zip(costs).zip(all_used).zip(MODES) {
                let debt = used.saturating_sub(cost);
                match (fate, mode) {
                    (0 | 1, _) if refunds => *owed -= cost,
                    (3..=6, Settle::Correct | Settle::DebtOnly) if debt > 0 => *owed += debt,
                    (5 | 6, Settle::Correct) if refunds => *owed -= cost - used,
                    _ => {}
                }
            }
            let left: Vec<_> = quotas.available(now).map(|(_, left)| 100_000 - left).collect();
            prop_assert_eq!(left, owed.map(|owed| i64::try_from(owed).unwrap()));
        }
        prop_assert_eq!(quotas.in_flight(), flying.len());
    }
}

#[test]
fn what_was_seen_is_owed_though_the_rest_is_not_known() {
    for (seen, settle, left) in [
        (Usage::unknown().with_output(500), Settle::DebtOnly, 500),
        (Usage::unknown().with_input(500), Settle::Correct, 500),
        (Usage::unknown().with_output(5), Settle::Correct, 900),
        (Usage::unknown().with_output(500), Settle::Keep, 900),
    ] {
        let mut quotas = Quotas::new([Quota::tokens_per_minute(1_000).settle(settle)]);
        let now = quotas.set.epoch();
        let drawn = admit(&mut quotas, &Charge::request().input_tokens(10).output_tokens(90), now);
        quotas.end(drawn, End::Judged { outcome: Outcome::success(), usage: Some(seen) }, now);
        assert_eq!(quotas.available(now).next().map(|(_, left)| left), Some(left), "{seen:?}");
    }
}
