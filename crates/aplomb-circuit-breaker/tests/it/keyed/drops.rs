//! Calls that are dropped, and code of the user that panics.

use super::*;

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
