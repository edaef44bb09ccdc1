//! An endpoint with gates of its own for each key.

use std::error::Error;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use aplomb::RequestView;
use aplomb::circuit_breaker::{CircuitOpen, CircuitState};
use aplomb::core::CallKey;
use aplomb::provider::OpenAi;
use aplomb::rate_limit::{Pool, Quota};
use aplomb::{Closing, EndpointError, EndpointLayer, Policy, find};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::calls::{chat, under};
use crate::clients::quick;
use crate::script::{Reply, Server};

const S: Duration = Duration::from_secs(1);

type Request = http::Request<Full<Bytes>>;
type Response = http::Response<Full<Bytes>>;

/// The account of tenant `b` is exhausted; all others are answered.
fn server(
    seen: &Arc<Mutex<Vec<String>>>,
) -> impl Service<Request, Response = Response, Error = std::io::Error, Future: Send> + Clone + use<> {
    let seen = Arc::clone(seen);
    service_fn(move |request: Request| {
        let key = request.headers()["x-api-key"].to_str().unwrap().to_owned();
        let (status, body) = match key.as_str() {
            "b" => (429, r#"{"error":{"code":"insufficient_quota"}}"#),
            _ => (200, "{}"),
        };
        seen.lock().unwrap().push(key);
        async move { Ok(http::Response::builder().status(status).body(Full::from(body)).unwrap()) }
    })
}

fn of(key: &str) -> Request {
    let mut request = chat("hello", false);
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    request
}

fn name(request: &RequestView<'_>) -> String {
    request.headers().unwrap()["x-api-key"].to_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn the_exhausted_account_of_one_tenant_stops_nobody_else() {
    let seen = Arc::default();
    let layer = under(Policy::new()).by_account();
    let endpoint = layer.layer(server(&seen));
    for _ in 0..3 {
        let _ = endpoint.clone().oneshot(of("b")).await;
        assert_eq!(endpoint.clone().oneshot(of("a")).await.unwrap().status(), 200);
    }
    assert_eq!(*seen.lock().unwrap(), ["b", "a", "a", "a"], "it is found with one request");
    let error: EndpointError = endpoint.oneshot(of("b")).await.unwrap_err();
    let key = find::<CircuitOpen>(&error).unwrap().key().unwrap().to_string();
    assert!(key.contains("credential #"), "{error}");
    assert!(error.retry_after().is_some_and(|after| after > 200 * S));
    assert_eq!(layer.handle().keys(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn every_key_has_quotas_of_its_own() {
    let layer = under(Policy::new().max_wait(Duration::ZERO)).by_key_with(name, |key: &String| {
        let burst = if key == "rich" { 3 } else { 1 };
        vec![Quota::requests_per_hour(10).burst(burst)]
    });
    let endpoint = layer.layer(server(&Arc::default()));
    for (key, admitted) in [("rich", 3), ("poor", 1), ("other", 1)] {
        for call in 0..4 {
            let result = endpoint.clone().oneshot(of(key)).await;
            assert_eq!(result.is_ok(), call < admitted, "{key} {call}");
        }
    }
    let handle = layer.handle();
    assert_eq!(handle.of(&"rich".to_owned()).unwrap().available()[0].1, 0);
    assert_eq!(handle.of(&"new".to_owned()).unwrap().available()[0].1, 1);

    // The key of a call goes before.
    let mut request = of("poor");
    request.extensions_mut().insert(CallKey("somebody else".to_owned()));
    assert!(endpoint.oneshot(request).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_key_is_switched_and_all_are_closed() {
    let layer = under(Policy::new()).by_public_key(name);
    let (handle, endpoint) = (layer.handle(), layer.layer(server(&Arc::default())));
    let of_a = handle.of(&"a".to_owned()).unwrap();
    of_a.isolate();
    assert_eq!(of_a.circuit().unwrap().state(), CircuitState::Isolated);
    let error = endpoint.clone().oneshot(of("a")).await.unwrap_err();
    assert_eq!(find::<CircuitOpen>(&error).unwrap().key().unwrap().to_string(), "a");
    assert!(endpoint.clone().oneshot(of("c")).await.is_ok());
    of_a.reset();
    assert!(endpoint.clone().oneshot(of("a")).await.is_ok());
    handle.close(Closing::Drain);
    for key in ["a", "new"] {
        assert!(endpoint.clone().oneshot(of(key)).await.is_err());
    }
    handle.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_handle_on_several_keys_has_no_circuit_of_its_own_and_switches_all_of_them() {
    let layer = under(Policy::new()).by_public_key_with(name, |_: &String| [Quota::requests_per_minute(60)]);
    let (handle, endpoint) = (layer.handle(), layer.layer(server(&Arc::default())));
    for key in ["a", "c"] {
        assert!(endpoint.clone().oneshot(of(key)).await.is_ok());
    }
    assert!(handle.snapshot().is_none() && handle.circuit().is_none() && handle.watch_circuit().is_none());
    assert!(handle.available().is_empty() && handle.learned().known_quotas().is_empty());
    assert_eq!((handle.waiting(), handle.in_flight(), handle.paused_until()), (0, 0, None));
    handle.isolate();
    for (label, snapshot) in handle.snapshots() {
        assert!(matches!(label.unwrap().to_string().as_str(), "a" | "c"));
        assert_eq!(snapshot.circuit().state(), CircuitState::Isolated);
        assert_eq!(snapshot.available()[0].0, Quota::requests_per_minute(60));
    }
    let of_a = handle.get(&"a".to_owned()).unwrap();
    of_a.reset();
    of_a.close(Closing::Fail);
    assert!(endpoint.clone().oneshot(of("a")).await.is_err(), "closed alone");
    handle.reset();
    assert!(endpoint.oneshot(of("c")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_new_policy_holds_for_keys_in_use_and_for_those_that_come() {
    let quota = |requests| Quota::requests_per_minute(requests).burst(1);
    let layer = under(Policy::new().quota(quota(1))).by_key(name);
    let (handle, endpoint) = (layer.handle(), layer.layer(server(&Arc::default())));
    assert!(endpoint.clone().oneshot(of("a")).await.is_ok());
    let waits = tokio::spawn(endpoint.clone().oneshot(of("a")));
    tokio::time::sleep(S).await;
    handle.set_policy(Policy::new().quota(quota(60))).unwrap();
    let start = Instant::now();
    assert!(waits.await.unwrap().is_ok());
    assert!(start.elapsed() <= S, "{:?}", start.elapsed());
    assert!(endpoint.clone().oneshot(of("c")).await.is_ok());
    assert_eq!(handle.of(&"c".to_owned()).unwrap().available()[0].0, quota(60));
}

#[tokio::test(start_paused = true)]
async fn a_full_map_of_busy_keys_refuses_and_says_so() {
    let layer = EndpointLayer::new(OpenAi).by_key(name).max_keys(1);
    let endpoint = layer.layer(server(&Arc::default()));
    let held = layer.handle().of(&"a".to_owned()).unwrap();
    let error = endpoint.oneshot(of("c")).await.unwrap_err();
    assert_eq!(error.refused().unwrap().reason(), Some("key limit reached (all keys in use)"));
    drop(held);
}

// A key whose quotas panic takes no place in the map, which has but one.
#[tokio::test(start_paused = true)]
async fn a_panic_in_the_quotas_of_a_key_leaks_no_place() {
    let layer = under(Policy::new())
        .by_key_with(name, |key: &String| if key == "bad" { panic!("bad") } else { Vec::new() })
        .max_keys(1);
    let endpoint = layer.layer(quick());
    assert!(tokio::spawn(endpoint.clone().oneshot(of("bad"))).await.unwrap_err().is_panic());
    assert!(endpoint.oneshot(of("good")).await.is_ok());
}

// A call that has begun ends with its retries, whatever its key does meanwhile.
#[tokio::test(start_paused = true)]
async fn a_retry_of_a_key_is_served_while_the_endpoint_drains() {
    let layer = under(Policy::new()).by_key(|_: &RequestView<'_>| 7);
    let endpoint = layer.layer(Server::new([Reply::json(503), Reply::json(200)]));
    let call = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
    tokio::task::yield_now().await;
    layer.handle().close(Closing::Drain);
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    assert!(endpoint.oneshot(chat("hello", false)).await.is_err());
    layer.handle().drained().await;
}

// The closure may take its time: the policy can be changed while it runs.
#[tokio::test]
async fn the_quotas_of_a_key_are_asked_outside_of_locks() {
    let (in_closure, asked) = mpsc::channel();
    let (changed, is_changed) = mpsc::channel::<()>();
    let is_changed = Mutex::new(is_changed);
    let waited = Arc::new(Mutex::new(None));
    let result = Arc::clone(&waited);
    let layer = under(Policy::new()).by_key_with(
        |_: &RequestView<'_>| 7,
        move |_: &i32| {
            let _ = in_closure.send(());
            let mut result = result.lock().unwrap();
            if result.is_none() {
                *result = Some(is_changed.lock().unwrap().recv_timeout(Duration::from_secs(2)).is_ok());
            }
            Vec::new()
        },
    );
    let handle = layer.handle();
    let other = handle.clone();
    let other_thread = std::thread::spawn(move || {
        asked.recv().unwrap();
        other.set_policy(Policy::new()).unwrap();
        let _ = changed.send(());
    });
    drop(handle.of(&7).unwrap());
    other_thread.join().unwrap();
    assert_eq!(*waited.lock().unwrap(), Some(true), "set_policy waits for the closure");
}

// A pool outlives the gates of the keys in it, which come and go.
#[tokio::test(start_paused = true)]
async fn the_keys_of_an_endpoint_draw_on_one_pool() {
    let pool = Pool::new([Quota::requests_per_hour(10).burst(5)]);
    let layer = under(Policy::new().pool(&pool).max_wait(Duration::ZERO)).by_key(name).max_keys(2);
    let endpoint = layer.layer(quick());
    let mut admitted = 0;
    for key in 0..20 {
        let result = endpoint.clone().oneshot(of(&key.to_string())).await;
        admitted += usize::from(result.is_ok());
    }
    assert_eq!(admitted, 5);
    assert_eq!(pool.snapshot().in_flight(), 0);
}

// A key that may be a secret is not in the text of any error, nor is it lost that it was this key's circuit.
#[tokio::test(start_paused = true)]
async fn the_error_of_a_key_says_why_and_does_not_show_the_key() {
    let layer = under(Policy::new().fail_fast()).by_key(name);
    layer.handle().of(&"sk-secret".to_owned()).unwrap().isolate();
    let error = layer.layer(quick()).oneshot(of("sk-secret")).await.unwrap_err();
    let open = find::<CircuitOpen>(&error).unwrap();
    assert!(open.key().unwrap().to_string().starts_with('#'));
    let mut told = format!("{error:?}");
    let mut next: Option<&dyn Error> = Some(&error);
    while let Some(error) = next {
        told += &error.to_string();
        next = error.source();
    }
    assert!(!told.contains("secret"), "{told}");
}

// A look at a key makes none, and does not keep it.
#[tokio::test(start_paused = true)]
async fn a_look_at_a_key_does_not_create_it() {
    let layer = under(Policy::new()).by_key(name);
    let handle = layer.handle();
    let a = "a".to_owned();
    assert!(handle.get(&a).is_none() && handle.snapshot_of(&a).is_none());
    assert_eq!((handle.keys(), handle.snapshots().len()), (Some(0), 0));
    assert!(layer.layer(quick()).oneshot(of("a")).await.is_ok());
    assert_eq!(handle.snapshot_of(&a).unwrap().circuit().state(), CircuitState::Closed);
    assert_eq!(handle.snapshots().len(), 1);
}

// Tokens are estimated where only the key has a quota of them, and the policy has none.
#[tokio::test(start_paused = true)]
async fn the_token_quota_of_a_key_is_drawn_on() {
    let layer = under(Policy::interactive())
        .by_key_with(|_: &RequestView<'_>| 7, |_: &i32| vec![Quota::tokens_per_minute(200_000)]);
    let endpoint = layer.layer(quick());
    let of_key = layer.handle().of(&7).unwrap();
    let response = endpoint.oneshot(chat(&"word ".repeat(40_000), false)).await.unwrap();
    response.into_body().collect().await.unwrap();
    let left = of_key.available()[0].1;
    assert!(left < 160_000, "{left}");
}
