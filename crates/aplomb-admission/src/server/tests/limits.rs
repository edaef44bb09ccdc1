//! The rate, the windows and the places of a server.

use super::*;

/// A bucket of 20 a second, of which five may come at once.
fn at_a_bucket(talk: &mut Talk, seconds: u32) -> (u32, u32) {
    let (mut level, mut filled, end) = (5.0_f64, talk.now, talk.now + seconds * S);
    let (mut answered, mut refused) = (0, 0);
    while talk.now < end {
        match talk.check() {
            Decision::NotBefore(at, _) => talk.now = at,
            Decision::Admit => {
                let token = talk.server.admit(true, talk.now);
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
                let token = talk.server.admit(true, talk.now);
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

#[test]
fn promise_39_connections_that_are_lost_together_leave_no_limit() {
    let mut talk = Talk::answering();
    let running: Vec<_> = (0..64).map(|_| talk.send()).collect();
    talk.wait(30 * S);
    talk.end_all(&running, Outcome::transient().mark_connection_lost());
    assert_eq!(talk.server.snapshot(talk.now).places, None);
}
