//! An endpoint with gates of its own for each key.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb::circuit_breaker::{Open, State};
use aplomb::core::{CallKey, KeyRefused};
use aplomb::provider::OpenAi;
use aplomb::rate_limit::Quota;
use aplomb::route::RequestView;
use aplomb::{Closing, EndpointError, EndpointLayer, Policy, find};
use bytes::Bytes;
use http_body_util::Full;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::calls::{chat, under};

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
    let key = find::<KeyRefused>(&error).unwrap().key().to_owned();
    assert!(key.contains("credential #") && find::<Open>(&error).is_some(), "{error}");
    assert!(error.retry_after().is_some_and(|after| after > 200 * S));
    assert_eq!(layer.handle().keys(), 2);
}

#[tokio::test(start_paused = true)]
async fn every_key_has_quotas_of_its_own() {
    let layer = under(Policy::new().max_wait(Duration::ZERO)).by_key(name).quotas(|key: &String| {
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
    let layer = under(Policy::new()).by_key(name);
    let (handle, endpoint) = (layer.handle(), layer.layer(server(&Arc::default())));
    let of_a = handle.of(&"a".to_owned()).unwrap();
    of_a.isolate();
    assert_eq!(of_a.circuit().state(), State::Isolated);
    let error = endpoint.clone().oneshot(of("a")).await.unwrap_err();
    assert_eq!(find::<KeyRefused>(&error).unwrap().key(), "\"a\"");
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
    assert_eq!(error.refused().unwrap().who(), "endpoint's keys");
    drop(held);
}
