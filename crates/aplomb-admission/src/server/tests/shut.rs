//! When nobody gets through, and when that is over.

use super::*;

#[test]
fn five_failures_in_a_row_shut_a_server_that_never_failed_and_one_answer_among_them_does_not() {
    let mut talk = Talk::answering();
    for _ in 0..4 {
        talk.fails(Outcome::transient());
    }
    talk.answered();
    for _ in 0..4 {
        talk.fails(Outcome::transient());
    }
    assert_eq!(talk.server.is_shut(), None);
    talk.fails(Outcome::transient());
    assert_eq!(talk.server.is_shut(), Some(ShutCause::Failures));
}

#[test]
fn promise_38_failures_that_end_before_answers_do_not_shut_it() {
    let mut talk = Talk::answering();
    for _ in 0..200 {
        // Of ten calls six fail at once, and four are answered a second later.
        let tokens: Vec<_> = (0..10).map(|_| talk.send()).collect();
        talk.wait(2 * MS);
        talk.end_all(&tokens[..6], Outcome::transient());
        talk.wait(S);
        talk.end_all(&tokens[6..], Outcome::success());
        assert_eq!(talk.server.is_shut(), None);
    }
}

#[test]
fn promise_39_probes_are_spaced_by_a_share_of_the_outage() {
    let mut talk = Talk::answering();
    talk.all_fail(5, Outcome::transient());
    let first = talk.held_until();
    assert!((200 * MS..=210 * MS).contains(&first), "{first:?}");
    let (began, mut probes) = (talk.now, 0);
    while talk.now - began < 600 * S {
        talk.fails(Outcome::transient());
        talk.held_until();
        probes += 1;
    }
    assert!((70..=110).contains(&probes), "{probes}");
}

#[test]
fn one_probe_at_a_time_and_its_answer_opens_it_with_a_slow_start() {
    let mut talk = Talk::answering();
    talk.all_fail(5, Outcome::transient());
    talk.held_until();
    let probe = talk.send();
    assert!(probe.is_probe());
    assert!(matches!(talk.held_by(), Some(HeldBy::Shut { probing: true, .. })));
    talk.wait(10 * MS);
    talk.server.taken(&probe, talk.now);
    assert_eq!(talk.server.is_shut(), None);
    let (_first, _second) = (talk.send(), talk.send());
    assert_eq!(talk.held_by(), Some(HeldBy::SlowStart { window: 2 }));
    // Refusals took 2 ms, so what is unanswered after 20 ms was accepted.
    assert_eq!(talk.held_until(), 20 * MS);
    let _more: Vec<_> = (0..4).map(|_| talk.send()).collect();
    assert_eq!(talk.held_by(), Some(HeldBy::SlowStart { window: 4 }));
}

#[test]
fn a_probe_that_is_unanswered_for_longer_than_a_failure_takes_opens_it() {
    let mut talk = Talk::answering();
    talk.all_fail(5, Outcome::transient());
    talk.held_until();
    let _probe = talk.send();
    assert_eq!(talk.held_until(), 20 * MS);
    talk.answered();
    assert_eq!(talk.server.is_shut(), None);
}

#[test]
fn a_probe_that_hangs_holds_up_no_other() {
    let mut talk = Talk::answering();
    let tokens: Vec<_> = (0..5).map(|_| talk.send()).collect();
    talk.wait(10 * S);
    talk.end_all(&tokens, Outcome::transient().mark_unanswered());
    talk.held_until();
    let _hangs = talk.send();
    let wait = talk.held_until();
    assert!(wait < 2 * S, "{wait:?}");
    talk.answered();
    assert_eq!(talk.server.is_shut(), None);
}

#[test]
fn a_call_that_was_sent_after_the_last_failure_and_accepted_opens_it_without_a_slow_start() {
    let mut talk = Talk::answering();
    let failing: Vec<_> = (0..5).map(|_| talk.send()).collect();
    let other = talk.send();
    talk.wait(2 * MS);
    talk.end_all(&failing, Outcome::transient());
    assert!(talk.server.is_shut().is_some());
    talk.server.taken(&other, talk.now);
    assert_eq!(talk.server.is_shut(), None);
    let _all: Vec<_> = (0..100).map(|_| talk.send()).collect();
}

