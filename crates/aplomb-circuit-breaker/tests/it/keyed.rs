//! A circuit for each key: promises 7, 29 and 32, by key.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aplomb_admission::Closing;
use aplomb_circuit_breaker::{
    Circuit, CircuitBreakerLayer, CircuitCause, CircuitHandle, CircuitOpen, CircuitState, OnOpen, Trip,
};
use aplomb_core::{
    Account, BoxError, CallKey, CallOptions, Event, EventKind, LayerName, Outcome, Rejection, RequestView,
    find_in,
};
use http::{Request, Response};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt};

use crate::support::{NANOSECOND, NEARLY, SECOND, plain, response, stream};

const MILLISECOND: Duration = Duration::from_millis(1);

type Host = String;

/// Opens after one failure, for exactly 5 s.
fn brittle() -> Circuit {
    Circuit::new().trip(Trip::consecutive(1)).cooldown(plain())
}

/// A circuit for each host, whose name is public.
fn layer_of(
    max_keys: usize,
    circuit_of: impl Fn(&Host) -> Circuit + Send + Sync + 'static,
) -> CircuitBreakerLayer {
    CircuitBreakerLayer::new()
        .by_key_with(host, circuit_of)
        .by_public_key(host)
        .max_keys(max_keys)
}

fn layer(max_keys: usize) -> CircuitBreakerLayer {
    layer_of(max_keys, |_| brittle())
}

fn host(request: &RequestView<'_>) -> Host {
    request.host().unwrap_or_default().to_owned()
}

fn state(circuits: &CircuitHandle, key: &str) -> CircuitState {
    circuits.get(&key.to_owned()).map_or(CircuitState::Closed, |circuit| circuit.state())
}

fn of(circuits: &CircuitHandle, key: &str) -> CircuitHandle {
    circuits.of(&key.to_owned()).unwrap()
}

/// Answers with the status in the request's path, or as its first word says.
fn answers() -> impl Service<Request<()>, Response = Response<()>, Error = BoxError, Future: Send> + Clone {
    tower::service_fn(async |request: Request<()>| match request.uri().path() {
        "/panic" => panic!("in the inner call"),
        "/hang" => std::future::pending().await,
        path => Ok(Response::builder().status(&path[1..]).body(())?),
    })
}

fn by_host(
    layer: &CircuitBreakerLayer,
) -> impl Service<Request<()>, Response = Response<()>, Error = BoxError> + Clone + use<> {
    layer.layer(answers())
}

