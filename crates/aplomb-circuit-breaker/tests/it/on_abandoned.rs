//! Calls that are dropped before they are answered, as by an outer timeout.

use aplomb_circuit_breaker::{CircuitBreakerLayer, CircuitState, OnAbandoned, Trip};
use aplomb_core::CircuitCause;
use http::Request;
use http_body_util::BodyExt;
use tokio::time::advance;
use tokio_test::assert_ready;
use tower::{Layer, ServiceBuilder, ServiceExt};

use crate::support::{SECOND, Stage, layer, stream};

/// A peer that hangs, behind a circuit, behind a timeout of five seconds.
async fn time_out(layer: CircuitBreakerLayer, calls: usize) -> aplomb_circuit_breaker::CircuitHandle {
    let circuit = layer.handle();
    let peer = tower::service_fn(|_: Request<()>| {
        std::future::pending::<Result<http::Response<()>, std::io::Error>>()
    });
    let service = ServiceBuilder::new()
        .layer(tower::timeout::TimeoutLayer::new(5 * SECOND))
        .service(layer.layer(peer));
    for _ in 0..calls {
        assert!(service.clone().oneshot(Request::new(())).await.is_err());
    }
    circuit
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_is_seen_where_abandoned_calls_count() {
    for (abandoned, state) in [
        (OnAbandoned::Neutral, CircuitState::Closed),
        (OnAbandoned::Failure, CircuitState::Open),
        (OnAbandoned::FailureAfter(4 * SECOND), CircuitState::Open),
        (OnAbandoned::FailureAfter(6 * SECOND), CircuitState::Closed),
    ] {
        let circuit = time_out(layer().on_abandoned(abandoned), 5).await;
        assert_eq!(circuit.state(), state, "{abandoned:?}");
        let counted = if state == CircuitState::Open { 5 } else { 0 };
        assert_eq!(circuit.snapshot().window().failures(), counted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_early_is_neutral_after_a_bound() {
    let mut stage = Stage::new(layer().on_abandoned(OnAbandoned::FailureAfter(10 * SECOND)));
    for _ in 0..20 {
        let call = stage.sent().await;
        advance(9 * SECOND).await;
        drop(call);
    }
    assert_eq!(stage.circuit.snapshot().window().calls(), 0);
    let call = stage.sent().await;
    advance(10 * SECOND).await;
    drop(call);
    assert_eq!(stage.circuit.snapshot().window().failures(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_is_never_a_failure() {
    let mut stage = Stage::new(layer().on_abandoned(OnAbandoned::Failure));
    drop(stage.call());
    stage.peer.allow(0);
    let mut unready = stage.call();
    tokio_test::assert_pending!(unready.poll());
    drop(unready);
    assert_eq!(stage.circuit.snapshot().window().calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn whose_answer_has_begun_is_not_abandoned() {
    let mut stage = Stage::new(layer().on_abandoned(OnAbandoned::Failure));
    let (mut call, send) = stage.sent().await;
    let (body, answer) = stream();
    send.send_response(answer);
    let mut answer = assert_ready!(call.poll()).unwrap().into_body();
    body.send(Ok("enough")).unwrap();
    assert!(answer.frame().await.unwrap().is_ok());
    drop(answer);
    assert_eq!(stage.circuit.snapshot().window().calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_probe_fails_where_abandoned_calls_do() {
    for (abandoned, state) in [
        (OnAbandoned::Neutral, CircuitState::HalfOpen),
        (OnAbandoned::Failure, CircuitState::Open),
    ] {
        let mut stage = Stage::half_open(layer().trip(Trip::consecutive(5)).on_abandoned(abandoned)).await;
        drop(stage.sent().await);
        assert_eq!(stage.circuit.state(), state);
        assert_eq!(stage.circuit.snapshot().probes_in_flight(), 0);
        if state == CircuitState::Open {
            assert_eq!(stage.refused().cause(), CircuitCause::ProbeFailed);
        }
    }
}
