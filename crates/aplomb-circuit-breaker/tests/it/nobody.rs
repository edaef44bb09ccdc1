//! The default trip: a circuit that opens when nobody gets through.

use std::time::Duration;

use aplomb_admission::{Decision, End, Evictable, Gate, Worth};
use aplomb_circuit_breaker::{
    Circuit, CircuitSettings, CircuitState, CircuitToken, OnAbandoned, OnOpen, Slow, Trip, Window,
};
use aplomb_core::{CircuitCause, Outcome};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::support::{SECOND, counted, plain, run};

const MS: Duration = Duration::from_millis(1);

fn judged(outcome: Outcome) -> End {
    End::Judged { outcome, usage: None }
}

fn fail(circuit: &mut Circuit, calls: usize, now: Instant) {
    for _ in 0..calls {
        run(circuit, Outcome::transient(), now);
    }
}

/// Open for lack of any answer.
fn open(settings: CircuitSettings) -> (Circuit, Instant) {
    let now = Instant::now();
    let mut circuit = Circuit::new(settings.seed(1));
    fail(&mut circuit, 7, now);
    assert_eq!(circuit.state(now), CircuitState::Open);
    (circuit, now)
}

/// The call that may go at the earliest, and when.
fn next(circuit: &mut Circuit, mut now: Instant) -> (CircuitToken, Instant) {
    loop {
        if circuit.check(&(), now) == Decision::Admit {
            return (circuit.admit(&(), now), now);
        }
        now += 10 * MS;
    }
}

#[test]
fn it_opens_when_seven_calls_of_an_unknown_server_fail() {
    let now = Instant::now();
    let mut circuit = Circuit::new(CircuitSettings::new());
    fail(&mut circuit, 6, now);
    assert_eq!(circuit.state(now), CircuitState::Closed);
    fail(&mut circuit, 1, now);
    let found = circuit.snapshot(now);
    assert_eq!(
        (found.state(), found.cause()),
        (CircuitState::Open, Some(CircuitCause::NobodyGetsThrough))
    );
    assert_eq!(found.window().failures(), 7);
    let Decision::Reject(reason) = circuit.check(&(), now) else {
        panic!("calls are rejected")
    };
    assert!(reason.retry_after().is_some_and(|after| after <= 250 * MS), "{reason:?}");
    assert!(circuit.rejection(now).is_some());
}

#[test]
fn failures_that_are_faster_than_answers_do_not_open_it() {
    let now = Instant::now();
    let mut circuit = Circuit::new(CircuitSettings::new());
    let calls: Vec<_> = (0..64).map(|_| circuit.admit(&(), now)).collect();
    for (i, call) in calls.into_iter().enumerate() {
        let outcome = if i % 3 == 0 {
            Outcome::transient()
        } else {
            Outcome::success()
        };
        let at = if i % 3 == 0 { now + 2 * MS } else { now + SECOND };
        circuit.end(call, judged(outcome), at);
    }
    assert_eq!(circuit.state(now + SECOND), CircuitState::Closed);
}

#[test]
fn one_probe_at_a_time_goes_and_the_first_answer_closes_it() {
    let (mut circuit, now) = open(CircuitSettings::new());
    let (probe, at) = next(&mut circuit, now);
    assert!((200 * MS..=220 * MS).contains(&(at - now)), "{:?}", at - now);
    assert_eq!(circuit.state(at), CircuitState::HalfOpen);
    assert!(!circuit.check(&(), at).is_admit());
    circuit.end(probe, judged(Outcome::transient()), at);
    assert_eq!(circuit.snapshot(at).cause(), Some(CircuitCause::ProbeFailed));
    let (probe, later) = next(&mut circuit, at);
    assert!((700 * MS..=750 * MS).contains(&(later - at)), "{:?}", later - at);
    circuit.end(probe, judged(Outcome::success()), later);
    let found = circuit.snapshot(later);
    assert_eq!((found.state(), found.cause()), (CircuitState::Closed, Some(CircuitCause::ProbeSucceeded)));
}

#[test]
fn after_an_outage_calls_double_with_the_time_of_a_failure() {
    let (mut circuit, now) = open(CircuitSettings::new().on_open(OnOpen::Park { max: 60 * SECOND }));
    let (probe, now) = next(&mut circuit, now + SECOND);
    circuit.end(probe, judged(Outcome::success()), now);
    assert!(circuit.snapshot(now).ramp().is_some());
    let (mut at, mut in_flight) = (now, Vec::new());
    while in_flight.len() < 64 {
        match circuit.check(&(), at) {
            Decision::Admit => in_flight.push(circuit.admit(&(), at)),
            Decision::NotBefore(soon, _) => at = soon,
            other => panic!("{other:?}"),
        }
    }
    assert!(at - now <= SECOND, "{:?}", at - now);
}

#[test]
fn with_a_cooldown_of_its_own_it_recovers_by_that() {
    let (mut circuit, now) = open(CircuitSettings::new().cooldown(plain()));
    assert_eq!(circuit.snapshot(now).retry_after(), Some(5 * SECOND));
    let (probe, at) = next(&mut circuit, now);
    assert_eq!(at - now, 5 * SECOND);
    circuit.end(probe, judged(Outcome::success()), at);
    assert_eq!(circuit.snapshot(at).ramp(), Some(2), "the circuit's ramp");
}

