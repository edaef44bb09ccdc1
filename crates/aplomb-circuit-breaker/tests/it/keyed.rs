//! A circuit for each key: promises 7, 29 and 32, by key.

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
async fn an_open_circuit_outlasts_its_idleness_and_any_number_of_other_keys() {
    let layer = layer().by_key(|_: &RequestView<'_>| u64::MAX).max_keys(200);
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

    // It remembers that it opened before, even while it is unused.
    advance(SECOND).await;
    circuits.forget_idle();
    assert_ready_ok!(call(0, "/503"));
    for key in 1..5_000 {
        assert_ready_ok!(call(key, "/200"));
    }
    let error = assert_ready_err!(call(0, "/200"));
    assert_eq!(find_in::<CircuitOpen, _>(&error).unwrap().retry_after(), cooldown(10));

    // Ten minutes after the last use, it is evicted.
    advance(609 * SECOND + NEARLY).await;
    circuits.forget_idle();
    assert_eq!(circuits.keys().unwrap(), 1);
    advance(NANOSECOND).await;
    circuits.forget_idle();
    assert_eq!((circuits.keys().unwrap(), circuits.snapshot_of(&0_u64)), (0, None));
}

#[tokio::test(start_paused = true)]
async fn healthy_keys_are_forgotten_as_others_are_used_and_the_count_falls() {
    let layer = layer().by_key(|_: &RequestView<'_>| 0_u64);
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

fn post(tenant: &str, path: &str) -> Request<()> {
    let mut request = get("api.example.com", path);
    request.headers_mut().insert("authorization", format!("Bearer {tenant}").parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn a_full_map_of_isolated_keys_rejects_others_and_says_so() {
    let layer = layer().by_account().max_keys(2);
    let (circuits, mut service) = (layer.handle(), layer.layer(answers()));
    for tenant in ["a", "b"] {
        circuits.of(&Account::of(&post(tenant, "/200"))).unwrap().isolate();
    }
    let error = assert_ready_err!(task::spawn(service.call(post("sk-secret", "/200"))).poll());
    let full = find_in::<Rejection, _>(&error).unwrap();
    assert_eq!(full.layer(), LayerName::CircuitBreaker);
    assert_eq!(
        full.to_string(),
        "rejected by the circuit breaker: key limit reached (all circuits in use)"
    );
    assert!(find_in::<CircuitOpen, _>(&error).is_none());
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");

    // To make a circuit needs room as well; to look does not.
    let stranger = Account::of(&post("c", "/200"));
    assert_eq!(circuits.of(&stranger).unwrap_err().max_keys(), 2);
    assert!(circuits.get(&stranger).is_none() && circuits.snapshot_of(&stranger).is_none());
    assert_eq!(circuits.keys(), Some(2));
    // A circuit that is reset has nothing to remember: it makes room.
    circuits.get(&Account::of(&post("b", "/200"))).unwrap().reset();
    service.call(post("sk-secret", "/200")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn strangers_with_bad_credentials_do_not_evict_an_open_circuit_nor_fill_the_map() {
    let layer = CircuitBreakerLayer::new().by_account().max_keys(100);
    let (circuits, mut service) = (layer.handle(), layer.layer(answers()));
    for _ in 0..5 {
        service.call(post("down", "/503")).await.unwrap();
    }
    for stranger in 0..1_000 {
        for _ in 0..3 {
            service.call(post(&format!("stranger-{stranger}"), "/401")).await.unwrap();
        }
    }
    assert_eq!(circuits.keys(), Some(100), "their circuits are open, and yet there is room for others");
    assert!(find_in::<CircuitOpen, _>(&service.call(post("down", "/200")).await.unwrap_err()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_full_map_evicts_open_circuits_last_and_rejects_when_all_are_in_use() {
    let layer = layer().trip(Trip::consecutive(2)).by_account().max_keys(2);
    let (circuits, mut service) = (layer.handle(), layer.layer(answers()));
    for _ in 0..2 {
        service.call(post("open", "/503")).await.unwrap();
    }
    // New keys with one failure each, or a refused credential.
    for stranger in 0..200 {
        for path in ["/503", "/401"] {
            service.call(post(&format!("{stranger}{path}"), path)).await.unwrap();
        }
    }
    let open = Account::of(&post("open", "/200"));
    assert_eq!(circuits.snapshot_of(&open).unwrap().state(), CircuitState::Open);

    let held = circuits.of(&Account::of(&post("held", "/200"))).unwrap();
    let other = circuits.of(&open).unwrap();
    let error = assert_ready_err!(task::spawn(service.call(post("new", "/200"))).poll());
    assert_eq!(
        find_in::<Rejection, _>(&error).unwrap().reason(),
        Some("key limit reached (all circuits in use)")
    );
    drop((held, other));
    service.call(post("new", "/200")).await.unwrap();
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
async fn promise_32_the_handle_reads_and_switches_one_key() {
    let layer = by_host();
    let (circuits, mut service) = (layer.handle(), layer.layer(answers()));
    let (a, b) = ("a".to_owned(), "b".to_owned());
    assert!(circuits.get(&a).is_none() && circuits.snapshot_of(&a).is_none());
    assert_eq!(circuits.keys(), Some(0), "looking makes no circuit");

    circuits.of(&a).unwrap().isolate();
    circuits.of(&b).unwrap().disable();
    // These states hold, used or not.
    advance(3_600 * SECOND).await;
    assert_eq!(circuits.forget_idle(), 0);
    assert_ready_err!(task::spawn(service.call(get("a", "/200"))).poll());
    for _ in 0..3 {
        service.call(get("b", "/503")).await.unwrap();
    }
    let mut listed: Vec<_> = circuits.snapshots();
    listed.sort_by_key(|(key, _)| key.as_ref().unwrap().to_string());
    let listed: Vec<_> = listed.into_iter().map(|(key, snapshot)| (key.unwrap(), snapshot.state())).collect();
    let label = KeyLabel::public;
    assert_eq!(
        listed,
        [
            (label("a"), CircuitState::Isolated),
            (label("b"), CircuitState::Disabled)
        ]
    );

    let (of_a, of_b) = (circuits.get(&a).unwrap(), circuits.get(&b).unwrap());
    of_b.reset();
    of_b.force_open();
    assert_eq!(circuits.snapshot_of(&b).unwrap().retry_after(), Some(5 * SECOND));
    of_b.force_closed();
    of_a.force_closed();
    service.call(get("a", "/200")).await.unwrap();
    assert_eq!(of_a.snapshot().window().calls(), 0, "the rule counts failures in a row");
    of_b.reset();
    of_a.reset();
    assert_eq!(circuits.forget_idle(), 0, "there are handles on them");
    drop((of_a, of_b));
    assert_eq!(circuits.forget_idle(), 2);
    assert_eq!(circuits.keys(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn the_circuit_of_one_key_can_be_watched() {
    let layer = by_host();
    let (circuits, mut service) = (layer.handle(), layer.layer(answers()));
    let mut watch = circuits.of(&"a".to_owned()).unwrap().watch();
    service.call(get("b", "/503")).await.unwrap();
    assert!(!watch.has_changed().unwrap());
    service.call(get("a", "/503")).await.unwrap();
    assert_eq!(*watch.borrow_and_update(), CircuitState::Open);
    // It stays for as long as it is watched.
    advance(3_600 * SECOND).await;
    circuits.forget_idle();
    assert_eq!(circuits.keys(), Some(1));
    drop(watch);
    circuits.forget_idle();
    assert_eq!(circuits.keys(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn settings_changed_while_it_runs_hold_for_keys_old_and_new() {
    let layer = by_host();
    let (circuits, mut service) = (layer.handle(), layer.layer(answers()));
    service.call(get("old", "/200")).await.unwrap();
    let _held = circuits.get(&"old".to_owned());
    circuits.set_settings(brittle().trip(Trip::consecutive(2)));
    for host in ["old", "new"] {
        service.call(get(host, "/503")).await.unwrap();
        assert_eq!(state(&circuits, host), CircuitState::Closed);
        service.call(get(host, "/503")).await.unwrap();
        assert_eq!(state(&circuits, host), CircuitState::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn promise_32_each_change_is_told_once_with_its_key_and_outside_of_locks() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let inside: Arc<OnceLock<CircuitHandle>> = Arc::default();
    let (telling, reading) = (Arc::clone(&told), Arc::clone(&inside));
    let observer = move |event: &Event| {
        let EventKind::CircuitChanged { from, to, .. } = *event.kind() else {
            return;
        };
        let key = event.key().unwrap().to_string();
        // An observer may look at any key, including its own.
        let circuits = reading.get().unwrap();
        assert_eq!(state(circuits, &key), to);
        assert!(circuits.snapshots().len() <= circuits.keys().unwrap());
        telling.lock().unwrap().push((key, from, to));
    };
    let layer = by_host().observer((observer, LogEvents));
    inside.set(layer.handle()).unwrap();
    let mut service = layer.layer(answers());
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
    // The end of a cooldown is noticed at the first look, which may be the observer's.
    told.sort_by_key(|(key, ..)| key.clone());
    let mut expected = expected.map(|(key, from, to)| (key.to_owned(), from, to));
    expected.sort_by_key(|(key, ..)| key.clone());
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn promise_29_a_call_dropped_at_any_point_is_taken_back_from_its_own_key() {
    let (peer, mut handle) = tower_test::mock::pair::<Request<()>, Response<crate::support::Pipe>>();
    let layer = by_host();
    let circuits = layer.handle();
    let service = layer.until_body_end().layer(peer);
    let call = || task::spawn(service.clone().oneshot(get("a", "/")));
    let a = "a".to_owned();
    let as_before = |at: &str| {
        let found = circuits.snapshot_of(&a).unwrap();
        assert_eq!((found.state(), found.probes_in_flight()), (CircuitState::HalfOpen, 0), "{at}");
    };
    drop(call());
    assert_eq!(circuits.keys().unwrap(), 0, "nothing is made before it is polled");
    circuits.of(&a).unwrap().force_open();
    advance(5 * SECOND).await;
    state(&circuits, &a);

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
    assert_eq!(state(&circuits, &a), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn promise_7_a_panic_in_the_inner_call_leaves_its_key_as_it_was() {
    let layer = by_host();
    let (circuits, mut service) = (layer.handle(), layer.layer(answers()));
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
    circuits.get(&"a".to_owned()).unwrap().reset();
    circuits.forget_idle();
    assert_eq!(circuits.keys().unwrap(), 0, "nothing is stuck");
}

#[tokio::test(start_paused = true)]
async fn settings_that_panic_take_no_room() {
    let settings = |key: &Host| {
        assert_ne!(*key, "a".to_owned(), "asked to");
        brittle()
    };
    let layer = CircuitBreakerLayer::new().by_key_with(host, settings).max_keys(1);
    let (circuits, mut service) = (layer.handle(), layer.layer(answers()));
    let mut panics = task::spawn(service.call(get("a", "/200")));
    assert!(catch_unwind(AssertUnwindSafe(|| panics.poll())).is_err());
    drop(panics);
    assert_eq!(circuits.keys().unwrap(), 0);
    service.call(get("b", "/200")).await.unwrap();
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
async fn closing_holds_for_every_key_and_is_not_for_the_circuits_sake() {
    let layer = by_host();
    let (circuits, mut service) = (layer.handle(), layer.layer(answers()));
    service.call(get("a", "/200")).await.unwrap();
    circuits.close(Closing::Fail);
    for host in ["a", "b"] {
        let error = service.call(get(host, "/200")).await.unwrap_err();
        assert_eq!(find_in::<Rejection, _>(&error).unwrap().layer(), LayerName::CircuitBreaker);
        assert!(find_in::<CircuitOpen, _>(&error).is_none());
    }
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
