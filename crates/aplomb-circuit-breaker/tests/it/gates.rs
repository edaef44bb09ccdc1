//! The circuit as one of several gates behind one queue.

use std::convert::Infallible;

use aplomb_admission::{Decision, End, Gate, Queue, QueueLimits, Wait};
use aplomb_circuit_breaker::{Circuit, CircuitSettings, CircuitState, OnOpen, Trip};
use aplomb_core::{Event, Outcome};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, task};

use crate::gate_support::{Both, Either, simple};
use crate::support::{SECOND, plain};

/// Admits no call before its time.
struct NotBefore(Instant);

impl Gate for NotBefore {
    type Cost = ();
    type Token = ();
    type Reason = ();
    type Event = Infallible;

    fn check(&mut self, (): &(), now: Instant) -> Decision<()> {
        if now < self.0 {
            Decision::NotBefore(self.0, ())
        } else {
            Decision::Admit
        }
    }

    fn admit(&mut self, (): &(), _: Instant) {}

    fn end(&mut self, (): (), _: End, _: Instant) {}

    simple!();
}

fn failed() -> End {
    End::Judged { outcome: Outcome::transient(), usage: None }
}

#[tokio::test(start_paused = true)]
async fn no_probe_is_held_while_another_gate_is_waited_for() {
    let settings = CircuitSettings::new().trip(Trip::consecutive(1)).cooldown(plain());
    let circuit = Circuit::new(settings.on_open(OnOpen::Park { max: 60 * SECOND }));
    let queue = Queue::new(Both(circuit, NotBefore(Instant::now())), QueueLimits::new(), |_| ());
    let ask = || task::spawn(queue.acquire(((), ()), Wait::default()));
    let probes = || queue.with(|Both(circuit, _), now| circuit.snapshot(now).probes_in_flight());

    assert_ready!(ask().poll()).expect("closed").end(failed());
    queue.with(|Both(_, other), now| other.0 = now + 8 * SECOND);
    let mut waits = ask();
    assert_pending!(waits.poll());
    advance(5 * SECOND).await;
    assert_eq!(queue.with(|Both(circuit, _), now| circuit.state(now)), CircuitState::HalfOpen);
    assert_eq!(probes(), 0);
    advance(3 * SECOND).await;
    let permit = assert_ready!(waits.poll()).expect("both admit");
    assert_eq!(probes(), 1);

    // A call that waits for the probe goes when the probe's lease ends.
    let mut next = ask();
    assert_pending!(next.poll());
    advance(30 * SECOND).await;
    assert!(next.is_woken());
    assert!(assert_ready!(next.poll()).is_ok());
    drop(permit);
}

#[tokio::test(start_paused = true)]
async fn the_circuits_refusal_and_events_come_through() {
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noting = std::sync::Arc::clone(&told);
    let telling = move |event: &Event| noting.lock().unwrap().push(event.to_string());
    let observer = move |event: &Either<aplomb_circuit_breaker::Transition, Infallible>| {
        if let Either::First(event) = event {
            event.report(&telling, None);
        }
    };
    let circuit = Circuit::new(CircuitSettings::new().trip(Trip::consecutive(1)).cooldown(plain()));
    let queue = Queue::new(Both(circuit, NotBefore(Instant::now())), QueueLimits::new(), observer);
    let ask = || task::spawn(queue.acquire(((), ()), Wait::default()));
    assert_ready!(ask().poll()).expect("closed").end(failed());
    let rejected = assert_ready!(ask().poll()).expect_err("open");
    let Some(Either::First(reason)) = rejected.gate_reason() else {
        panic!("refused by the other gate");
    };
    assert_eq!(reason.retry_after(), Some(5 * SECOND));
    assert_eq!(told.lock().unwrap().len(), 1, "{told:?}");
}
