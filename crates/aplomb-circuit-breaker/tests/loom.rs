//! Every interleaving of two threads that admit, record and drop at one circuit.
#![cfg(aplomb_loom)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use aplomb_admission::{End, Gate, Permit, Queue, QueueLimits, Wait};
use aplomb_circuit_breaker::{
    Circuit, CircuitSettings, CircuitState, Cooldown, Probes, Ramp, Transition, Trip,
};
use aplomb_core::{Event, EventKind, Exponential, Jitter, Outcome};
use loom::future::block_on;
use loom::sync::{Arc, Mutex};
use loom::thread;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn judged(outcome: Outcome) -> End {
    End::Judged { outcome, usage: None }
}

/// Opens at the second failure in a row, for 5 s exactly; one probe decides.
fn settings() -> CircuitSettings {
    CircuitSettings::new()
        .trip(Trip::consecutive(2))
        .cooldown(Cooldown::new(Exponential::new(5 * SECOND).jitter(Jitter::None)))
        .probes(Probes::new(1))
}

/// It opened 10 s ago: the first call is the probe.
fn half_open(settings: CircuitSettings) -> Circuit {
    let past = Instant::now().checked_sub(10 * SECOND).unwrap();
    let mut circuit = Circuit::new(settings);
    for _ in 0..2 {
        let token = circuit.admit(&(), past);
        circuit.end(token, judged(Outcome::transient()), past);
    }
    while circuit.next_event().is_some() {}
    circuit
}

fn queue(circuit: Circuit) -> Queue<Circuit> {
    Queue::new(circuit, QueueLimits::new(), |_| ())
}

fn ask(queue: &Queue<Circuit>) -> Option<Permit<Circuit>> {
    block_on(queue.acquire((), Wait::default())).ok().map(|mut permit| {
        permit.sent();
        permit
    })
}

#[test]
fn two_callers_of_a_half_open_circuit_are_one_probe() {
    loom::model(|| {
        let queue = queue(half_open(settings()));
        let other = {
            let queue = queue.clone();
            thread::spawn(move || ask(&queue))
        };
        let probes = [ask(&queue), other.join().unwrap()];
        assert_eq!(probes.iter().flatten().count(), 1);
        let found = queue.with(Circuit::snapshot);
        assert_eq!((found.state(), found.probes_in_flight()), (CircuitState::HalfOpen, 1));
        drop(probes);
        assert_eq!(queue.with(Circuit::snapshot).probes_in_flight(), 0);
    });
}

#[test]
fn a_probe_that_is_dropped_gives_its_place_to_who_comes_next() {
    loom::model(|| {
        let queue = queue(half_open(settings()));
        let held = ask(&queue).unwrap();
        let other = {
            let queue = queue.clone();
            thread::spawn(move || ask(&queue).map(|probe| probe.end(judged(Outcome::success()))))
        };
        drop(held);
        let state = match other.join().unwrap() {
            Some(()) => CircuitState::Closed,
            None => CircuitState::HalfOpen,
        };
        let found = queue.with(Circuit::snapshot);
        assert_eq!((found.state(), found.probes_in_flight()), (state, 0));
    });
}

#[test]
fn two_failures_at_once_open_it_once() {
    loom::model(|| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = Arc::clone(&told);
        let observer = move |change: &Transition| {
            change.report(
                &|event: &Event| {
                    if let EventKind::CircuitChanged { to, epoch, .. } = *event.kind() {
                        telling.lock().unwrap().push((to, epoch));
                    }
                },
                None,
            )
        };
        let queue = Queue::new(Circuit::new(settings()), QueueLimits::new(), observer);
        let permits = [ask(&queue).unwrap(), ask(&queue).unwrap()];
        let [here, there] = permits;
        let other = thread::spawn(move || there.end(judged(Outcome::transient())));
        here.end(judged(Outcome::transient()));
        other.join().unwrap();
        assert_eq!(queue.with(Circuit::snapshot).state(), CircuitState::Open);
        assert_eq!(*told.lock().unwrap(), [(CircuitState::Open, 1)]);
    });
}

#[test]
fn a_late_result_and_a_reset_come_in_either_order() {
    loom::model(|| {
        let queue = queue(Circuit::new(settings().trip(Trip::consecutive(1))));
        let permit = ask(&queue).unwrap();
        let other = {
            let queue = queue.clone();
            thread::spawn(move || queue.with(Circuit::reset))
        };
        permit.end(judged(Outcome::transient()));
        other.join().unwrap();
        // Counted before and forgotten, or of another epoch and not counted.
        let found = queue.with(Circuit::snapshot);
        assert_eq!((found.state(), found.failures_in_a_row()), (CircuitState::Closed, 0));
    });
}

#[test]
fn who_leaves_the_ramp_makes_room_once() {
    loom::model(|| {
        let queue = queue(half_open(settings().ramp(Ramp::new(1))));
        ask(&queue).unwrap().end(judged(Outcome::success()));
        let held = ask(&queue).unwrap();
        assert!(ask(&queue).is_none());
        let other = {
            let queue = queue.clone();
            thread::spawn(move || ask(&queue).is_some_and(|permit| permit.is_sent()))
        };
        held.end(judged(Outcome::success()));
        other.join().unwrap();
        // One was answered, so that two may go: a call that came and left leaves no trace.
        let permits = [ask(&queue), ask(&queue), ask(&queue)];
        assert_eq!(permits.iter().flatten().count(), 2);
    });
}