#[test]
fn promise_23_three_throttles_in_a_row_pause_everybody_for_the_hint() {
    let mut talk = Talk::answering();
    talk.all_fail(3, hinted(S));
    assert_eq!(talk.server.is_shut(), Some(ShutCause::Throttles));
    assert_eq!(talk.held_until(), S);
    // Hints of less than two seconds are not tested.
    talk.fails(hinted(S));
    assert_eq!(talk.held_until(), S);
}

#[test]
fn promise_37_throttles_by_chance_pause_nobody() {
    let mut talk = Talk::answering();
    let start = talk.now;
    for round in 0..2_000 {
        // One call of four is refused. For a moment it is tried whether that is a limit.
        let tokens: Vec<_> = (0..8).map(|_| talk.send_when_admitted()).collect();
        talk.wait(5 * MS);
        for (i, token) in tokens.iter().enumerate() {
            let refused = (i + round) % 4 == 0;
            talk.end(token, if refused { hinted(S) } else { Outcome::success() });
        }
    }
    let snapshot = talk.server.snapshot(talk.now);
    assert_eq!((snapshot.held_by, snapshot.rate), (None, None));
    assert!(snapshot.refused_by_chance > 0.15, "{snapshot:?}");
    let took = talk.now - start;
    assert!(took < 11 * S, "{took:?}");
}

#[test]
fn promise_45_a_hint_is_tried_once_and_believed_if_it_is_right() {
    let mut talk = Talk::answering();
    talk.all_fail(3, hinted(16 * S));
    assert_eq!(talk.held_until(), S);
    talk.fails(hinted(15 * S));
    let second = talk.held_until();
    assert!((3 * S..5 * S).contains(&second), "a quarter of the rest: {second:?}");
    talk.fails(hinted(12 * S));
    let rest = talk.held_until();
    assert!((10 * S..=12 * S).contains(&rest), "{rest:?}");
    talk.answered();
    // Not again.
    talk.wait(10 * S);
    talk.fails(hinted(16 * S));
    assert!(talk.held_until() >= 15 * S);
}

#[test]
fn promise_45_a_hint_that_is_too_long_is_believed_once() {
    let mut talk = Talk::answering();
    talk.all_fail(3, hinted(60 * S));
    assert_eq!(talk.held_until(), 3_750 * MS);
    talk.answered();
    assert_eq!(talk.server.is_shut(), None);
    talk.wait(2 * S);
    while talk.check().is_admit() {
        talk.fails(hinted(60 * S));
    }
    assert!(talk.held_until() < 3 * S, "the hints are wrong");
}

#[test]
fn a_hint_that_is_longer_than_calls_wait_rejects_them() {
    let mut talk = Talk::answering();
    talk.all_fail(3, hinted(3 * 60 * 60 * S));
    assert!(matches!(talk.check(), Decision::Reject(HeldBy::Shut { cause: ShutCause::Throttles, .. })));
    talk.wait(60 * 60 * S);
    talk.answered();
    assert_eq!(talk.check(), Decision::Admit);
}

#[test]
fn promise_39_a_server_that_has_hung_hangs_no_more_once_a_call_fails_at_once() {
    let mut talk = Talk::answering();
    talk.fails(Outcome::transient());
    let hung = talk.send();
    talk.wait(10 * S);
    talk.end(&hung, Outcome::transient().mark_unanswered());
    talk.all_fail(8, Outcome::transient());
    talk.held_until();
    let probe = talk.send();
    assert!(probe.is_probe());
    // The answer takes long, and need not be waited for.
    let wait = talk.held_until();
    assert!(wait < S / 5, "{wait:?}");
    assert!(talk.check().is_admit());
    assert_eq!(talk.server.is_shut(), None);
}
