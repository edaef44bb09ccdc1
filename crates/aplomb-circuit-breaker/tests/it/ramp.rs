//! The way back: promise 30, and that half-open ends.

use aplomb_admission::{Decision, End, Gate};
use aplomb_circuit_breaker::{Circuit, CircuitSettings, CircuitState, OnOpen, Probes, Ramp, Trip};
use aplomb_core::{CircuitCause, Outcome};
use http_body_util::BodyExt;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready};
use tower_test::mock::SendResponse;

use crate::support::{Call, NANOSECOND, NEARLY, Res, SECOND, Stage, TICK, layer, plain, response, stream};

/// Closed a moment ago by a probe.
async fn recovered(layer: aplomb_circuit_breaker::CircuitBreakerLayer) -> Stage {
    let mut stage = Stage::half_open(layer).await;
    stage.answer(200).await;
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
    stage
}

/// The calls that pass.
async fn fill(stage: &mut Stage) -> Vec<(Call, SendResponse<Res>)> {
    let mut sent = Vec::new();
    while number(sent.len()) < stage.circuit.snapshot().ramp().unwrap() {
        sent.push(stage.sent().await);
    }
    stage.refused();
    sent
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap()
}

fn answer((mut call, send): (Call, SendResponse<Res>), status: u16) {
    send.send_response(response(status));
    assert!(assert_ready!(call.poll()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn promise_30_a_growing_share_is_let_in() {
    let mut stage = recovered(layer()).await;
    for expected in [2, 4, 8, 16, 32] {
        let sent = fill(&mut stage).await;
        assert_eq!(sent.len(), expected);
        for call in sent {
            answer(call, 200);
        }
    }
    let open = {
        let _full = fill(&mut stage).await;
        stage.refused()
    };
    assert_eq!((open.state(), open.cause()), (CircuitState::Closed, CircuitCause::ConsecutiveFailures));
    assert_eq!(open.retry_after(), Some(60 * SECOND));
    assert_eq!(open.to_string(), "circuit recovering for 5.0s: consecutive failures (transient failure)");
}

#[tokio::test(start_paused = true)]
async fn promise_30_a_failure_halves_and_a_dropped_call_makes_room() {
    let mut stage = recovered(layer().ramp(Ramp::new(1))).await;
    for _ in 0..3 {
        for call in fill(&mut stage).await {
            answer(call, 200);
        }
    }
    assert_eq!(stage.circuit.snapshot().ramp(), Some(8));
    answer(stage.sent().await, 429);
    answer(stage.sent().await, 503);
    assert_eq!(stage.circuit.snapshot().ramp(), Some(2));
    drop(fill(&mut stage).await);
    assert_eq!(fill(&mut stage).await.len(), 2);
    // Failures still open it.
    for _ in 0..4 {
        answer(stage.sent().await, 503);
    }
    assert_eq!(stage.circuit.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn promise_30_a_stream_has_been_answered_at_its_first_content() {
    let mut stage = recovered(layer().ramp(Ramp::new(1))).await;
    let (mut call, send) = stage.sent().await;
    let (body, streaming) = stream();
    send.send_response(streaming);
    let mut streaming = assert_ready!(call.poll()).unwrap().into_body();
    stage.refused();
    body.send(Ok("once")).unwrap();
    assert!(streaming.frame().await.unwrap().is_ok());
    assert_eq!(fill(&mut stage).await.len(), 2);
    // Its end makes no room for others.
    drop(body);
    assert!(streaming.frame().await.is_none());
    assert_eq!(stage.circuit.snapshot().ramp(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn promise_30_the_ramp_ends_whatever_hangs() {
    let mut stage = recovered(layer().ramp(Ramp::new(1).over(20 * SECOND))).await;
    let _hangs = fill(&mut stage).await;
    advance(19 * SECOND + NEARLY).await;
    assert_eq!(stage.refused().retry_after(), Some(NANOSECOND));
    advance(NANOSECOND).await;
    assert_eq!(stage.circuit.snapshot().ramp(), None);
    let mut all = Vec::new();
    for _ in 0..50 {
        all.push(stage.sent().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_caller_notices_no_ramp() {
    let mut stage = recovered(layer().ramp(Ramp::new(1))).await;
    for _ in 0..20 {
        stage.answer(200).await;
    }
    let mut stage = recovered(layer().ramp(Ramp::none())).await;
    assert_eq!(stage.circuit.snapshot().ramp(), None);
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(stage.sent().await);
    }
}

#[tokio::test(start_paused = true)]
async fn promise_30_parked_calls_climb_the_ramp_in_order() {
    let mut stage = Stage::new(layer().on_open(OnOpen::Park { max: 600 * SECOND }));
    stage.trip().await;
    let mut calls: Vec<_> = (0..15).map(|_| stage.call()).collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    // One tick more: a caller that was woken but is not polled is then admitted anyway.
    advance(5 * SECOND).await;
    advance(TICK).await;
    let mut waves = Vec::new();
    while !calls.is_empty() {
        let parked = stage.circuit.parked();
        let mut wave: Vec<_> = calls.drain(..calls.len() - parked).collect();
        waves.push(wave.len());
        for call in &mut wave {
            assert!(call.is_woken());
            assert_pending!(call.poll());
        }
        for mut call in wave {
            stage.take().await.send_response(response(200));
            assert!(assert_ready!(call.poll()).is_ok());
        }
    }
    // The probe, then twice as many with each round trip.
    assert_eq!(waves, [1, 2, 4, 8]);
}

#[tokio::test(start_paused = true)]
async fn promise_30_who_is_parked_before_a_ramp_on_which_all_hang_goes_when_it_ends() {
    let layer = layer().on_open(OnOpen::Park { max: 600 * SECOND }).ramp(Ramp::new(1).over(20 * SECOND));
    let mut stage = recovered(layer).await;
    let _hangs = stage.sent().await;
    let mut waits = stage.call();
    assert_pending!(waits.poll());
    advance(20 * SECOND).await;
    assert!(waits.is_woken());
    assert_pending!(waits.poll());
    stage.take().await;
}

#[tokio::test(start_paused = true)]
async fn promise_29_probing_that_is_never_answered_opens_it_again() {
    let probes = Probes::new(1).lease(10 * SECOND).patience(25 * SECOND);
    let mut stage = Stage::half_open(layer().probes(probes)).await;
    let mut hang = Vec::new();
    for _ in 0..3 {
        hang.push(stage.sent().await);
        stage.refused();
        advance(10 * SECOND).await;
    }
    let open = stage.refused();
    assert_eq!((open.cause(), open.last()), (CircuitCause::ProbesUnanswered, None));
    // Longer than the time before.
    assert_eq!(open.retry_after(), Some(10 * SECOND));
    // Their answers come too late to change anything.
    let (mut call, send) = hang.remove(0);
    send.send_response(response(200));
    assert!(assert_ready!(call.poll()).is_ok());
    assert_eq!(stage.circuit.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn promise_29_callers_that_leave_again_and_again_do_not_keep_it_half_open_for_ever() {
    let probes = Probes::new(1).lease(10 * SECOND).patience(25 * SECOND);
    let mut stage = Stage::half_open(layer().probes(probes)).await;
    for _ in 0..5 {
        drop(stage.sent().await);
        advance(5 * SECOND).await;
    }
    assert_eq!(stage.circuit.state(), CircuitState::Open);
    advance(10 * SECOND).await;
    // A call that was dropped long ago counts as nothing.
    drop(stage.sent().await);
    advance(3_600 * SECOND).await;
    assert_eq!(stage.circuit.state(), CircuitState::HalfOpen);
    stage.answer(200).await;
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
}

#[test]
fn who_is_refused_meanwhile_is_sent_back_for_about_as_long_as_an_answer_takes() {
    let mut now = Instant::now();
    let mut circuit = Circuit::new(CircuitSettings::new().trip(Trip::consecutive(1)).cooldown(plain()));
    let judged = |outcome| End::Judged { outcome, usage: None };
    let healthy = circuit.admit(&(), now);
    now += 2 * SECOND;
    circuit.end(healthy, judged(Outcome::success()), now);
    let failed = circuit.admit(&(), now);
    circuit.end(failed, judged(Outcome::transient()), now);
    now += 5 * SECOND;

    // The probe may take 30 s, the ramp 60 s; an answer usually takes two.
    assert_eq!(circuit.check(&(), now), Decision::Admit);
    let probe = circuit.admit(&(), now);
    assert_eq!(circuit.snapshot(now).retry_after(), Some(4 * SECOND));
    // Never longer than until a call is certainly admitted.
    assert_eq!(circuit.snapshot(now + 29 * SECOND).retry_after(), Some(SECOND));

    circuit.end(probe, judged(Outcome::success()), now);
    let _ramp = [circuit.admit(&(), now), circuit.admit(&(), now)];
    assert_eq!(circuit.snapshot(now).retry_after(), Some(4 * SECOND));
}
