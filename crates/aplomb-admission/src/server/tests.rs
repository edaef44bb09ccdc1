//! Each rule of the brakes, as a dialogue with a server.

use aplomb_core::Outcome;
use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// A server and a clock.
struct Talk {
    server: Server,
    now: Instant,
}

impl Talk {
    fn new() -> Self {
        Self { server: Server::new(ServerSettings::new().seed(7)), now: Instant::now() }
    }

    /// One that has answered many calls.
    fn answering() -> Self {
        let mut talk = Self::new();
        (0..2_000).for_each(|_| talk.answered());
        talk
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn check(&mut self) -> Decision<HeldBy> {
        self.server.check(self.now)
    }

    fn send(&mut self) -> ServerToken {
        assert!(self.check().is_admit(), "{:?}", self.check());
        self.server.admit(true, self.now)
    }

    fn end(&mut self, token: &ServerToken, outcome: Outcome) {
        self.server.end(token, End::Judged { outcome, usage: None }, self.now);
    }

    fn end_all(&mut self, tokens: &[ServerToken], outcome: Outcome) {
        for token in tokens {
            self.end(token, outcome);
        }
    }

    fn answered(&mut self) {
        let token = self.send();
        self.end(&token, Outcome::success());
    }

    /// A call that comes to nothing after two milliseconds.
    fn fails(&mut self, outcome: Outcome) {
        let token = self.send();
        self.wait(2 * MS);
        self.end(&token, outcome);
    }

    /// So many calls come to nothing together.
    fn all_fail(&mut self, calls: usize, outcome: Outcome) {
        let tokens: Vec<_> = (0..calls).map(|_| self.send()).collect();
        self.wait(2 * MS);
        self.end_all(&tokens, outcome);
    }

    /// Waits for the time until which a call is held back.
    fn held_until(&mut self) -> Duration {
        let Decision::NotBefore(at, _) = self.check() else {
            panic!("{:?}", self.check());
        };
        let wait = at - self.now;
        self.now = at;
        wait
    }

    fn held_by(&mut self) -> Option<HeldBy> {
        self.server.snapshot(self.now).held_by
    }
}

fn hinted(hint: Duration) -> Outcome {
    Outcome::throttled().with_retry_after(hint)
}

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
    for round in 0..500 {
        // One call of four is refused.
        let tokens: Vec<_> = (0..8).map(|_| talk.send()).collect();
        talk.wait(5 * MS);
        for (i, token) in tokens.iter().enumerate() {
            let refused = (i + round) % 4 == 0;
            talk.end(token, if refused { hinted(S) } else { Outcome::success() });
        }
    }
    let snapshot = talk.server.snapshot(talk.now);
    assert_eq!((snapshot.held_by, snapshot.rate), (None, None));
    assert!(snapshot.refused_by_chance > 0.15, "{snapshot:?}");
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
fn a_call_that_fails_alone_is_no_witness() {
    let mut talk = Talk::answering();
    for _ in 0..100 {
        let token = talk.server.admit(false, talk.now);
        talk.wait(2 * MS);
        talk.end(&token, Outcome::transient());
    }
    assert_eq!(talk.server.is_shut(), None);
    assert_eq!(talk.check(), Decision::Admit);
}

#[test]
fn an_answer_that_is_no_success_is_an_answer() {
    let mut talk = Talk::answering();
    talk.all_fail(5, Outcome::transient());
    talk.held_until();
    talk.fails(Outcome::permanent());
    assert_eq!(talk.server.is_shut(), None);
}

#[test]
fn what_happens_is_told() {
    let mut talk = Talk::answering();
    talk.all_fail(5, Outcome::transient());
    talk.held_until();
    talk.fails(Outcome::transient());
    talk.held_until();
    talk.answered();
    let events: Vec<_> = std::iter::from_fn(|| talk.server.next_event()).collect();
    let cause = ShutCause::Failures;
    assert!(matches!(events[0], ServerEvent::Shut { cause: ShutCause::Failures, .. }));
    assert_eq!(events[1], ServerEvent::Probing { cause });
    assert!(matches!(events[2], ServerEvent::StillShut { cause: ShutCause::Failures, .. }));
    assert_eq!(events[3], ServerEvent::Probing { cause });
    assert_eq!(events[4], ServerEvent::Opened { cause, by_probe: true });
    assert_eq!(events.len(), 5);
}

#[test]
fn a_server_that_rests_keeps_nothing() {
    let mut talk = Talk::answering();
    assert_eq!(talk.server.worth(talk.now), Worth::FRESH);
    talk.all_fail(5, Outcome::transient());
    assert_eq!(talk.server.worth(talk.now), Worth::HIGH);
    talk.wait(20 * 60 * S);
    assert_eq!(talk.server.worth(talk.now), Worth::FRESH);
    assert!(talk.server.trouble.is_none());
    let token = talk.send();
    assert_eq!(talk.server.worth(talk.now), Worth::IN_USE);
    talk.end(&token, Outcome::success());
}

#[test]
fn a_brake_that_is_switched_off_lets_go() {
    let mut talk = Talk::answering();
    talk.all_fail(5, Outcome::transient());
    talk.server.set_settings(ServerSettings::new().seed(7).failures(false), talk.now);
    talk.all_fail(50, Outcome::transient());
    assert_eq!(talk.check(), Decision::Admit);
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Ask,
    Take(usize),
    End(usize, u8),
    Wait(u16),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Ask),
        1 => any::<usize>().prop_map(Act::Take),
        4 => (any::<usize>(), 0_u8..10).prop_map(|(which, how)| Act::End(which, how)),
        3 => (0_u16..3_000).prop_map(Act::Wait),
    ]
}

fn ended(how: u8) -> End {
    let outcome = match how {
        0 => return End::Unsent,
        1 => return End::Abandoned,
        2 | 3 => Outcome::success(),
        4 => Outcome::throttled(),
        5 => hinted(3 * S),
        6 => Outcome::throttled().of_concurrency(),
        7 => Outcome::transient().mark_unanswered(),
        8 => Outcome::permanent(),
        _ => Outcome::transient(),
    };
    End::Judged { outcome, usage: None }
}

proptest! {
    #[test]
    fn whatever_happens_nobody_waits_for_ever(acts in prop::collection::vec(any_act(), 0..300)) {
        let (mut talk, mut running) = (Talk::new(), Vec::new());
        for act in acts {
            match act {
                Act::Ask => match talk.check() {
                    Decision::Admit => running.push(talk.server.admit(true, talk.now)),
                    Decision::NotBefore(at, _) => prop_assert!(at > talk.now),
                    Decision::WhenReleased(_) => prop_assert!(!running.is_empty()),
                    Decision::Reject(held) => prop_assert!(false, "{held:?}"),
                },
                Act::Take(which) => if let Some(which) = which.checked_rem(running.len()) {
                    talk.server.taken(&running[which], talk.now);
                },
                Act::End(which, how) => if let Some(which) = which.checked_rem(running.len()) {
                    talk.server.end(&running.swap_remove(which), ended(how), talk.now);
                },
                Act::Wait(ms) => talk.wait(u32::from(ms) * MS),
            }
            prop_assert_eq!(talk.server.memory.in_flight() as usize, running.len());
        }
        // When all have ended, the next goes after at most the longest time between two probes, or the hint.
        for token in &running {
            talk.server.end(token, End::Abandoned, talk.now);
        }
        let began = talk.now;
        while !talk.check().is_admit() {
            talk.held_until();
        }
        prop_assert!(talk.now - began < 61 * S, "{:?}", talk.now - began);
    }
}