#[test]
fn it_can_be_one_rule_among_others() {
    let now = Instant::now();
    let slow = Trip::slow(0.5, Slow::whole(SECOND), Window::calls(4)).min_calls(4);
    let settings = CircuitSettings::new().trip(Trip::default().or(slow));
    let (circuit, _) = open(settings.clone());
    drop(circuit);
    let mut circuit = Circuit::new(settings);
    for _ in 0..4 {
        let call = circuit.admit(&(), now);
        circuit.end(call, judged(Outcome::success()), now + 2 * SECOND);
    }
    assert_eq!(circuit.snapshot(now + 2 * SECOND).cause(), Some(CircuitCause::SlowCalls));
}

#[test]
fn joined_by_and_it_counts() {
    let now = Instant::now();
    let slow = Trip::slow(0.5, Slow::whole(SECOND), Window::calls(4)).min_calls(4);
    let mut circuit = Circuit::new(CircuitSettings::new().trip(Trip::default().and(slow)));
    fail(&mut circuit, 20, now);
    assert_eq!(circuit.state(now), CircuitState::Closed);
    for _ in 0..4 {
        let call = circuit.admit(&(), now);
        circuit.end(call, judged(Outcome::transient()), now + 2 * SECOND);
    }
    assert_eq!(circuit.state(now + 2 * SECOND), CircuitState::Open);
}

#[test]
fn calls_that_are_dropped_open_it_if_that_is_set() {
    let now = Instant::now();
    let settings = CircuitSettings::new().on_abandoned(OnAbandoned::FailureAfter(SECOND));
    for (settings, state) in [
        (CircuitSettings::new(), CircuitState::Closed),
        (settings, CircuitState::Open),
    ] {
        let mut circuit = Circuit::new(settings);
        for i in 0..7 {
            let call = circuit.admit(&(), now + i * SECOND);
            circuit.end(call, End::Abandoned, now + (i + 1) * SECOND);
        }
        assert_eq!(circuit.state(now + 8 * SECOND), state);
    }
}

#[test]
fn switched_by_hand_it_forgets() {
    let switches: [fn(&mut Circuit, Instant); 3] = [Circuit::reset, Circuit::force_closed, Circuit::disable];
    for switch in switches {
        let (mut circuit, now) = open(CircuitSettings::new());
        switch(&mut circuit, now);
        assert_eq!(circuit.check(&(), now), Decision::Admit);
        assert!(matches!(circuit.state(now), CircuitState::Closed | CircuitState::Disabled));
    }
}

#[test]
fn other_rules_take_over_an_outage() {
    let (mut circuit, now) = open(CircuitSettings::new());
    circuit.set_settings(CircuitSettings::new().trip(counted()), now);
    assert_eq!(circuit.state(now), CircuitState::Open);
    let (probe, at) = next(&mut circuit, now);
    assert_eq!(circuit.state(at), CircuitState::HalfOpen);
    circuit.set_settings(CircuitSettings::new(), at);
    circuit.end(probe, judged(Outcome::success()), at);
    assert_eq!(circuit.state(at), CircuitState::Closed);
    fail(&mut circuit, 7, at);
    assert_eq!(circuit.snapshot(at).cause(), Some(CircuitCause::NobodyGetsThrough));
}

#[test]
fn nothing_is_kept_of_a_circuit_that_rests() {
    let now = Instant::now();
    let mut circuit = Circuit::new(CircuitSettings::new());
    run(&mut circuit, Outcome::success(), now);
    assert_eq!(circuit.worth(now), Worth::FRESH);
    let (mut circuit, now) = open(CircuitSettings::new());
    assert_eq!(circuit.worth(now), Worth::HIGH);
    assert_eq!(circuit.worth(now + 601 * SECOND), Worth::FRESH);
}

proptest! {
    /// Whatever happens, calls that are in flight end, and a circuit that is asked for long enough lets somebody through.
    #[test]
    fn it_never_closes_for_good(steps in prop::collection::vec((0_u8..6, 0_u64..3_000), 1..120)) {
        let mut now = Instant::now();
        let mut circuit = Circuit::new(CircuitSettings::new().seed(1));
        let mut flying = Vec::new();
        for (what, millis) in steps {
            now += Duration::from_millis(millis);
            if circuit.check(&(), now).is_admit() {
                flying.push(circuit.admit(&(), now));
            }
            let Some(call) = (what > 0).then(|| flying.pop()).flatten() else { continue };
            circuit.end(call, match what {
                1 => End::Abandoned,
                2 => End::Unsent,
                3 => judged(Outcome::success()),
                _ => judged(Outcome::transient()),
            }, now);
            prop_assert!(circuit.snapshot(now).probes_in_flight() <= 1);
        }
        for call in flying {
            circuit.end(call, judged(Outcome::transient()), now);
        }
        let (_, at) = next(&mut circuit, now);
        prop_assert!(at - now <= 16 * SECOND);
    }
}
