//! Calls that are dropped, at every point: promises 7 and 29.

use aplomb_circuit_breaker::{CircuitBreakerLayer, CircuitState, OnOpen};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{Call, SECOND, Stage, TICK, counted, layer, plain, response, stream};

/// Still half-open, nothing was counted, and the next call is the probe.
async fn as_before(mut stage: Stage) {
    let found = stage.circuit.snapshot();
    assert_eq!((found.state(), found.probes_in_flight()), (CircuitState::HalfOpen, 0));
    stage.answer(200).await;
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn promise_29_dropped_before_its_first_poll() {
    let stage = Stage::half_open(layer()).await;
    drop(stage.call());
    as_before(stage).await;
}

#[tokio::test(start_paused = true)]
async fn promise_29_dropped_while_parked_or_let_through_unnoticed() {
    let mut stage = Stage::new(layer().on_open(OnOpen::Park { max: 60 * SECOND }));
    stage.trip().await;
    let park = |stage: &Stage| -> Call {
        let mut call = stage.call();
        assert_pending!(call.poll());
        call
    };
    drop(park(&stage));
    assert_eq!(stage.circuit.parked(), 0);
    let admitted = park(&stage);
    // One tick more: a caller that was woken but is not polled is then admitted anyway.
    advance(5 * SECOND).await;
    advance(TICK).await;
    assert_eq!(stage.circuit.snapshot().probes_in_flight(), 1);
    assert!(admitted.is_woken());
    drop(admitted);
    as_before(stage).await;
}

#[tokio::test(start_paused = true)]
async fn promise_29_dropped_while_the_inner_service_is_not_ready() {
    let mut stage = Stage::half_open(layer()).await;
    stage.peer.allow(0);
    let mut call = stage.call();
    assert_pending!(call.poll());
    assert_eq!(stage.circuit.snapshot().probes_in_flight(), 1);
    drop(call);
    stage.peer.allow(1);
    as_before(stage).await;
}

#[tokio::test(start_paused = true)]
async fn promise_29_dropped_before_its_head() {
    let mut stage = Stage::half_open(layer()).await;
    drop(stage.sent().await);
    as_before(stage).await;
}

#[tokio::test(start_paused = true)]
async fn promise_29_dropped_before_and_amid_its_body() {
    let mut stage = Stage::half_open(layer()).await;
    let (mut call, send) = stage.sent().await;
    let (_body, answer) = stream();
    send.send_response(answer);
    drop(assert_ready!(call.poll()).unwrap());
    as_before(stage).await;

    // It was judged at its first content: the circuit is closed, and dropping it counts as nothing.
    let mut stage = Stage::half_open(layer()).await;
    let (mut call, send) = stage.sent().await;
    let (body, answer) = stream();
    send.send_response(answer);
    let mut answer = assert_ready!(call.poll()).unwrap().into_body();
    body.send(Ok("data: once")).unwrap();
    assert!(answer.frame().await.unwrap().is_ok());
    drop(answer);
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
    assert_eq!(stage.circuit.snapshot().window().calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_while_closed_counts_nothing() {
    let mut stage = Stage::new(layer());
    for _ in 0..20 {
        drop(stage.call());
        drop(stage.sent().await);
    }
    assert_eq!(stage.circuit.snapshot().window().calls(), 0);
    stage.answer_with(response(200)).await;
    assert_eq!(stage.circuit.snapshot().window().calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn promise_7_a_panic_in_the_inner_call_leaves_no_stuck_probe() {
    for in_call in [true, false] {
        let layer = CircuitBreakerLayer::new().trip(counted()).cooldown(plain());
        let circuit = layer.handle();
        let service = layer.layer(service_fn(move |request: Request<&'static str>| {
            assert!(!(in_call && *request.body() == "panic"), "asked to");
            async move {
                assert_ne!(*request.body(), "panic", "asked to");
                let mut response = Response::new(());
                if *request.body() == "fail" {
                    *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                }
                Ok::<_, std::io::Error>(response)
            }
        }));
        let ask = |body| tokio::spawn(service.clone().oneshot(Request::new(body)));
        for _ in 0..5 {
            assert!(ask("fail").await.unwrap().is_ok());
        }
        advance(5 * SECOND).await;
        assert!(ask("panic").await.unwrap_err().is_panic());
        assert_eq!(circuit.snapshot().probes_in_flight(), 0);
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        assert!(ask("fine").await.unwrap().is_ok());
        assert_eq!(circuit.state(), CircuitState::Closed);
    }
}
