//! Changing settings while a circuit is in use.

use std::time::Duration;

use aplomb_circuit_breaker::{Circuit, CircuitSettings, CircuitState, CompletedCall, Slow, Trip, Window};
use aplomb_core::Outcome;
use tokio::time::Instant;

use crate::support::{SECOND, counted, plain, run};

fn fail(circuit: &mut Circuit, times: usize, now: Instant) {
    for _ in 0..times {
        run(circuit, Outcome::transient(), now);
    }
}

#[test]
fn the_same_trip_keeps_the_counts() {
    let now = Instant::now();
    let mut circuit = Circuit::new(CircuitSettings::new().trip(counted()));
    fail(&mut circuit, 4, now);
    circuit.set_settings(CircuitSettings::new().trip(counted()).cooldown(plain()), now);
    assert_eq!(circuit.snapshot(now).failures_in_a_row(), 4);
    assert_eq!(circuit.snapshot(now).window().failures(), 4);
    fail(&mut circuit, 1, now);
    assert_eq!(circuit.snapshot(now).retry_after(), Some(5 * SECOND), "of the new cooldown");
}

#[test]
fn another_trip_keeps_the_counts_that_both_have() {
    let now = Instant::now();
    let minute = Window::time(60 * SECOND);
    let slow = Slow::whole(SECOND);
    let before = Trip::ratio(0.5, Window::calls(100)).or(Trip::slow(0.5, slow, minute.clone()));
    let mut circuit = Circuit::new(CircuitSettings::new().trip(before));
    fail(&mut circuit, 3, now);

    // Another ratio over the same window, a window of another size, another definition of slow.
    let after = Trip::consecutive(5)
        .or(Trip::slow(0.5, Slow::whole(2 * SECOND), minute))
        .or(Trip::ratio(0.25, Window::calls(100)))
        .or(Trip::ratio(0.25, Window::calls(50)));
    circuit.set_settings(CircuitSettings::new().trip(after), now);
    let found = circuit.snapshot(now);
    assert_eq!((found.window().failures(), found.slow_calls().calls()), (3, 0));
    fail(&mut circuit, 2, now);
    assert_eq!(circuit.state(now), CircuitState::Open, "five failures in a row");
}

#[test]
fn a_custom_rule_goes_on_if_it_is_the_same_one() {
    let now = Instant::now();
    let third = Trip::rule("third", || {
        let mut calls = 0;
        move |_: &CompletedCall| {
            calls += 1;
            calls == 3
        }
    });
    let mut circuit = Circuit::new(CircuitSettings::new().trip(third.clone()));
    fail(&mut circuit, 2, now);
    circuit.set_settings(CircuitSettings::new().trip(third.or(Trip::consecutive(10))), now);
    fail(&mut circuit, 1, now);
    assert_eq!(circuit.state(now), CircuitState::Open);
}

#[test]
fn state_and_cooldown_stay() {
    let mut now = Instant::now();
    let mut circuit = Circuit::new(CircuitSettings::new().cooldown(plain()));
    circuit.force_open(now);
    circuit.set_settings(CircuitSettings::new().trip(Trip::consecutive(1)), now);
    now += Duration::from_millis(4_999);
    assert_eq!(circuit.state(now), CircuitState::Open);
    now += Duration::from_millis(1);
    assert_eq!(circuit.state(now), CircuitState::HalfOpen);
}
