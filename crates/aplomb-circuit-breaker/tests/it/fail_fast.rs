//! A layer from the same handle, to stand outside of a queue.

use aplomb_circuit_breaker::{CircuitOpen, CircuitState, OnOpen, Probes};
use aplomb_core::{CallOptions, CircuitCause, Outcome, Rejection, find};
use http::Request;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, ServiceExt};

use crate::support::{SECOND, Stage, layer, open_in, response};

#[tokio::test(start_paused = true)]
async fn promise_33_it_refuses_at_once_what_would_wait_in_a_queue() {
    let mut stage = Stage::new(layer().on_open(OnOpen::Park { max: 60 * SECOND }));
    // One call at a time: the queue in which all calls would wait.
    let queue = tower::limit::ConcurrencyLimitLayer::new(1).layer(stage.service.clone());
    let service = stage.circuit.fail_fast().layer(queue);
    stage.trip().await;
    let mut parked = stage.call();
    assert_pending!(parked.poll());

    let mut again = Request::new(());
    again.extensions_mut().insert(CallOptions::new().with_attempts(3, Outcome::transient()));
    let error = assert_ready!(task::spawn(service.clone().oneshot(again)).poll()).unwrap_err();
    let open = open_in(&error);
    assert_eq!((open.state(), open.cause()), (CircuitState::Open, CircuitCause::ConsecutiveFailures));
    assert_eq!(open.retry_after(), Some(5 * SECOND));
    assert_eq!(find::<Rejection>(&*error).unwrap().attempts(), 3);

    // Half-open: it passes calls, takes no probe's place, and the circuit decides.
    advance(5 * SECOND).await;
    assert_pending!(parked.poll());
    let probe = stage.take().await;
    let mut passes = task::spawn(service.clone().oneshot(Request::new(())));
    assert_pending!(passes.poll());
    assert_eq!(stage.circuit.snapshot().probes_in_flight(), 1);
    probe.send_response(response(200));
    assert!(assert_ready!(parked.poll()).is_ok());
    assert_pending!(passes.poll());
    stage.take().await.send_response(response(200));
    assert!(assert_ready!(passes.poll()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn it_counts_nothing_and_takes_no_place() {
    let mut stage = Stage::half_open(layer().probes(Probes::new(1))).await;
    let (peer, mut handle) = tower_test::mock::pair::<Request<()>, http::Response<()>>();
    let service = stage.circuit.fail_fast().layer(peer);
    for status in [200, 503, 200] {
        let mut call = task::spawn(service.clone().oneshot(Request::new(())));
        assert_pending!(call.poll());
        let (_, send) = handle.next_request().await.unwrap();
        let mut answer = http::Response::new(());
        *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
        send.send_response(answer);
        assert!(assert_ready!(call.poll()).is_ok());
    }
    let found = stage.circuit.snapshot();
    assert_eq!((found.state(), found.probes_in_flight()), (CircuitState::HalfOpen, 0));
    stage.answer(200).await;
    stage.circuit.isolate();
    let error = assert_ready!(task::spawn(service.clone().oneshot(Request::new(()))).poll()).unwrap_err();
    assert!(error.is::<CircuitOpen>());
    stage.circuit.disable();
    assert_pending!(task::spawn(service.oneshot(Request::new(()))).poll());
}

#[tokio::test(start_paused = true)]
async fn promise_4_a_refusal_holds_no_readiness_of_what_is_inside() {
    let mut stage = Stage::new(layer());
    stage.trip().await;
    let limited = tower::limit::ConcurrencyLimitLayer::new(1).layer(stage.service.clone());
    let mut service = stage.circuit.fail_fast().layer(limited.clone());
    tokio_test::assert_ready_ok!(task::spawn(()).enter(|cx, _| tower::Service::poll_ready(&mut service, cx)));
    let mut limited = limited;
    // Ready, although the outer service still exists and was ready as well.
    tokio_test::assert_ready_ok!(task::spawn(()).enter(|cx, _| tower::Service::poll_ready(&mut limited, cx)));
    drop(service);
}
