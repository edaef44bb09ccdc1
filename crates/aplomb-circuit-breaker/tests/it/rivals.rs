//! Mistakes of other circuit breakers.
//!
//! Elsewhere: a count window that never slides (`promise_27_*` in `trips.rs`), a half-open state that never
//! ends (`promise_29_*` in `probes.rs` and `ramp.rs`), a stale result that moves a state (`promise_28_*`), a
//! cancelled call that counts (`drops.rs`), a rejection that does not say for how long (`refusal.rs`), a herd that is
//! admitted at once (`promise_30_*`), a clock that can jump (`promise_8_*` in `contract.rs`).

use std::io;

use aplomb_circuit_breaker::{CircuitState, Probes};
use aplomb_core::{CircuitCause, Exchange, Outcome};
use http_body_util::BodyExt;
use tokio_test::assert_ready;

use crate::support::{Stage, layer, response, stream};

/// pybreaker holds its lock during the call: calls come one after the other, and a call that hangs
/// blocks all others and the handle.
#[tokio::test(start_paused = true)]
async fn no_lock_is_held_during_a_call() {
    for half_open in [false, true] {
        let layer = layer().probes(Probes::new(50).to_close(50));
        let mut stage = if half_open {
            Stage::half_open(layer).await
        } else {
            Stage::new(layer)
        };
        let mut in_flight = Vec::new();
        for _ in 0..50 {
            in_flight.push(stage.sent().await);
            assert_eq!(stage.circuit.snapshot().epoch(), if half_open { 2 } else { 0 });
        }
        stage.circuit.isolate();
        stage.refused();
        for (mut call, send) in in_flight.into_iter().rev() {
            send.send_response(response(200));
            assert!(assert_ready!(call.poll()).is_ok());
        }
    }
}

/// pybreaker counts excluded errors as successes, which ends a run of failures.
#[tokio::test(start_paused = true)]
async fn what_is_neutral_begins_no_row_anew() {
    let mut stage = Stage::new(layer());
    for _ in 0..4 {
        stage.answer(503).await;
        stage.answer(400).await;
        drop(stage.sent().await);
    }
    stage.answer(503).await;
    assert_eq!(stage.refused().cause(), CircuitCause::ConsecutiveFailures);
}

/// pybreaker throws its own error from the call that opens it, and the peer's error is lost.
#[tokio::test(start_paused = true)]
async fn the_call_that_opens_it_gets_its_own_answer() {
    let mut stage = Stage::new(layer());
    for _ in 0..4 {
        stage.answer(503).await;
    }
    let (mut call, send) = stage.sent().await;
    send.send_response(response(529));
    assert_eq!(assert_ready!(call.poll()).unwrap().status(), 529);
    assert_eq!(stage.circuit.state(), CircuitState::Open);

    stage.circuit.reset();
    for _ in 0..4 {
        stage.answer(503).await;
    }
    let (mut call, send) = stage.sent().await;
    send.send_error(io::Error::from(io::ErrorKind::ConnectionReset));
    let error = assert_ready!(call.poll()).unwrap_err();
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    assert_eq!(kind, Some(io::ErrorKind::ConnectionReset));
    assert_eq!(stage.circuit.state(), CircuitState::Open);
}

/// All others count a stream by its head: an error event inside a 200 is a success to them.
#[tokio::test(start_paused = true)]
async fn an_error_inside_a_200_is_a_failure() {
    let mut stage = Stage::new(layer());
    for _ in 0..5 {
        assert_eq!(stage.circuit.state(), CircuitState::Closed);
        spoiled(&mut stage).await;
    }
    assert_eq!(stage.refused().cause(), CircuitCause::ConsecutiveFailures);

    // And such a probe does not pass at its first content, which is the error.
    let mut stage = Stage::half_open(layer()).await;
    spoiled(&mut stage).await;
    assert_eq!(stage.refused().cause(), CircuitCause::ProbeFailed);
}

/// A 200 whose first content is an error, as found by a reader of its bytes.
async fn spoiled(stage: &mut Stage) {
    let (mut call, send) = stage.sent().await;
    let (body, mut answer) = stream();
    let exchange = Exchange::new(Outcome::success());
    answer.extensions_mut().insert(exchange.clone());
    send.send_response(answer);
    let mut answer = assert_ready!(call.poll()).unwrap().into_body();
    exchange.set_outcome(Outcome::transient());
    body.send(Ok("event: error")).unwrap();
    assert!(answer.frame().await.unwrap().is_ok());
    drop(body);
    assert!(answer.frame().await.is_none());
}

/// Ratios, sizes and hints that make no sense.
#[tokio::test(start_paused = true)]
async fn nonsense_settings_and_hints_neither_panic_nor_wedge() {
    use aplomb_circuit_breaker::{Ramp, Trip, Window};
    use std::time::Duration;
    let layer = layer()
        .trip(
            Trip::ratio(f64::INFINITY, Window::calls(0)).or(Trip::ratio(-1.0, Window::time(Duration::ZERO))),
        )
        .cooldown(aplomb_circuit_breaker::Cooldown::default().max_hint(Duration::MAX))
        .probes(Probes::new(0).to_close(0).lease(Duration::ZERO).patience(Duration::MAX))
        .ramp(Ramp::new(u32::MAX).over(Duration::MAX));
    let mut stage = Stage::new(layer);
    let mut hinted = response(503);
    hinted
        .headers_mut()
        .insert("retry-after", "99999999999999999999999999999999999".parse().unwrap());
    stage.answer_with(hinted).await;
    for _ in 0..20 {
        assert_eq!(stage.circuit.state(), CircuitState::Open);
        stage.circuit.reset();
        stage.answer(503).await;
    }
    stage.circuit.reset();
    stage.answer(200).await;
}
