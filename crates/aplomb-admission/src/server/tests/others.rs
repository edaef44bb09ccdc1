//! Whose failures count, what is reported and kept, and that nobody waits for ever.

use proptest::prelude::*;

use super::*;

#[test]
fn a_call_that_fails_alone_is_no_witness() {
    let mut talk = Talk::answering();
    for _ in 0..100 {
        let token = talk.server.admit(1, false, talk.now);
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
                    Decision::Admit => running.push(talk.server.admit(1, true, talk.now)),
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
