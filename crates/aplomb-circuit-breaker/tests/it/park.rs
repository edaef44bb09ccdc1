//! Calls that wait for an open circuit: promise 33, second half.

use aplomb_circuit_breaker::{CircuitState, OnOpen, Probes};
use aplomb_core::{CallOptions, Rejection, find};
use http::Request;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready};

use crate::support::{Call, SECOND, Stage, layer, open_in, response};

fn parking() -> OnOpen {
    OnOpen::Park { max: 60 * SECOND }
}

#[tokio::test(start_paused = true)]
async fn promise_33_parked_calls_go_when_the_probe_succeeds_and_the_first_of_them_is_the_probe() {
    let mut stage = Stage::new(layer().on_open(parking()));
    stage.trip().await;
    let mut calls: Vec<_> = (0..5).map(|_| stage.call()).collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    advance(5 * SECOND).await;
    let woken: Vec<_> = calls.iter().map(Call::is_woken).collect();
    assert_eq!(woken, [true, false, false, false, false]);
    assert_pending!(calls[0].poll());
    let probe = stage.take().await;
    assert_eq!(stage.circuit.state(), CircuitState::HalfOpen);
    probe.send_response(response(200));
    assert!(assert_ready!(calls[0].poll()).is_ok());
    for call in &mut calls[1..] {
        assert!(call.is_woken());
        assert_pending!(call.poll());
        stage.take().await.send_response(response(200));
        assert!(assert_ready!(call.poll()).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn promise_33_a_probe_that_fails_lets_the_others_wait_on() {
    let mut stage = Stage::new(layer().on_open(parking()));
    stage.trip().await;
    let (mut first, mut second) = (stage.call(), stage.call());
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    advance(5 * SECOND).await;
    assert_pending!(first.poll());
    stage.take().await.send_response(response(503));
    assert!(assert_ready!(first.poll()).is_ok());
    assert!(!second.is_woken());
    advance(10 * SECOND).await;
    assert!(second.is_woken());
    assert_pending!(second.poll());
    stage.take().await.send_response(response(200));
    assert!(assert_ready!(second.poll()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn promise_33_what_cannot_wait_so_long_is_refused_at_once() {
    let mut stage = Stage::new(layer().on_open(OnOpen::Park { max: 4 * SECOND }));
    stage.trip().await;
    assert_eq!(stage.refused().retry_after(), Some(5 * SECOND));

    let mut stage = Stage::new(layer().on_open(parking()));
    stage.trip().await;
    let mut hurried = Request::new(());
    hurried
        .extensions_mut()
        .insert(CallOptions::new().with_deadline(Instant::now() + 4 * SECOND));
    let error = assert_ready!(stage.call_with(hurried).poll()).unwrap_err();
    assert_eq!(open_in(&error).retry_after(), Some(5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn promise_33_the_wait_is_bounded_as_a_whole_and_said() {
    let mut stage = Stage::new(layer().on_open(OnOpen::Park { max: 8 * SECOND }));
    stage.trip().await;
    let (mut probe, mut waits) = (stage.call(), stage.call());
    assert_pending!(probe.poll());
    assert_pending!(waits.poll());
    advance(5 * SECOND).await;
    assert_pending!(probe.poll());
    stage.take().await.send_response(response(503));
    assert!(assert_ready!(probe.poll()).is_ok());
    // Ten more seconds are too long.
    assert!(waits.is_woken());
    let error = assert_ready!(waits.poll()).unwrap_err();
    assert_eq!(open_in(&error).retry_after(), Some(10 * SECOND));
    assert_eq!(find::<Rejection>(&*error).unwrap().waited(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_within_the_probes_lease_waits_for_what_the_probe_finds() {
    let mut stage = Stage::new(layer().on_open(parking()));
    stage.trip().await;
    advance(5 * SECOND).await;
    let (mut probe, send) = stage.sent().await;
    let hurried = || {
        let mut hurried = Request::new(());
        hurried
            .extensions_mut()
            .insert(CallOptions::new().with_deadline(Instant::now() + 10 * SECOND));
        hurried
    };
    let (mut served, mut late) = (stage.call_with(hurried()), stage.call_with(hurried()));
    assert_pending!(served.poll());
    advance(2 * SECOND).await;
    drop(late.poll());
    send.send_response(response(200));
    assert!(assert_ready!(probe.poll()).is_ok());
    assert!(served.is_woken());
    assert_pending!(served.poll());
    drop((served, late));

    // If the probe is not answered in time, the wait ends before the deadline: with as much time left as answers
    // take, two seconds or four.
    stage.circuit.reset();
    stage.take().await;
    stage.trip().await;
    advance(5 * SECOND).await;
    let (_probe, _send) = stage.sent().await;
    let mut late = stage.call_with(hurried());
    assert_pending!(late.poll());
    advance(6 * SECOND).await;
    assert!(late.is_woken());
    assert_eq!(open_in(&assert_ready!(late.poll()).unwrap_err()).state(), CircuitState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn who_waits_takes_the_place_of_a_lost_probe() {
    let mut stage = Stage::new(layer().on_open(OnOpen::Park { max: 600 * SECOND }).probes(Probes::new(1)));
    stage.trip().await;
    advance(5 * SECOND).await;
    let _lost = stage.sent().await;
    let mut waits = stage.call();
    assert_pending!(waits.poll());
    advance(29 * SECOND).await;
    assert!(!waits.is_woken());
    advance(SECOND).await;
    assert!(waits.is_woken());
    assert_pending!(waits.poll());
    stage.take().await.send_response(response(200));
    assert!(assert_ready!(waits.poll()).is_ok());
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_parked_than_allowed() {
    let mut stage = Stage::new(layer().on_open(parking()).max_parked(1));
    stage.trip().await;
    let mut waits = stage.call();
    assert_pending!(waits.poll());
    assert_eq!(stage.refused().retry_after(), Some(5 * SECOND));
}
