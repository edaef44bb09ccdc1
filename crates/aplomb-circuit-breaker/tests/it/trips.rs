//! Opening the circuit: promises 27, 28 and 31.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb_admission::{Decision, Gate};
use aplomb_circuit_breaker::{Circuit, CircuitSettings, CircuitState, CompletedCall, Ramp, Trip, Window};
use aplomb_core::{CircuitCause, Event, EventKind, Outcome};
use tokio::time::{Instant, advance};
use tokio_test::assert_ready;

use crate::support::{SECOND, Stage, counted, layer, plain, response, run, stream};

#[tokio::test(start_paused = true)]
async fn promise_27_five_failures_in_a_row() {
    let mut stage = Stage::new(layer());
    for status in [500, 502, 503, 504, 200, 529, 408, 500, 502] {
        stage.answer(status).await;
        assert_eq!(stage.circuit.state(), CircuitState::Closed);
    }
    stage.answer(503).await;
    assert_eq!(stage.circuit.state(), CircuitState::Open);
    assert_eq!(stage.refused().cause(), CircuitCause::ConsecutiveFailures);
}

#[test]
fn promise_27_a_hundred_calls_at_half_open_within_fifty_failures_after_a_million_successes() {
    let now = Instant::now();
    let mut circuit = Circuit::new(CircuitSettings::new().trip(Trip::ratio(0.5, Window::calls(100))));
    for _ in 0..1_000_000 {
        run(&mut circuit, Outcome::success(), now);
    }
    for failure in 1..=50 {
        assert_eq!(circuit.state(now), CircuitState::Closed, "after {} failures", failure - 1);
        run(&mut circuit, Outcome::transient(), now);
    }
    assert_eq!(circuit.state(now), CircuitState::Open);
    assert_eq!(circuit.snapshot(now).cause(), Some(CircuitCause::FailureRatio));
}

#[test]
fn a_success_opens_nothing_though_a_rule_of_the_users_own_is_heard_as_well() {
    let now = Instant::now();
    let half = || Trip::ratio(0.5, Window::calls(100)).min_calls(20);
    let rule = |says| Trip::rule("rule", move || move |_: &CompletedCall| says);
    for trip in [half(), half().or(rule(false)), half().and(rule(true))] {
        let mut circuit = Circuit::new(CircuitSettings::new().trip(trip));
        // There are twenty calls, and half of them have failed.
        for outcome in [Outcome::transient(), Outcome::success()] {
            (0..10).for_each(|_| run(&mut circuit, outcome, now));
        }
        assert_eq!(circuit.state(now), CircuitState::Closed);
        run(&mut circuit, Outcome::transient(), now);
        assert_eq!(circuit.snapshot(now).cause(), Some(CircuitCause::FailureRatio));
    }
    let mut circuit = Circuit::new(CircuitSettings::new().trip(half().or(rule(true))));
    run(&mut circuit, Outcome::success(), now);
    assert_eq!(circuit.snapshot(now).cause(), Some(CircuitCause::Rule("rule")));
}

