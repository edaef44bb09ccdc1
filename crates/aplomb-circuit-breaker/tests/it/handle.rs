//! Reading and switching: promise 32.

use std::sync::{Arc, Mutex, OnceLock};

use aplomb_admission::{Closing, Evictable, Worth};
use aplomb_circuit_breaker::{
    Circuit, CircuitBreakerLayer, CircuitHandle, CircuitOpen, CircuitSettings, CircuitState, OnOpen, Trip,
};
use aplomb_core::{BoxError, CircuitCause, Event, EventKind, LayerName, LogEvents, Outcome, Rejection, find};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready};

use crate::support::{SECOND, Stage, counted, layer, open_in, plain, run};

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
    // A reset forgets that it opened before.
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
        let handle = inside.get().unwrap();
        let EventKind::CircuitChanged { to, .. } = *event.kind() else {
            return;
        };
        seeing.lock().unwrap().push(to);
        assert_eq!(handle.state(), to);
        // Close the circuit as soon as it opens.
        if to == CircuitState::Open {
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
    // All at once, without a ramp.
    for call in &mut waits {
        assert!(call.is_woken());
        assert_pending!(call.poll());
        stage.take().await.send_response(crate::support::response(200));
        assert!(assert_ready!(call.poll()).is_ok());
    }
    stage.trip().await;
    // It remembers how often it has opened.
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
    // It was half-open in between; a receiver sees the latest state.
    assert_eq!(*watch.borrow_and_update(), CircuitState::Closed);
    stage.circuit.isolate();
    let late = stage.circuit.watch();
    assert_eq!(*late.borrow(), CircuitState::Isolated);
    // The channel closes with the circuit.
    drop(stage);
    assert_eq!(*watch.borrow_and_update(), CircuitState::Isolated);
    assert!(watch.changed().await.is_err());
}

#[test]
fn a_circuit_knows_what_would_be_lost_with_it() {
    let mut now = tokio::time::Instant::now();
    let settings = CircuitSettings::new().trip(Trip::consecutive(3)).cooldown(plain());
    let mut circuit = Circuit::new(settings);
    run(&mut circuit, Outcome::success(), now);
    assert_eq!(circuit.worth(now), Worth::FRESH);
    run(&mut circuit, Outcome::transient(), now);
    assert_eq!(circuit.worth(now), Worth::LOW, "anyone can cause one failure");
    run(&mut circuit, Outcome::transient(), now);
    assert_eq!(circuit.worth(now), Worth::MEDIUM);
    assert_eq!(circuit.worth(now + 600 * SECOND), Worth::FRESH);
    run(&mut circuit, Outcome::transient(), now);
    assert_eq!(circuit.worth(now), Worth::HIGH, "it is open");
    // No call for ten minutes after the cooldown.
    assert_eq!(circuit.worth(now + 604 * SECOND), Worth::HIGH);
    assert_eq!(circuit.worth(now + 605 * SECOND), Worth::FRESH);
    now += 5 * SECOND;
    run(&mut circuit, Outcome::success(), now);
    assert_eq!(circuit.state(now), CircuitState::Closed);
    // On the ramp; then with a cooldown that would be longer than the first.
    assert_eq!(circuit.worth(now + 59 * SECOND), Worth::HIGH);
    assert_eq!(circuit.worth(now + 60 * SECOND), Worth::FRESH);
    let watch = circuit.watch(now);
    assert_eq!(circuit.worth(now + 60 * SECOND), Worth::IN_USE, "it is watched");
    drop(watch);
    circuit.isolate(now);
    assert_eq!(circuit.worth(now + 3_600 * SECOND), Worth::IN_USE);
}

#[test]
fn a_circuit_that_saw_nothing_but_refused_credentials_is_worth_little() {
    let now = tokio::time::Instant::now();
    let settings = CircuitSettings::new().trip(counted().one_credential());
    let mut circuit = Circuit::new(settings);
    for state in [CircuitState::Closed, CircuitState::Closed, CircuitState::Open] {
        run(&mut circuit, Outcome::unauthorized(), now);
        assert_eq!((circuit.state(now), circuit.worth(now)), (state, Worth::LOW));
    }
}

