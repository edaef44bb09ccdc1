//! Reading and switching: promise 32.

use std::sync::{Arc, Mutex, OnceLock};

use aplomb_admission::Closing;
use aplomb_circuit_breaker::{CircuitCause, CircuitHandle, CircuitState, OnOpen};
use aplomb_core::{Event, EventKind, LayerName, LogEvents, Rejection, find};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready};

use crate::support::{SECOND, Stage, layer, open_in};

#[tokio::test(start_paused = true)]
async fn promise_32_isolated_nothing_passes_until_reset() {
    let mut stage = Stage::new(layer());
    let (in_flight, _send) = stage.sent().await;
    stage.circuit.isolate();
    assert_eq!(stage.circuit.state(), CircuitState::Isolated);
    advance(3_600 * SECOND).await;
    let open = stage.refused();
    assert_eq!((open.cause(), open.retry_after()), (CircuitCause::Forced, None));
    assert_eq!(open.since(), 3_600 * SECOND);
    drop(in_flight);
    assert_eq!(stage.circuit.state(), CircuitState::Isolated);
    stage.circuit.reset();
    stage.answer(200).await;
}

#[tokio::test(start_paused = true)]
async fn promise_32_disabled_everything_passes_and_nothing_counts() {
    let mut stage = Stage::new(layer());
    stage.trip().await;
    stage.circuit.disable();
    for _ in 0..20 {
        stage.answer(503).await;
    }
    assert_eq!(stage.circuit.state(), CircuitState::Disabled);
    stage.circuit.reset();
    assert_eq!(stage.circuit.snapshot().failures_in_a_row(), 0);
    stage.trip().await;
    // A reset forgets that it had opened before.
    assert_eq!(stage.refused().retry_after(), Some(5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn promise_32_a_snapshot_says_how_it_stands() {
    let mut stage = Stage::new(layer());
    let before = stage.circuit.snapshot();
    assert_eq!((before.state(), before.epoch(), before.cause()), (CircuitState::Closed, 0, None));
    stage.answer(200).await;
    stage.answer(503).await;
    let counted = stage.circuit.snapshot();
    assert_eq!((counted.window().calls(), counted.window().failures()), (2, 1));
    assert!((counted.window().ratio() - 0.5).abs() < f64::EPSILON);
    for _ in 0..4 {
        stage.answer(503).await;
    }
    advance(2 * SECOND).await;
    let open = stage.circuit.snapshot();
    assert_eq!((open.state(), open.epoch()), (CircuitState::Open, 1));
    assert_eq!(open.cause(), Some(CircuitCause::ConsecutiveFailures));
    assert_eq!(open.retry_after(), Some(3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn promise_32_an_observer_may_use_the_handle() {
    let handle: Arc<OnceLock<CircuitHandle>> = Arc::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (inside, seeing) = (Arc::clone(&handle), Arc::clone(&seen));
    let observer = move |event: &Event| {
        let EventKind::CircuitChanged { to, .. } = event.kind() else {
            return;
        };
        let handle = inside.get().unwrap();
        seeing.lock().unwrap().push(*to);
        assert_eq!(handle.state(), *to);
        // Whatever opens this circuit closes it on the spot.
        if *to == CircuitState::Open {
            handle.reset();
        }
    };
    let mut stage = Stage::new(layer().observer((observer, LogEvents)));
    handle.set(stage.circuit.clone()).unwrap();
    for _ in 0..5 {
        stage.answer(503).await;
    }
    assert_eq!(*seen.lock().unwrap(), [CircuitState::Open, CircuitState::Closed]);
    stage.answer(200).await;
}

#[tokio::test(start_paused = true)]
async fn promise_32_switching_reaches_those_who_are_parked() {
    let mut stage = Stage::new(layer().on_open(OnOpen::Park { max: 60 * SECOND }));
    stage.trip().await;
    let mut waits = stage.call();
    assert_pending!(waits.poll());
    assert_eq!(stage.circuit.parked(), 1);
    stage.circuit.isolate();
    assert!(waits.is_woken());
    assert_eq!(open_in(&assert_ready!(waits.poll()).unwrap_err()).state(), CircuitState::Isolated);

    stage.circuit.reset();
    stage.trip().await;
    let mut waits = stage.call();
    assert_pending!(waits.poll());
    stage.circuit.disable();
    assert!(waits.is_woken());
    assert_pending!(waits.poll());
    stage.take().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_layer_refuses_and_lets_the_rest_end() {
    let mut stage = Stage::new(layer());
    let (mut running, send) = stage.sent().await;
    stage.circuit.close(Closing::Drain);
    let error = assert_ready!(stage.call().poll()).unwrap_err();
    assert_eq!(find::<Rejection>(&*error).unwrap().layer(), LayerName::CircuitBreaker);
    send.send_response(crate::support::response(200));
    assert!(assert_ready!(running.poll()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn promise_32_forced_open_it_goes_on_by_itself() {
    let mut stage = Stage::new(layer());
    stage.circuit.force_open();
    let open = stage.refused();
    assert_eq!((open.cause(), open.last()), (CircuitCause::Forced, None));
    assert_eq!(open.retry_after(), Some(5 * SECOND));
    stage.circuit.force_open();
    advance(5 * SECOND).await;
    stage.answer(200).await;
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn promise_32_forced_closed_it_counts_on() {
    let mut stage = Stage::new(layer().on_open(OnOpen::Park { max: 60 * SECOND }));
    stage.trip().await;
    let mut waits = [stage.call(), stage.call(), stage.call()];
    for call in &mut waits {
        assert_pending!(call.poll());
    }
    stage.circuit.force_closed();
    // All at once: who forces it knows better than a ramp.
    for call in &mut waits {
        assert!(call.is_woken());
        assert_pending!(call.poll());
        stage.take().await.send_response(crate::support::response(200));
        assert!(assert_ready!(call.poll()).is_ok());
    }
    stage.trip().await;
    // How often it has opened is not forgotten.
    assert_eq!(stage.circuit.snapshot().retry_after(), Some(10 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn promise_32_the_state_can_be_watched() {
    let mut stage = Stage::new(layer());
    let mut watch = stage.circuit.watch();
    assert_eq!(*watch.borrow(), CircuitState::Closed);
    stage.trip().await;
    assert!(watch.has_changed().unwrap());
    assert_eq!(*watch.borrow_and_update(), CircuitState::Open);
    advance(5 * SECOND).await;
    stage.answer(200).await;
    // Half-open was on the way; the latest is what is seen.
    assert_eq!(*watch.borrow_and_update(), CircuitState::Closed);
    stage.circuit.isolate();
    let late = stage.circuit.watch();
    assert_eq!(*late.borrow(), CircuitState::Isolated);
    // When all is gone there is nothing to watch any more.
    drop(stage);
    assert_eq!(*watch.borrow_and_update(), CircuitState::Isolated);
    assert!(watch.changed().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_circuit_says_when_it_may_be_forgotten() {
    use aplomb_admission::{Decision, End, Evictable, Gate, Worth};
    use aplomb_circuit_breaker::{Circuit, Trip};
    use aplomb_core::Outcome;
    let mut now = tokio::time::Instant::now();
    let mut circuit = Circuit::new().trip(Trip::consecutive(2)).cooldown(crate::support::plain());
    let call = |circuit: &mut Circuit, outcome, now| {
        assert_eq!(circuit.check(&(), now), Decision::Admit);
        let slip = circuit.admit(&(), now);
        circuit.end(slip, End::Judged { outcome, usage: None }, now);
    };
    call(&mut circuit, Outcome::success(), now);
    assert!(circuit.is_forgettable(now));
    call(&mut circuit, Outcome::transient(), now);
    assert!(!circuit.is_forgettable(now));
    assert!(circuit.is_forgettable(now + 600 * SECOND));
    call(&mut circuit, Outcome::transient(), now);
    assert!(!circuit.is_forgettable(now));
    // An open state is not lost; what was open long ago is none.
    assert!(circuit.worth(now + 604 * SECOND) > Worth::FRESH);
    assert!(circuit.worth(now + 605 * SECOND) == Worth::FRESH);
    now += 5 * SECOND;
    assert!(!circuit.is_forgettable(now));
    call(&mut circuit, Outcome::success(), now);
    assert_eq!(circuit.state(now), CircuitState::Closed);
    // A ramp that is climbed, then a cooldown that would be longer than the first.
    assert!(!circuit.is_forgettable(now + 59 * SECOND));
    assert!(circuit.is_forgettable(now + 60 * SECOND));
    circuit.isolate(now);
    assert!(!circuit.is_forgettable(now + 3_600 * SECOND));
}
