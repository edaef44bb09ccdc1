//! Probes: promise 29, and never more of them than allowed.

use std::io;

use aplomb_circuit_breaker::{CircuitState, Probes};
use aplomb_core::CircuitCause;
use http_body_util::BodyExt;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready};

use crate::support::{NANOSECOND, NEARLY, SECOND, Stage, layer, response, stream};

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_and_its_success_closes() {
    let mut stage = Stage::half_open(layer()).await;
    let (mut probe, send) = stage.sent().await;
    let open = stage.refused();
    assert_eq!((open.state(), open.retry_after()), (CircuitState::HalfOpen, Some(30 * SECOND)));
    assert_eq!(stage.circuit.snapshot().probes_in_flight(), 1);
    send.send_response(response(200));
    assert!(assert_ready!(probe.poll()).is_ok());
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn never_more_probes_in_flight_than_allowed() {
    let mut stage = Stage::half_open(layer().probes(Probes::new(3).to_close(100))).await;
    let mut probes = Vec::new();
    for _ in 0..3 {
        probes.push(stage.sent().await);
    }
    for _ in 0..20 {
        stage.refused();
        // One ends, and one other takes its place.
        let (mut probe, send) = probes.remove(0);
        send.send_response(response(200));
        assert!(assert_ready!(probe.poll()).is_ok());
        probes.push(stage.sent().await);
        assert_eq!(stage.circuit.snapshot().probes_in_flight(), 3);
    }
    stage.refused();
}

#[tokio::test(start_paused = true)]
async fn who_answers_lives() {
    for status in [200, 400, 404, 409, 413, 422, 425, 401, 403] {
        let mut stage = Stage::half_open(layer()).await;
        stage.answer(status).await;
        assert_eq!(stage.circuit.state(), CircuitState::Closed, "{status}");
    }
    for status in [429, 500, 503, 529] {
        let mut stage = Stage::half_open(layer()).await;
        stage.answer(status).await;
        assert_eq!(stage.circuit.state(), CircuitState::Open, "{status}");
        assert_eq!(stage.refused().cause(), CircuitCause::ProbeFailed);
    }
}

#[tokio::test(start_paused = true)]
async fn several_probes_decide_together() {
    let rules = Probes::new(1).to_close(3).success_ratio(0.6);
    let mut stage = Stage::half_open(layer().probes(rules)).await;
    for (status, state) in [
        (200, CircuitState::HalfOpen),
        (503, CircuitState::HalfOpen),
        (200, CircuitState::Closed),
    ] {
        stage.answer(status).await;
        assert_eq!(stage.circuit.state(), state);
    }
    let mut stage = Stage::half_open(layer().probes(rules)).await;
    for (status, state) in [(503, CircuitState::HalfOpen), (503, CircuitState::Open)] {
        stage.answer(status).await;
        assert_eq!(stage.circuit.state(), state);
    }
}

#[tokio::test(start_paused = true)]
async fn promise_29_a_probe_that_never_reports_is_given_up_after_its_lease() {
    let mut stage = Stage::half_open(layer()).await;
    let (mut lost, send_lost) = stage.sent().await;
    advance(29 * SECOND + NEARLY).await;
    stage.refused();
    advance(NANOSECOND).await;
    let (mut next, send_next) = stage.sent().await;
    // The lost probe returns without freeing the place of the next one.
    drop(lost.poll());
    stage.refused();
    drop((lost, send_lost));
    stage.refused();
    assert_eq!(stage.circuit.snapshot().probes_in_flight(), 1);
    send_next.send_response(response(200));
    assert!(assert_ready!(next.poll()).is_ok());
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn promise_29_a_peer_slower_than_the_lease_closes_it_all_the_same() {
    let mut stage = Stage::half_open(layer()).await;
    let (mut slow, send) = stage.sent().await;
    advance(40 * SECOND).await;
    assert_eq!(stage.circuit.state(), CircuitState::HalfOpen);
    send.send_response(response(200));
    assert!(assert_ready!(slow.poll()).is_ok());
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn promise_29_a_probe_is_judged_at_its_first_content_and_its_truncation_counts_later() {
    let mut stage = Stage::half_open(layer()).await;
    let (mut probe, send) = stage.sent().await;
    let (body, answer) = stream();
    send.send_response(answer);
    let mut answer = assert_ready!(probe.poll()).unwrap().into_body();
    // The head alone decides nothing.
    assert_eq!(stage.circuit.state(), CircuitState::HalfOpen);
    stage.refused();
    body.send(Ok("data: once upon a t")).unwrap();
    assert!(answer.frame().await.unwrap().is_ok());
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
    assert_eq!(stage.circuit.snapshot().window().calls(), 0);

    body.send(Err(io::Error::other("cut"))).unwrap();
    assert!(answer.frame().await.unwrap().is_err());
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
    assert_eq!(stage.circuit.snapshot().window().failures(), 1);
}

#[tokio::test(start_paused = true)]
async fn promise_29_a_probe_that_breaks_off_while_others_are_missing_has_failed() {
    for (to_close, then) in [(2, CircuitState::Open), (3, CircuitState::HalfOpen)] {
        let rules = Probes::new(1).to_close(to_close).success_ratio(0.6);
        let mut stage = Stage::half_open(layer().probes(rules)).await;
        let (mut probe, send) = stage.sent().await;
        let (body, answer) = stream();
        send.send_response(answer);
        let mut answer = assert_ready!(probe.poll()).unwrap().into_body();
        body.send(Ok("data: once upon a t")).unwrap();
        assert!(answer.frame().await.unwrap().is_ok());
        assert_eq!(stage.circuit.state(), CircuitState::HalfOpen);
        body.send(Err(io::Error::other("cut"))).unwrap();
        assert!(answer.frame().await.unwrap().is_err());
        assert_eq!(stage.circuit.state(), then);
        if then == CircuitState::HalfOpen {
            // It counts as failed, no longer as passed: two of three must still pass.
            stage.answer(200).await;
            assert_eq!(stage.circuit.state(), CircuitState::HalfOpen);
            stage.answer(200).await;
            assert_eq!(stage.circuit.state(), CircuitState::Closed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn promise_29_half_open_ends_when_all_probes_are_lost() {
    // Every probe hangs forever, and none is dropped.
    let mut stage = Stage::half_open(layer()).await;
    let mut hung = Vec::new();
    for _ in 0..10 {
        hung.push(stage.sent().await);
        stage.refused();
        advance(30 * SECOND).await;
    }
    stage.answer(200).await;
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
    for (mut call, send) in hung {
        assert_pending!(call.poll());
        send.send_response(response(503));
        assert!(assert_ready!(call.poll()).is_ok());
    }
    assert_eq!(stage.circuit.snapshot().window().calls(), 0);
}
