//! Slow calls, custom rules, any and all: promise 27.

use std::time::Duration;

use aplomb_admission::{Decision, End, Gate};
use aplomb_circuit_breaker::{
    Circuit, CircuitSettings, CircuitState, CompletedCall, Probes, Slow, Trip, Window,
};
use aplomb_core::{CircuitCause, Exchange, Kind, Outcome, Usage};
use http_body_util::BodyExt;
use tokio::time::{Instant, advance};
use tokio_test::assert_ready;

use crate::support::{SECOND, Stage, counted, layer, response, stream};

/// A call that takes `took`, and uses this many output tokens.
fn call(circuit: &mut Circuit, outcome: Outcome, took: Duration, tokens: Option<u64>, now: &mut Instant) {
    assert_eq!(circuit.check(&(), *now), Decision::Admit);
    let token = circuit.admit(&(), *now);
    *now += took;
    let usage = tokens.map(|tokens| Usage::unknown().with_output(tokens));
    circuit.end(token, End::Judged { outcome, usage }, *now);
}

#[test]
fn promise_27_a_share_of_slow_calls_whatever_they_came_to() {
    let mut now = Instant::now();
    let slow = Slow::whole(10 * SECOND);
    let mut circuit =
        Circuit::new(CircuitSettings::new().trip(Trip::slow(0.5, slow, Window::calls(10)).min_calls(4)));
    call(&mut circuit, Outcome::success(), SECOND, None, &mut now);
    // As long as allowed is not slow; a request rejected as invalid does not count.
    call(&mut circuit, Outcome::success(), 10 * SECOND, None, &mut now);
    call(&mut circuit, Outcome::permanent(), 60 * SECOND, None, &mut now);
    call(&mut circuit, Outcome::success(), 11 * SECOND, None, &mut now);
    let found = circuit.snapshot(now);
    assert_eq!(
        (found.state(), found.slow_calls().calls(), found.slow_calls().failures()),
        (CircuitState::Closed, 3, 1)
    );
    call(&mut circuit, Outcome::transient(), 11 * SECOND, None, &mut now);
    assert_eq!(circuit.state(now), CircuitState::Open);
    assert_eq!(circuit.snapshot(now).cause(), Some(CircuitCause::SlowCalls));
    // The window of failures does not count it.
    assert_eq!(circuit.snapshot(now).window().calls(), 0);
}

#[test]
fn promise_27_a_long_answer_is_not_a_slow_one() {
    let slow = Slow::whole(2 * SECOND).per_output_token(Duration::from_millis(20));
    for (tokens, state) in [
        (Some(1_000), CircuitState::Closed),
        (Some(100), CircuitState::Open),
        (None, CircuitState::Open),
        (Some(u64::MAX), CircuitState::Closed),
    ] {
        let mut now = Instant::now();
        let mut circuit = Circuit::new(CircuitSettings::new().trip(Trip::slow(1.0, slow, Window::calls(1))));
        call(&mut circuit, Outcome::success(), 20 * SECOND, tokens, &mut now);
        assert_eq!(circuit.state(now), state, "{tokens:?}");
    }
}

fn streams() -> Trip {
    Trip::slow(1.0, Slow::first_content(5 * SECOND), Window::calls(2))
}

