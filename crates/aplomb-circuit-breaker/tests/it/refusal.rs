//! The error of a rejected call: promise 33, first half.

use std::error::Error;
use std::{fmt, io};

use aplomb_admission::{Decision, End, Gate};
use aplomb_circuit_breaker::{Circuit, CircuitOpen, CircuitSettings, CircuitState, Trip};
use aplomb_core::{CallOptions, CircuitCause, KeyLabel, Kind, LayerName, Outcome, Rejection, find};
use http::Request;
use tokio::time::{Instant, advance};
use tokio_test::assert_ready;

use crate::support::{SECOND, Stage, layer};

#[tokio::test(start_paused = true)]
async fn promise_33_a_refusal_is_typed_and_says_all_there_is() {
    let mut stage = Stage::new(layer());
    stage.trip().await;
    advance(2 * SECOND).await;
    let mut again = Request::new(());
    again.extensions_mut().insert(CallOptions::new().with_attempts(2, Outcome::transient()));
    let error = assert_ready!(stage.call_with(again).poll()).unwrap_err();

    let open = error.downcast_ref::<CircuitOpen>().expect("one box, with the refusal in it");
    assert_eq!(open.state(), CircuitState::Open);
    assert_eq!(open.retry_after(), Some(3 * SECOND));
    assert_eq!(open.since(), 2 * SECOND);
    assert_eq!(open.cause(), CircuitCause::ConsecutiveFailures);
    assert_eq!(open.last().map(|last| last.kind()), Some(Kind::Transient));
    assert_eq!(error.to_string(), "circuit open for 2.0s: consecutive failures (transient failure)");

    let refused = error.source().unwrap().downcast_ref::<Rejection>().unwrap();
    assert_eq!(refused, open.rejection());
    assert_eq!(refused.layer(), LayerName::CircuitBreaker);
    assert_eq!(refused.retry_after(), Some(3 * SECOND));
    assert_eq!((refused.attempts(), refused.last()), (2, Some(Outcome::transient())));
    assert!(refused.waited().is_zero());
}

#[derive(Debug)]
struct GaveUp(Box<dyn Error + Send + Sync>);

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("gave up")
    }
}

impl Error for GaveUp {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn promise_33_a_refusal_is_found_through_any_nesting() {
    let mut stage = Stage::new(layer());
    stage.trip().await;
    let error = assert_ready!(stage.call().poll()).unwrap_err();
    let nested = io::Error::other(GaveUp(Box::new(io::Error::other(GaveUp(error)))));
    assert!(find::<CircuitOpen>(&nested).is_some());
    assert!(find::<Rejection>(&nested).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_counted_by_a_breaker_outside() {
    let outer = layer();
    let inner = layer();
    let (outside, inside) = (outer.handle(), inner.handle());
    let service = tower::ServiceBuilder::new()
        .layer(outer)
        .layer(inner)
        .service(tower::service_fn(async |_: Request<()>| Ok::<_, io::Error>(http::Response::new(()))));
    inside.isolate();
    for _ in 0..20 {
        let error = tower::ServiceExt::oneshot(service.clone(), Request::new(())).await.unwrap_err();
        assert!(find::<CircuitOpen>(&*error).is_some());
    }
    assert_eq!(outside.state(), CircuitState::Closed);
    assert_eq!(outside.snapshot().window().calls(), 0);
}

#[test]
fn a_refusal_can_be_made_where_the_circuit_is_one_of_several_gates() {
    let now = Instant::now();
    let mut circuit = Circuit::new(CircuitSettings::new().trip(Trip::consecutive(1)));
    let token = circuit.admit(&(), now);
    circuit.end(token, End::Judged { outcome: Outcome::transient(), usage: None }, now);
    let Decision::Reject(reason) = circuit.check(&(), now) else {
        panic!("let through");
    };
    let open =
        CircuitOpen::new(reason, Rejection::by(LayerName::Endpoint).with_retry_after(reason.retry_after()));
    assert_eq!(open.retry_after(), circuit.snapshot(now).retry_after());

    assert_eq!(open.key(), None);
    let key = KeyLabel::public("api.example.com small-model");
    let keyed = open.with_key(Some(key.clone()));
    assert_eq!(keyed.key(), Some(&key));
    assert_eq!(
        keyed.to_string(),
        "circuit api.example.com small-model open for 0.0ns: consecutive failures (transient failure)"
    );
}
