//! The rate, the windows and the places of a server.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

/// A bucket of 20 a second, of which five may come at once.
fn at_a_bucket(talk: &mut Talk, seconds: u32) -> (u32, u32) {
    let (mut level, mut filled, end) = (5.0_f64, talk.now, talk.now + seconds * S);
    let (mut answered, mut refused) = (0, 0);
    while talk.now < end {
        match talk.check() {
            Decision::NotBefore(at, _) => talk.now = at,
            Decision::Admit => {
                let token = talk.server.admit(1, true, talk.now);
                level = (level + 20.0 * (talk.now - filled).as_secs_f64()).min(5.0);
                filled = talk.now;
                talk.wait(MS);
                if level >= 1.0 {
                    level -= 1.0;
                    answered += 1;
                    talk.end(&token, Outcome::success());
                } else {
                    refused += 1;
                    talk.end(&token, Outcome::throttled());
                }
            }
            held => panic!("{held:?}"),
        }
    }
    (answered, refused)
}

#[test]
fn the_pace_of_a_bucket_is_measured_between_two_shuts() {
    let mut talk = Talk::answering();
    at_a_bucket(&mut talk, 10);
    let rate = talk.server.snapshot(talk.now).rate.unwrap();
    assert!((18.0..24.0).contains(&rate), "{rate}");
    let (answered, refused) = at_a_bucket(&mut talk, 60);
    assert!(answered > 1_140 && refused * 14 < answered, "{answered} {refused}");
}

#[test]
fn a_fixed_window_is_used_at_once_and_found_by_the_clock() {
    let mut talk = Talk::answering();
    let (mut window, mut left, mut refused) = (talk.now, 50, Vec::new());
    for _ in 0..2_000 {
        match talk.check() {
            Decision::NotBefore(at, _) => talk.now = at,
            Decision::Admit => {
                let token = talk.server.admit(1, true, talk.now);
                talk.wait(MS);
                while talk.now >= window + 5 * S {
                    window += 5 * S;
                    left = 50;
                    refused.push(0);
                }
                if left > 0 {
                    left -= 1;
                    talk.end(&token, Outcome::success());
                } else {
                    *refused.last_mut().unwrap_or(&mut 0) += 1;
                    talk.end(&token, Outcome::throttled());
                }
            }
            held => panic!("{held:?}"),
        }
    }
    let snapshot = talk.server.snapshot(talk.now);
    assert_eq!(snapshot.rate, None);
    let period = snapshot.period.unwrap();
    assert!((4_500 * MS..5_500 * MS).contains(&period), "{period:?}");
    assert!(refused[8..].iter().all(|refused| *refused <= 8), "{refused:?}");
}

#[test]
fn a_probe_that_something_else_held_up_tells_nothing_about_windows() {
    let mut talk = Talk::answering();
    for _ in 0..5 {
        while talk.server.is_shut().is_none() {
            talk.held_until_admitted();
            talk.fails(hinted(S));
        }
        assert_eq!(talk.held_until(), S);
        talk.wait(57 * S);
        (0..20).for_each(|_| {
            talk.held_until_admitted();
            talk.answered();
        });
    }
    assert_eq!(talk.server.snapshot(talk.now).period, None);
}

#[test]
fn promise_42_a_call_that_is_accepted_as_another_ends_shows_the_number_of_places() {
    let mut talk = Talk::answering();
    let mut running: Vec<_> = (0..16).map(|_| talk.send()).collect();
    talk.wait(S);
    talk.all_fail(5, Outcome::transient());
    talk.wait(100 * MS);
    let done = running.pop().unwrap();
    talk.end(&done, Outcome::success());
    running.push(talk.send());
    talk.wait(S);
    assert!(matches!(talk.held_by(), Some(HeldBy::Places { limit: 16, .. })), "{:?}", talk.held_by());
}

#[test]
fn promise_41_calls_that_hang_with_more_in_flight_than_went_well_leave_a_limit() {
    let mut talk = Talk::answering();
    let running: Vec<_> = (0..64).map(|_| talk.send()).collect();
    talk.wait(30 * S);
    talk.end_all(&running, Outcome::transient().mark_unanswered());
    let places = talk.server.snapshot(talk.now).places.unwrap();
    assert!(places <= 16, "{places}");
}

