//! Keys that are evicted, and those that are not.

use super::*;

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
    for _ in 0..7 {
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