fn get(host: &str, path: &str) -> Request<()> {
    Request::get(format!("https://{host}{path}")).body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn two_hosts_do_not_share_a_circuit_and_one_hosts_calls_do() {
    let layer = layer(10);
    let (circuits, mut service) = (layer.handle(), by_host(&layer));
    let mut other = service.clone();
    service.call(get("a.example", "/503")).await.unwrap();
    service.call(get("b.example", "/200")).await.unwrap();
    assert_eq!(state(&circuits, "a.example"), CircuitState::Open);
    assert_eq!(state(&circuits, "b.example"), CircuitState::Closed);

    let mut again = get("a.example", "/200");
    again.extensions_mut().insert(CallOptions::new().with_attempts(2, Outcome::transient()));
    let error = assert_ready_err!(task::spawn(other.call(again)).poll());
    let open = find_in::<CircuitOpen, _>(&error).unwrap();
    assert_eq!(open.key().unwrap().to_string(), "a.example");
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
async fn an_open_circuit_outlasts_its_idleness_and_any_number_of_other_keys() {
    let layer = CircuitBreakerLayer::new().trip(Trip::consecutive(1)).cooldown(plain());
    let layer = layer.by_key(|_: &RequestView<'_>| u64::MAX).max_keys(200);
    let (circuits, mut service) = (layer.handle(), layer.layer(answers()));
    let mut call = |key: u64, path| {
        let mut request = get("any", path);
        request.extensions_mut().insert(CallKey(key));
        task::spawn(service.call(request)).poll()
    };
    assert_ready_ok!(call(0, "/503"));
    let cooldown = |left| Some(left * SECOND);
    for key in 1..5_000 {
        assert_ready_ok!(call(key, "/200"));
    }
    assert!(circuits.keys().unwrap() <= 200, "{} keys", circuits.keys().unwrap());
    advance(4 * SECOND).await;
    circuits.forget_idle();
    assert_eq!(circuits.keys().unwrap(), 1, "the healthy ones are forgotten");
    let error = assert_ready_err!(call(0, "/200"));
    assert_eq!(find_in::<CircuitOpen, _>(&error).unwrap().retry_after(), cooldown(1));

    // It had opened before: that is remembered as well, while nobody uses it.
    advance(SECOND).await;
    circuits.forget_idle();
    assert_ready_ok!(call(0, "/503"));
    for key in 1..5_000 {
        assert_ready_ok!(call(key, "/200"));
    }
    let error = assert_ready_err!(call(0, "/200"));
    assert_eq!(find_in::<CircuitOpen, _>(&error).unwrap().retry_after(), cooldown(10));

    // Ten minutes after anybody wanted to know, nothing is left of it.
    advance(609 * SECOND + NEARLY).await;
    circuits.forget_idle();
    assert_eq!(circuits.keys().unwrap(), 1);
    advance(NANOSECOND).await;
    circuits.forget_idle();
    assert_eq!((circuits.keys().unwrap(), circuits.snapshot_of(&0_u64)), (0, None));
}

#[tokio::test(start_paused = true)]
async fn healthy_keys_are_forgotten_as_others_are_used_and_the_count_falls() {
    let layer = CircuitBreakerLayer::new().by_key(|_: &RequestView<'_>| 0_u64);
    let (circuits, mut service) = (layer.handle(), layer.layer(answers()));
    let mut most = 0;
    for key in 0..20_000_u64 {
        let mut request = get("any", "/200");
        request.extensions_mut().insert(CallKey(key));
        service.call(request).await.unwrap();
        most = most.max(circuits.keys().unwrap());
    }
    assert!(most < 2_000, "{most} keys at once");
    for _ in 0..20_000 {
        service.call(get("any", "/200")).await.unwrap();
    }
    assert!(circuits.keys().unwrap() < 50, "{} keys", circuits.keys().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_full_map_evicts_open_circuits_last_and_rejects_when_all_are_in_use() {
    let layer = CircuitBreakerLayer::new()
        .trip(Trip::consecutive(2))
        .cooldown(plain())
        .by_account()
        .max_keys(2);
    let (circuits, mut service) = (layer.handle(), layer.layer(answers()));
    let post = |tenant: &str, path: &str| {
        let mut request = get("api.example.com", path);
        request.headers_mut().insert("authorization", format!("Bearer {tenant}").parse().unwrap());
        request
    };
    for _ in 0..2 {
        service.call(post("open", "/503")).await.unwrap();
    }
    // Strangers with one failure each, or a credential that is refused.
    for stranger in 0..200 {
        for path in ["/503", "/401"] {
            service.call(post(&format!("{stranger}{path}"), path)).await.unwrap();
        }
    }
    let open = Account::of(&post("open", "/200"));
    assert_eq!(circuits.snapshot_of(&open).unwrap().state(), CircuitState::Open);

    let held = circuits.of(&Account::of(&post("held", "/200"))).unwrap();
    let other = circuits.of(&open).unwrap();
    let error = assert_ready_err!(task::spawn(service.call(post("sk-secret", "/200"))).poll());
    let rejection = find_in::<Rejection, _>(&error).unwrap();
    assert_eq!(rejection.layer(), LayerName::CircuitBreaker);
    assert_eq!(rejection.reason(), Some("key limit reached (all circuits in use)"));
    assert!(find_in::<CircuitOpen, _>(&error).is_none());
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    // A handle needs room as well, if there is no circuit; reading does not.
    let stranger = Account::of(&post("c", "/200"));
    assert_eq!(circuits.of(&stranger).unwrap_err().max_keys(), 2);
    assert!(circuits.get(&stranger).is_none());
    drop((held, other));
    service.call(post("sk-secret", "/200")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn promise_32_the_handle_reads_and_switches_one_key() {
    let layer = layer(10);
    let (circuits, mut service) = (layer.handle(), by_host(&layer));
    assert_eq!(state(&circuits, "a"), CircuitState::Closed);
    assert_eq!(circuits.keys(), Some(0), "looking makes no circuit");

    of(&circuits, "a").isolate();
    of(&circuits, "b").disable();
    // They hold, used or not.
    advance(3_600 * SECOND).await;
    assert_eq!(circuits.forget_idle(), 0);
    assert_ready_err!(task::spawn(service.call(get("a", "/200"))).poll());
    for _ in 0..3 {
        service.call(get("b", "/503")).await.unwrap();
    }
    let mut listed: Vec<_> = circuits
        .snapshots()
        .into_iter()
        .map(|(key, snapshot)| (key.unwrap().to_string(), snapshot.state()))
        .collect();
    listed.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(
        listed,
        [
            ("a".to_owned(), CircuitState::Isolated),
            ("b".to_owned(), CircuitState::Disabled)
        ]
    );

    let (a, b) = (of(&circuits, "a"), of(&circuits, "b"));
    b.reset();
    b.force_open();
    assert_eq!(b.snapshot().retry_after(), Some(5 * SECOND));
    // All keys at once.
    circuits.force_closed();
    service.call(get("a", "/200")).await.unwrap();
    assert_eq!(a.snapshot().window().calls(), 0, "the rule counts failures in a row");
    circuits.reset();
    drop((a, b));
    assert_eq!(circuits.forget_idle(), 2);
    assert_eq!(circuits.keys(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn promise_32_each_change_is_told_once_with_its_key_and_outside_of_locks() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let inside: Arc<OnceLock<CircuitHandle>> = Arc::default();
    let (telling, reading) = (Arc::clone(&told), Arc::clone(&inside));
    let observer = move |event: &Event| {
        let EventKind::CircuitChanged { from, to, .. } = event.kind() else {
            panic!("{event}");
        };
        let key = event.key().unwrap().to_string();
        // Any key may be looked at and switched, its own included.
        let circuits = reading.get().unwrap();
        assert_eq!(state(circuits, &key), *to);
        assert!(Some(circuits.snapshots().len()) <= circuits.keys());
        telling.lock().unwrap().push((key, *from, *to));
    };
    let layer = layer(10).observer(observer);
    inside.set(layer.handle()).unwrap();
    let mut service = by_host(&layer);
    service.call(get("a", "/503")).await.unwrap();
    service.call(get("b", "/503")).await.unwrap();
    advance(5 * SECOND).await;
    service.call(get("b", "/200")).await.unwrap();
    let expected = [
        ("a", CircuitState::Closed, CircuitState::Open),
        ("b", CircuitState::Closed, CircuitState::Open),
        ("a", CircuitState::Open, CircuitState::HalfOpen),
        ("b", CircuitState::Open, CircuitState::HalfOpen),
        ("b", CircuitState::HalfOpen, CircuitState::Closed),
    ];
    let mut told: Vec<_> = told.lock().unwrap().clone();
    // That a cooldown is over is noticed by whoever looks first, the observer included.
    told.sort_by_key(|(key, ..)| key.clone());
    let mut expected = expected.map(|(key, from, to)| (key.to_owned(), from, to));
    expected.sort_by_key(|(key, ..)| key.clone());
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn promise_29_a_call_dropped_at_any_point_is_taken_back_from_its_own_key() {
    let layer = layer(10);
    let circuits = layer.handle();
    let (peer, mut handle) = tower_test::mock::pair::<Request<()>, Response<crate::support::Pipe>>();
    let service = layer.until_body_end().layer(peer);
    let call = || task::spawn(service.clone().oneshot(get("a", "/")));
    let a = "a".to_owned();
    let as_before = |at: &str| {
        let found = circuits.snapshot_of(&a).unwrap();
        assert_eq!((found.state(), found.probes_in_flight()), (CircuitState::HalfOpen, 0), "{at}");
    };
    drop(call());
    assert_eq!(circuits.keys().unwrap(), 0, "nothing is made before it is polled");
    of(&circuits, "a").force_open();
    advance(5 * SECOND).await;
    state(&circuits, "a");

    drop(call());
    as_before("before its first poll");
    handle.allow(0);
    let mut unready = call();
    assert_pending!(unready.poll());
    assert_eq!(circuits.snapshot_of(&a).unwrap().probes_in_flight(), 1);
    assert_eq!(circuits.forget_idle(), 0, "it is in use");
    drop(unready);
    as_before("before the inner service was ready");
    handle.allow(9);
    let mut sent = call();
    assert_pending!(sent.poll());
    let _send = handle.next_request().await.unwrap();
    drop(sent);
    as_before("before its head");
    let mut answered = call();
    assert_pending!(answered.poll());
    let (_body, answer) = stream();
    handle.next_request().await.unwrap().1.send_response(answer);
    drop(assert_ready_ok!(answered.poll()));
    as_before("before its body");

    let mut probe = call();
    assert_pending!(probe.poll());
    handle.next_request().await.unwrap().1.send_response(response(200));
    assert_ready_ok!(probe.poll());
    assert_eq!(state(&circuits, "a"), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn promise_7_a_panic_in_the_inner_call_leaves_its_key_as_it_was() {
    let layer = layer(10);
    let (circuits, mut service) = (layer.handle(), by_host(&layer));
    service.call(get("a", "/503")).await.unwrap();
    advance(5 * SECOND).await;
    let mut panics = task::spawn(service.call(get("a", "/panic")));
    assert!(catch_unwind(AssertUnwindSafe(|| panics.poll())).is_err());
    drop(panics);
    let found = circuits.snapshot_of(&"a".to_owned()).unwrap();
    assert_eq!((found.state(), found.probes_in_flight()), (CircuitState::HalfOpen, 0));
    service.call(get("a", "/200")).await.unwrap();
    assert_eq!(state(&circuits, "a"), CircuitState::Closed);

    let mut panics = task::spawn(service.call(get("b", "/panic")));
    assert!(catch_unwind(AssertUnwindSafe(|| panics.poll())).is_err());
    drop(panics);
    of(&circuits, "a").reset();
    circuits.forget_idle();
    assert_eq!(circuits.keys().unwrap(), 0, "nobody is stuck");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_panics_takes_no_room() {
    let layer = layer_of(1, |key: &Host| {
        assert_ne!(*key, "a".to_owned(), "asked to");
        brittle()
    });
    let (circuits, mut service) = (layer.handle(), by_host(&layer));
    let mut panics = task::spawn(service.call(get("a", "/200")));
    assert!(catch_unwind(AssertUnwindSafe(|| panics.poll())).is_err());
    drop(panics);
    assert_eq!(circuits.keys().unwrap(), 0);
    service.call(get("b", "/200")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn promise_33_calls_are_parked_by_key_as_long_as_its_policy_says() {
    let layer = layer_of(10, |key: &Host| match key.as_str() {
        "batch" => brittle().on_open(OnOpen::Park { max: 8 * SECOND }),
        _ => brittle(),
    });
    let (circuits, service) = (layer.handle(), by_host(&layer));
    let call = |host, path| task::spawn(service.clone().oneshot(get(host, path)));
    for host in ["batch", "live"] {
        assert_ready_ok!(call(host, "/503").poll());
    }
    assert_ready_err!(call("live", "/200").poll());
    let (mut probe, mut waits) = (call("batch", "/hang"), call("batch", "/200"));
    assert_pending!(probe.poll());
    assert_pending!(waits.poll());
    assert_eq!((of(&circuits, "batch").parked(), of(&circuits, "live").parked()), (2, 0));
    circuits.set_queue_limits(|limits| limits.max_waiting(2));
    assert_ready_err!(call("batch", "/200").poll());
    // The probe hangs, and who waits for it has waited as long as it may.
    advance(5 * SECOND).await;
    assert_pending!(probe.poll());
    advance(2_998 * MILLISECOND).await;
    assert!(!waits.is_woken());
    advance(3 * MILLISECOND).await;
    let error = assert_ready!(waits.poll()).unwrap_err();
    let open = find_in::<CircuitOpen, _>(&error).unwrap();
    assert_eq!(
        (open.state(), open.key().unwrap().to_string()),
        (CircuitState::HalfOpen, "batch".to_owned())
    );
    assert_eq!(open.refused().waited().as_secs(), 8);
}

#[tokio::test(start_paused = true)]
async fn closing_holds_for_every_key_and_is_not_for_the_circuits_sake() {
    let layer = layer(10);
    let (circuits, mut service) = (layer.handle(), by_host(&layer));
    service.call(get("a", "/200")).await.unwrap();
    circuits.close(Closing::Fail);
    for host in ["a", "b"] {
        let error = service.call(get(host, "/200")).await.unwrap_err();
        assert_eq!(find_in::<Rejection, _>(&error).unwrap().layer(), LayerName::CircuitBreaker);
        assert_eq!(find_in::<Rejection, _>(&error).unwrap().reason(), Some("closed"));
        assert!(find_in::<CircuitOpen, _>(&error).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_fail_fast_layer_refuses_by_key_and_makes_no_circuit() {
    let circuits = layer(10).handle();
    let mut service = circuits.fail_fast().layer(answers());
    service.call(get("a", "/503")).await.unwrap();
    assert_eq!(circuits.keys().unwrap(), 0);
    let open = of(&circuits, "a");
    open.force_open();
    let error = assert_ready_err!(task::spawn(service.call(get("a", "/200"))).poll());
    let open = find_in::<CircuitOpen, _>(&error).unwrap();
    assert_eq!((open.key().unwrap().to_string(), open.retry_after()), ("a".to_owned(), Some(5 * SECOND)));
    service.call(get("b", "/200")).await.unwrap();
    let mut overridden = get("b", "/200");
    overridden.extensions_mut().insert(CallKey("a".to_owned()));
    assert_ready_err!(task::spawn(service.call(overridden)).poll());
    advance(5 * SECOND).await;
    service.call(get("a", "/200")).await.unwrap();
    assert_eq!(state(&circuits, "a"), CircuitState::HalfOpen);
}