/// A server that is asked as often as the brakes let, one call after the other. `accepts` says which it takes, by when they
/// come.
fn asked(
    talk: &mut Talk,
    seconds: u32,
    tokens: u64,
    mut accepts: impl FnMut(Duration) -> bool,
    refusal: Outcome,
) -> (u32, u32) {
    let (start, end) = (talk.now, talk.now + seconds * S);
    let (mut answered, mut refused) = (0, 0);
    while talk.now < end {
        match talk.server.check(tokens, talk.now) {
            Decision::NotBefore(at, _) => talk.now = at.max(talk.now + MS),
            Decision::Admit => {
                let token = talk.server.admit(tokens, true, talk.now);
                let accepted = accepts(talk.now - start);
                talk.wait(20 * MS);
                if accepted {
                    answered += 1;
                    talk.end(&token, Outcome::success());
                } else {
                    refused += 1;
                    talk.end(&token, refusal);
                }
            }
            held => panic!("{held:?}"),
        }
    }
    (answered, refused)
}

/// A bucket of so many a second.
fn bucket(per_second: f64, burst: f64) -> impl FnMut(Duration) -> bool {
    let (mut level, mut filled) = (burst, Duration::ZERO);
    move |now| {
        level = (level + per_second * now.saturating_sub(filled).as_secs_f64()).min(burst);
        filled = now;
        let accepted = level >= 1.0;
        level -= if accepted { 1.0 } else { 0.0 };
        accepted
    }
}

#[test]
fn a_limit_that_fills_quickly_is_told_from_chance_by_slowing_down() {
    let mut talk = Talk::answering();
    // The hint is contradicted at once, as by chance.
    let (answered, refused) = asked(&mut talk, 60, 1, bucket(10.0, 20.0), hinted(S));
    assert!(answered >= 570, "{answered}");
    assert!(refused <= 60, "{refused}");
}

#[test]
fn promise_37_chance_holds_nobody_back_for_long_whatever_a_run_looks_like() {
    for seed in 0..20 {
        for (share, hint) in [(0.05, false), (0.1, false), (0.25, false), (0.25, true)] {
            let mut talk = Talk::answering();
            let mut random = StdRng::seed_from_u64(seed);
            let refusal = if hint { hinted(S) } else { Outcome::throttled() };
            let (answered, refused) = asked(&mut talk, 60, 1, |_| !random.random_bool(share), refusal);
            let sent = f64::from(answered + refused);
            assert!(sent > 0.5 * 60.0 * 50.0, "{share}, seed {seed}: {sent}");
        }
    }
}

#[test]
fn a_limit_of_tokens_is_paced_by_tokens() {
    let mut talk = Talk::answering();
    let refusal = Outcome::throttled().with_dimension(aplomb_core::Dimension::TOKENS);
    let mut random = StdRng::seed_from_u64(1);
    let (mut level, mut filled, start) = (20_000.0, talk.now, talk.now);
    let (mut used, mut sent, mut refused) = (0.0, 0, 0);
    let mut size = 100_u32;
    while talk.now < start + 300 * S {
        match talk.server.check(size.into(), talk.now) {
            Decision::NotBefore(at, _) => talk.now = at.max(talk.now + MS),
            Decision::Admit => {
                let token = talk.server.admit(size.into(), true, talk.now);
                level = (level + 1_000.0 * (talk.now - filled).as_secs_f64()).min(20_000.0);
                filled = talk.now;
                talk.wait(20 * MS);
                sent += 1;
                if level >= f64::from(size) {
                    level -= f64::from(size);
                    used += f64::from(size);
                    talk.end(&token, Outcome::success());
                    size = [50, 200, 4_000][random.random_range(0..3)];
                } else {
                    refused += 1;
                    talk.end(&token, refusal);
                }
            }
            held => panic!("{held:?}"),
        }
    }
    assert!(used > 0.9 * 300_000.0, "{used}");
    assert!(refused * 3 < sent, "{refused} of {sent}");
}

#[test]
fn promise_39_connections_that_are_lost_together_leave_no_limit() {
    let mut talk = Talk::answering();
    let running: Vec<_> = (0..64).map(|_| talk.send()).collect();
    talk.wait(30 * S);
    talk.end_all(&running, Outcome::transient().mark_connection_lost());
    assert_eq!(talk.server.snapshot(talk.now).places, None);
}
