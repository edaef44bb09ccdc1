//! A circuit for each key: promises 7, 29 and 32, by key.

mod drops;
mod eviction;
mod handle;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aplomb_admission::Closing;
use aplomb_circuit_breaker::{
    CircuitBreakerLayer, CircuitHandle, CircuitOpen, CircuitSettings, CircuitState, OnOpen, Trip,
};
use aplomb_core::{
    Account, BoxError, CallKey, CallOptions, CircuitCause, Event, EventKind, KeyLabel, LayerName, LogEvents,
    Outcome, Rejection, RequestView, find_in,
};
use http::{Request, Response};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt};

use crate::support::{NANOSECOND, NEARLY, SECOND, plain, response, stream};

const MILLISECOND: Duration = Duration::from_millis(1);

type Host = String;

/// Opens after one failure, for exactly 5 s.
fn brittle() -> CircuitSettings {
    CircuitSettings::new().trip(Trip::consecutive(1)).cooldown(plain())
}

fn layer() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new().settings(brittle())
}

fn host(request: &RequestView<'_>) -> Host {
    request.host().unwrap_or_default().to_owned()
}

fn by_host() -> CircuitBreakerLayer {
    layer().by_public_key(host)
}

fn state(circuits: &CircuitHandle, host: &str) -> CircuitState {
    circuits.get(&host.to_owned()).map_or(CircuitState::Closed, |circuit| circuit.state())
}

/// Answers with the status in the request's path; or panics, or hangs.
fn answers() -> impl Service<Request<()>, Response = Response<()>, Error = BoxError, Future: Send> + Clone {
    tower::service_fn(async |request: Request<()>| match request.uri().path() {
        "/panic" => panic!("in the inner call"),
        "/hang" => std::future::pending().await,
        path => Ok(Response::builder().status(&path[1..]).body(())?),
    })
}

fn get(host: &str, path: &str) -> Request<()> {
    Request::get(format!("https://{host}{path}")).body(()).unwrap()
}

fn post(tenant: &str, path: &str) -> Request<()> {
    let mut request = get("api.example.com", path);
    request.headers_mut().insert("authorization", format!("Bearer {tenant}").parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn two_hosts_do_not_share_a_circuit_and_one_hosts_calls_do() {
    let layer = by_host();
    let (circuits, mut service) = (layer.handle(), layer.layer(answers()));
    let mut other = service.clone();
    service.call(get("a.example", "/503")).await.unwrap();
    service.call(get("b.example", "/200")).await.unwrap();
    assert_eq!(state(&circuits, "a.example"), CircuitState::Open);
    assert_eq!(state(&circuits, "b.example"), CircuitState::Closed);

    let mut again = get("a.example", "/200");
    again.extensions_mut().insert(CallOptions::new().with_attempts(2, Outcome::transient()));
    let error = assert_ready_err!(task::spawn(other.call(again)).poll());
    let open = find_in::<CircuitOpen, _>(&error).unwrap();
    assert_eq!(open.key(), Some(&KeyLabel::public("a.example")));
    assert_eq!((open.retry_after(), open.cause()), (Some(5 * SECOND), CircuitCause::ConsecutiveFailures));
    assert!(open.to_string().starts_with("circuit a.example open for"), "{open}");
    let refused = find_in::<Rejection, _>(&error).unwrap();
    assert_eq!((refused.layer(), refused.attempts()), (LayerName::CircuitBreaker, 2));

    service.call(get("b.example", "/200")).await.unwrap();
    advance(5 * SECOND).await;
    service.call(get("a.example", "/200")).await.unwrap();
    assert_eq!(state(&circuits, "a.example"), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn by_account_three_refusals_open_the_circuit_of_that_credential_alone() {
    let layer = CircuitBreakerLayer::new().by_account();
    let mut service = layer.layer(answers());
    for _ in 0..3 {
        service.call(post("bad", "/401")).await.unwrap();
    }
    let error = service.call(post("bad", "/401")).await.unwrap_err();
    assert_eq!(find_in::<CircuitOpen, _>(&error).unwrap().cause(), CircuitCause::Unauthorized);
    service.call(post("good", "/200")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_secret_key_is_shown_as_a_hash() {
    let layer = layer().by_key(host);
    let mut service = layer.layer(answers());
    service.call(get("a", "/503")).await.unwrap();
    let error = service.call(get("a", "/200")).await.unwrap_err();
    assert!(error.to_string().starts_with("circuit #"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn promise_33_calls_are_parked_by_key_as_long_as_its_settings_say() {
    let layer = CircuitBreakerLayer::new().by_public_key_with(host, |key: &Host| match key.as_str() {
        "batch" => brittle().on_open(OnOpen::Park { max: 8 * SECOND }),
        _ => brittle(),
    });
    let (circuits, service) = (layer.handle(), layer.layer(answers()));
    let call = |host, path| task::spawn(service.clone().oneshot(get(host, path)));
    for host in ["batch", "live"] {
        assert_ready_ok!(call(host, "/503").poll());
    }
    assert_ready_err!(call("live", "/200").poll());
    let (mut probe, mut waits) = (call("batch", "/hang"), call("batch", "/200"));
    assert_pending!(probe.poll());
    assert_pending!(waits.poll());
    let parked = |host: &str| circuits.get(&host.to_owned()).unwrap().parked();
    assert_eq!((parked("batch"), parked("live")), (2, 0));
    circuits.set_queue_limits(|limits| limits.max_waiting(2));
    assert_ready_err!(call("batch", "/200").poll());
    // The probe hangs, and the call that waits for it reaches its longest wait.
    advance(5 * SECOND).await;
    assert_pending!(probe.poll());
    advance(2_998 * MILLISECOND).await;
    assert!(!waits.is_woken());
    advance(3 * MILLISECOND).await;
    let error = assert_ready!(waits.poll()).unwrap_err();
    let open = find_in::<CircuitOpen, _>(&error).unwrap();
    assert_eq!((open.state(), open.key()), (CircuitState::HalfOpen, Some(&KeyLabel::public("batch"))));
    assert_eq!(open.rejection().waited().as_secs(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_fail_fast_layer_refuses_by_key_and_makes_no_circuit() {
    let circuits = by_host().handle();
    let mut service = circuits.fail_fast().layer(answers());
    service.call(get("a", "/503")).await.unwrap();
    assert_eq!(circuits.keys().unwrap(), 0);
    circuits.of(&"a".to_owned()).unwrap().force_open();
    let error = assert_ready_err!(task::spawn(service.call(get("a", "/200"))).poll());
    let open = find_in::<CircuitOpen, _>(&error).unwrap();
    assert_eq!((open.key(), open.retry_after()), (Some(&KeyLabel::public("a")), Some(5 * SECOND)));
    service.call(get("b", "/200")).await.unwrap();
    let mut overridden = get("b", "/200");
    overridden.extensions_mut().insert(CallKey("a".to_owned()));
    assert_ready_err!(task::spawn(service.call(overridden)).poll());
    advance(5 * SECOND).await;
    service.call(get("a", "/200")).await.unwrap();
    assert_eq!(state(&circuits, "a"), CircuitState::HalfOpen);
}