#[test]
fn promise_27_a_window_of_time_forgets() {
    let mut now = Instant::now();
    let mut circuit = Circuit::new(
        CircuitSettings::new().trip(Trip::ratio(0.5, Window::time(Duration::from_secs(10))).min_calls(4)),
    );
    for _ in 0..3 {
        run(&mut circuit, Outcome::transient(), now);
    }
    now += 10 * SECOND;
    for _ in 0..3 {
        run(&mut circuit, Outcome::transient(), now);
        assert_eq!(circuit.state(now), CircuitState::Closed);
    }
    run(&mut circuit, Outcome::transient(), now);
    assert_eq!(circuit.state(now), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn neutral_answers_neither_open_nor_heal() {
    let mut stage = Stage::new(layer());
    for _ in 0..4 {
        stage.answer(503).await;
        for status in [400, 404, 409, 413, 422, 425, 429, 401] {
            stage.answer(status).await;
        }
    }
    assert_eq!(stage.circuit.snapshot().window().calls(), 4);
    stage.answer(503).await;
    assert_eq!(stage.circuit.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn one_caller_with_a_refused_credential_does_not_open_the_circuit_for_everyone() {
    let mut stage = Stage::new(layer());
    for _ in 0..10 {
        stage.answer(401).await;
        stage.answer(403).await;
    }
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn three_refusals_of_its_only_credential_in_a_row_open_for_long() {
    let mut stage = Stage::new(layer().trip(counted().one_credential()));
    for status in [401, 403, 400, 401, 401] {
        stage.answer(status).await;
    }
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
    stage.answer(403).await;
    let open = stage.refused();
    assert_eq!((open.cause(), open.retry_after()), (CircuitCause::Unauthorized, Some(300 * SECOND)));
    // The probe is refused again: the same cooldown again.
    advance(300 * SECOND).await;
    stage.answer(401).await;
    let open = stage.refused();
    assert_eq!((open.cause(), open.retry_after()), (CircuitCause::Unauthorized, Some(300 * SECOND)));
    assert_eq!(open.since(), 300 * SECOND);
}

#[test]
fn a_refused_credential_stays_refused_whatever_else_has_failed_since() {
    let mut now = Instant::now();
    let mut circuit = Circuit::new(
        CircuitSettings::new()
            .trip(counted().one_credential())
            .cooldown(plain())
            .ramp(Ramp::none()),
    );
    for _ in 0..3 {
        run(&mut circuit, Outcome::unauthorized(), now);
    }
    for outcome in [Outcome::transient(), Outcome::unauthorized()] {
        now += 300 * SECOND;
        run(&mut circuit, outcome, now);
        assert_eq!(circuit.state(now), CircuitState::Open, "after {outcome:?}");
    }
    assert_eq!(circuit.snapshot(now).cause(), Some(CircuitCause::Unauthorized));

    // Once the credential was accepted, the next outage has another cause.
    now += 300 * SECOND;
    run(&mut circuit, Outcome::success(), now);
    for _ in 0..5 {
        run(&mut circuit, Outcome::transient(), now);
    }
    now += 60 * SECOND;
    run(&mut circuit, Outcome::unauthorized(), now);
    assert_eq!(circuit.state(now), CircuitState::Closed);
}

#[test]
fn an_exhausted_account_opens_at_once_for_long() {
    let now = Instant::now();
    for (outcome, least, most) in [
        (Outcome::exhausted(), 300, 300),
        (Outcome::exhausted().with_retry_after(40 * SECOND), 40, 45),
        (Outcome::exhausted().with_retry_after(Duration::MAX), 3_600, 3_605),
    ] {
        let mut circuit = Circuit::new(CircuitSettings::new().trip(counted()));
        run(&mut circuit, outcome, now);
        let Decision::Reject(reason) = circuit.check(&(), now) else {
            panic!("let through");
        };
        let wait = reason.retry_after().unwrap();
        assert!((least * SECOND..=most * SECOND).contains(&wait), "{wait:?}");
    }
}

#[test]
fn an_exhausted_account_is_left_alone_longer_and_longer_though_its_hint_is_tiny() {
    let start = Instant::now();
    let mut circuit = Circuit::new(CircuitSettings::new().trip(counted()).cooldown(plain()));
    let exhausted = Outcome::exhausted().with_retry_after(Duration::from_millis(1));
    let mut asked = Vec::new();
    for second in 0..100 {
        let now = start + second * SECOND;
        if circuit.check(&(), now) == Decision::Admit {
            asked.push(second);
            run(&mut circuit, exhausted, now);
        }
    }
    assert_eq!(asked, [0, 5, 15, 35, 75]);
}

#[tokio::test(start_paused = true)]
async fn promise_28_a_late_result_of_another_epoch_moves_nothing() {
    let mut stage = Stage::new(layer());
    let (mut late_success, send_success) = stage.sent().await;
    let (mut late_failure, send_failure) = stage.sent().await;
    stage.trip().await;

    // While open and half-open, a success from before does not close.
    send_success.send_response(response(200));
    assert!(assert_ready!(late_success.poll()).is_ok());
    assert_eq!(stage.circuit.state(), CircuitState::Open);
    advance(5 * SECOND).await;
    let (mut lost_probe, send_lost) = stage.sent().await;
    stage.circuit.reset();
    assert_eq!(stage.circuit.state(), CircuitState::Closed);

    // Closed again: four failures are too few, whatever arrives from before.
    for _ in 0..4 {
        stage.answer(503).await;
    }
    let epoch = stage.circuit.snapshot().epoch();
    send_failure.send_response(response(503));
    assert!(assert_ready!(late_failure.poll()).is_ok());
    send_lost.send_response(response(503));
    assert!(assert_ready!(lost_probe.poll()).is_ok());
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
    assert_eq!(stage.circuit.snapshot().epoch(), epoch);
    assert_eq!(stage.circuit.snapshot().failures_in_a_row(), 4);
}

#[tokio::test(start_paused = true)]
async fn promise_31_grows_with_each_opening_and_shrinks_after_lasting_health() {
    let mut stage = Stage::half_open(layer()).await;
    for cooldown in [10, 20, 40, 60, 60] {
        stage.answer(503).await;
        assert_eq!(stage.refused().retry_after(), Some(cooldown * SECOND));
        advance(cooldown * SECOND).await;
    }
    stage.answer(200).await;
    // Half a minute of health changes nothing.
    advance(30 * SECOND).await;
    stage.trip().await;
    assert_eq!(stage.refused().retry_after(), Some(60 * SECOND));
    advance(60 * SECOND).await;
    stage.answer(200).await;
    advance(125 * SECOND).await;
    stage.trip().await;
    assert_eq!(stage.refused().retry_after(), Some(20 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn promise_31_a_hint_lengthens_and_is_spread_upwards() {
    let hinted = || {
        let mut hinted = response(503);
        hinted.headers_mut().insert("retry-after", "30".parse().unwrap());
        hinted
    };
    let mut waits = Vec::new();
    for seed in 0..20 {
        let mut stage = Stage::new(layer().seed(seed));
        for _ in 0..5 {
            stage.answer_with(hinted()).await;
        }
        waits.push(stage.refused().retry_after().unwrap());
    }
    assert!(waits.iter().all(|wait| (30 * SECOND..=35 * SECOND).contains(wait)));
    assert!(waits.iter().max() > waits.iter().min().map(|least| *least + 2 * SECOND).as_ref());
}

#[test]
fn a_seed_repeats_itself() {
    let now = Instant::now();
    let wait = |seed: u64| {
        let mut circuit = Circuit::new(CircuitSettings::new().trip(Trip::consecutive(1)).seed(seed));
        run(&mut circuit, Outcome::transient(), now);
        circuit.snapshot(now).retry_after()
    };
    assert_eq!(wait(1), wait(1));
    assert_ne!(wait(1), wait(2));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_off_is_a_failure() {
    use http_body_util::BodyExt;
    let mut stage = Stage::new(layer().trip(Trip::consecutive(1)).cooldown(plain()));
    let (mut call, send) = stage.sent().await;
    let (body, answer) = stream();
    send.send_response(answer);
    let mut answer = assert_ready!(call.poll()).unwrap().into_body();
    body.send(Ok("to be or n")).unwrap();
    assert!(answer.frame().await.unwrap().is_ok());
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
    body.send(Err(std::io::Error::other("cut"))).unwrap();
    assert!(answer.frame().await.unwrap().is_err());
    assert_eq!(stage.circuit.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn each_change_is_told_exactly_once() {
    use CircuitState::{Closed, HalfOpen, Isolated, Open};
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let observer = move |event: &Event| {
        if let EventKind::CircuitChanged { from, to, epoch, cause, .. } = *event.kind() {
            telling.lock().unwrap().push((from, to, epoch, cause));
        }
    };
    let mut stage = Stage::half_open(layer().observer(observer)).await;
    stage.answer(500).await;
    advance(10 * SECOND).await;
    stage.answer(200).await;
    stage.answer(200).await;
    stage.circuit.isolate();
    stage.circuit.isolate();
    stage.circuit.reset();
    stage.circuit.reset();
    assert_eq!(
        *told.lock().unwrap(),
        [
            (Closed, Open, 1, CircuitCause::ConsecutiveFailures),
            (Open, HalfOpen, 2, CircuitCause::CooldownOver),
            (HalfOpen, Open, 3, CircuitCause::ProbeFailed),
            (Open, HalfOpen, 4, CircuitCause::CooldownOver),
            (HalfOpen, Closed, 5, CircuitCause::ProbeSucceeded),
            (Closed, Isolated, 6, CircuitCause::Forced),
            (Isolated, Closed, 7, CircuitCause::Reset),
        ]
    );
}