#[tokio::test(start_paused = true)]
async fn any_operation_can_run_behind_the_circuit() {
    let circuit = layer().handle();
    let answer = circuit.run(async || Ok::<_, std::io::Error>(42)).await.unwrap();
    assert_eq!(answer, 42);
    let fail = async || Err::<(), _>(std::io::Error::other("lost"));
    for _ in 0..5 {
        let error = circuit.run(fail).await.unwrap_err();
        assert_eq!(error.to_string(), "lost");
    }
    assert!(circuit.run(fail).await.unwrap_err().is::<CircuitOpen>());
    assert!(circuit.try_acquire().unwrap_err().is::<CircuitOpen>());

    // A classifier may know better.
    circuit.reset();
    let harmless = |_: Result<&(), &std::io::Error>| Outcome::permanent();
    for _ in 0..10 {
        circuit.run_classified(&harmless, fail).await.unwrap_err();
    }
    assert_eq!((circuit.state(), circuit.snapshot().failures_in_a_row()), (CircuitState::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_by_another_layer_is_no_failure_of_what_runs_behind_the_circuit() {
    let (circuit, inner) = (layer().handle(), layer().handle());
    inner.isolate();
    for _ in 0..10 {
        let error = circuit.run(|| inner.run(async || Ok::<_, BoxError>(()))).await.unwrap_err();
        assert_eq!(open_in(&error).state(), CircuitState::Isolated);
    }
    assert_eq!(circuit.snapshot().window().calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_a_call_by_hand() {
    let circuit = layer().on_open(OnOpen::Park { max: 60 * SECOND }).handle();
    for _ in 0..5 {
        circuit.try_acquire().unwrap().end(Outcome::transient());
    }
    let open = open_in(&circuit.try_acquire().unwrap_err());
    assert_eq!((open.state(), open.retry_after()), (CircuitState::Open, Some(5 * SECOND)));
    assert_eq!(circuit.parked(), 0, "it does not wait");
    advance(5 * SECOND).await;
    let probe = circuit.try_acquire().unwrap();
    assert_eq!(open_in(&circuit.try_acquire().unwrap_err()).state(), CircuitState::HalfOpen);
    drop(probe);
    let mut probe = circuit.try_acquire().unwrap();
    probe.first_content();
    assert_eq!(circuit.state(), CircuitState::Closed);
    probe.end(Outcome::success());
}

#[tokio::test(start_paused = true)]
async fn a_handle_taken_before_the_last_setter_follows_the_layer() {
    let layer = CircuitBreakerLayer::new();
    let circuit = layer.handle();
    let mut stage = Stage::new(layer.trip(Trip::consecutive(1)));
    stage.answer(503).await;
    assert_eq!(circuit.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_setter_on_a_clone_changes_nothing_that_runs() {
    let layer = layer();
    let mut stage = Stage::new(layer.clone());
    stage.trip().await;
    let other = layer.clone().trip(Trip::consecutive(1)).handle();
    assert_eq!(other.state(), CircuitState::Closed);
    assert_eq!((layer.handle().state(), stage.circuit.state()), (CircuitState::Open, CircuitState::Open));
}

#[tokio::test(start_paused = true)]
async fn settings_can_be_changed_while_it_runs() {
    let mut stage = Stage::new(layer());
    for _ in 0..3 {
        stage.answer(503).await;
    }
    stage
        .circuit
        .set_settings(CircuitSettings::new().trip(Trip::consecutive(4)).cooldown(plain()));
    stage.answer(503).await;
    assert_eq!(stage.circuit.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn rejections_are_events() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let observer = move |event: &Event| telling.lock().unwrap().push(event.to_string());
    let stage = Stage::new(layer().observer(observer));
    stage.circuit.isolate();
    stage.refused();
    assert_eq!(told.lock().unwrap().last().unwrap(), "circuit breaker rejected call: circuit open");
}