#[tokio::test(start_paused = true)]
async fn promise_27_a_stream_is_slow_where_its_first_content_is_and_that_is_known_at_once() {
    let mut stage = Stage::new(layer().trip(streams()));
    // Quick to begin; the length of the stream does not matter.
    let (mut quick, send) = stage.sent().await;
    let (body, answer) = stream();
    send.send_response(answer);
    let mut quick = assert_ready!(quick.poll()).unwrap().into_body();
    body.send(Ok("once")).unwrap();
    assert!(quick.frame().await.unwrap().is_ok());
    advance(600 * SECOND).await;
    drop(body);
    assert!(quick.frame().await.is_none());
    let found = stage.circuit.snapshot();
    assert_eq!((found.slow_calls().calls(), found.slow_calls().failures()), (1, 0));

    let mut flowing = Vec::new();
    for slow in 1..=2 {
        assert_eq!(stage.circuit.state(), CircuitState::Closed);
        let (mut call, send) = stage.sent().await;
        let (body, answer) = stream();
        // The head alone is not content.
        send.send_response(answer);
        let mut answer = assert_ready!(call.poll()).unwrap().into_body();
        advance(6 * SECOND).await;
        body.send(Ok("at last")).unwrap();
        assert!(answer.frame().await.unwrap().is_ok());
        assert_eq!(stage.circuit.snapshot().slow_calls().failures(), slow);
        flowing.push((body, answer));
    }
    let open = stage.refused();
    assert_eq!((open.cause(), open.last()), (CircuitCause::SlowCalls, None));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_body_is_slow_by_its_head() {
    let mut stage = Stage::new(layer().trip(streams()));
    for _ in 0..2 {
        let (mut call, send) = stage.sent().await;
        advance(6 * SECOND).await;
        send.send_response(response(200));
        assert!(assert_ready!(call.poll()).is_ok());
    }
    assert_eq!(stage.refused().cause(), CircuitCause::SlowCalls);
}

#[tokio::test(start_paused = true)]
async fn the_wait_in_a_queue_outside_is_not_slowness() {
    let layer = layer().trip(streams());
    let mut stage = Stage::new(layer);
    for _ in 0..3 {
        // Made long ago, and admitted when first polled.
        let mut call = stage.call();
        advance(60 * SECOND).await;
        tokio_test::assert_pending!(call.poll());
        stage.take().await.send_response(response(200));
        assert!(assert_ready!(call.poll()).is_ok());
    }
    assert_eq!(stage.circuit.snapshot().slow_calls().failures(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_slow_has_failed() {
    let slow = streams().or(Trip::consecutive(5));
    let mut stage = Stage::half_open(layer().trip(slow.clone())).await;
    let (mut probe, send) = stage.sent().await;
    let (body, answer) = stream();
    send.send_response(answer);
    let mut answer = assert_ready!(probe.poll()).unwrap().into_body();
    advance(6 * SECOND).await;
    body.send(Ok("at last")).unwrap();
    assert!(answer.frame().await.unwrap().is_ok());
    assert_eq!(stage.refused().cause(), CircuitCause::ProbeFailed);

    // It was counted: its end does not count a second time.
    let rules = Probes::new(2).to_close(3).success_ratio(0.6);
    let mut stage = Stage::half_open(layer().trip(slow).probes(rules)).await;
    let (mut probe, send) = stage.sent().await;
    let (body, answer) = stream();
    send.send_response(answer);
    let mut answer = assert_ready!(probe.poll()).unwrap().into_body();
    advance(6 * SECOND).await;
    body.send(Ok("at last")).unwrap();
    assert!(answer.frame().await.unwrap().is_ok());
    body.send(Err(std::io::Error::other("cut"))).unwrap();
    assert!(answer.frame().await.unwrap().is_err());
    assert_eq!(stage.circuit.state(), CircuitState::HalfOpen);
    stage.answer(200).await;
    stage.answer(200).await;
    assert_eq!(stage.circuit.state(), CircuitState::Closed);
}

#[test]
fn promise_27_a_rule_of_ones_own_is_told_all_and_opens_by_its_name() {
    let throttles = Trip::rule("throttled twice", || {
        let mut row = 0;
        move |call: &CompletedCall| {
            row = if call.outcome().kind() == Kind::Throttled {
                row + 1
            } else {
                0
            };
            row == 2
        }
    });
    let mut now = Instant::now();
    let mut circuit = Circuit::new(CircuitSettings::new().trip(counted().or(throttles)));
    for outcome in [Outcome::throttled(), Outcome::success(), Outcome::throttled()] {
        call(&mut circuit, outcome, SECOND, None, &mut now);
        assert_eq!(circuit.state(now), CircuitState::Closed);
    }
    // A reset begins with a new rule.
    circuit.reset(now);
    call(&mut circuit, Outcome::throttled(), SECOND, None, &mut now);
    assert_eq!(circuit.state(now), CircuitState::Closed);
    call(&mut circuit, Outcome::throttled(), SECOND, None, &mut now);
    assert_eq!(circuit.snapshot(now).cause(), Some(CircuitCause::Rule("throttled twice")));
    assert_eq!(CircuitCause::Rule("throttled twice").to_string(), "throttled twice");
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_ones_own_sees_times_and_usage() {
    let (tell, told) = std::sync::mpsc::channel();
    let rule = Trip::rule("never", move || {
        let tell = tell.clone();
        move |call: &CompletedCall| {
            let usage = call.usage().and_then(|usage| usage.output());
            tell.send((call.outcome().kind(), call.first_content(), call.took(), usage)).unwrap();
            false
        }
    });
    let mut stage = Stage::new(layer().trip(rule));
    let (mut call, send) = stage.sent().await;
    let (body, mut answer) = stream();
    let exchange = Exchange::new(Outcome::success());
    answer.extensions_mut().insert(exchange.clone());
    send.send_response(answer);
    let mut answer = assert_ready!(call.poll()).unwrap().into_body();
    advance(2 * SECOND).await;
    body.send(Ok("one")).unwrap();
    assert!(answer.frame().await.unwrap().is_ok());
    advance(3 * SECOND).await;
    // An error inside a 200, found by a reader of its bytes.
    exchange.add_usage(Usage::unknown().with_output(7));
    exchange.set_outcome(Outcome::transient());
    drop(body);
    assert!(answer.frame().await.is_none());
    assert_eq!(told.recv().unwrap(), (Kind::Transient, Some(2 * SECOND), 5 * SECOND, Some(7)));
}

#[test]
fn promise_27_all_rules_of_several_or_any() {
    let row = || Trip::consecutive(2);
    let share = || Trip::ratio(0.5, Window::calls(4)).min_calls(4);
    let run = |trip: Trip, outcomes: &[Outcome]| {
        let mut now = Instant::now();
        let mut circuit = Circuit::new(CircuitSettings::new().trip(trip));
        for outcome in outcomes {
            call(&mut circuit, *outcome, SECOND, None, &mut now);
        }
        circuit.snapshot(now).cause()
    };
    let (good, bad) = (Outcome::success(), Outcome::transient());
    // A run of failures, but too few calls for a ratio.
    assert_eq!(run(row().and(share()), &[good, bad, bad]), None);
    assert_eq!(run(row().or(share()), &[good, bad, bad]), Some(CircuitCause::ConsecutiveFailures));
    // A ratio, but no run of failures.
    assert_eq!(run(row().and(share()), &[good, bad, good, bad]), None);
    assert_eq!(run(row().or(share()), &[good, bad, good, bad]), Some(CircuitCause::FailureRatio));
    // Both; the first one is the cause.
    assert_eq!(run(share().and(row()), &[good, good, bad, bad]), Some(CircuitCause::FailureRatio));
    assert_eq!(run(row().and(share()), &[good, good, bad, bad]), Some(CircuitCause::ConsecutiveFailures));
    // Nested.
    let nested = row().and(share()).or(Trip::consecutive(3));
    assert_eq!(run(nested.clone(), &[bad, bad]), None);
    assert_eq!(run(nested, &[bad, bad, bad]), Some(CircuitCause::ConsecutiveFailures));
}
