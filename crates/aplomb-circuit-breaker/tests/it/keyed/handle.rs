//! The handle on the circuits of all keys, and on one of them.

use super::*;

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
