//! Refused credentials: the callers that they stop, and those that they must not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aplomb::circuit_breaker::{CircuitOpen, CircuitState, Trip};
use aplomb::core::CircuitCause;
use aplomb::{EndpointError, Policy, find};
use bytes::Bytes;
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::calls::{chat, under};

type Request = http::Request<Full<Bytes>>;
type Response = http::Response<Full<Bytes>>;
type Seen = Arc<Mutex<BTreeMap<String, u32>>>;

/// Accepts the credential `good` only.
fn server(
    seen: &Seen,
) -> impl Service<Request, Response = Response, Error = std::io::Error, Future: Send> + Clone + use<> {
    let seen = Arc::clone(seen);
    service_fn(move |request: Request| {
        let key = request.headers()["x-api-key"].to_str().unwrap().to_owned();
        let status = if key == "good" { 200 } else { 401 };
        *seen.lock().unwrap().entry(key).or_default() += 1;
        async move { Ok(http::Response::builder().status(status).body(Full::from("{}")).unwrap()) }
    })
}

fn with(key: &str) -> Request {
    let mut request = chat("hello", false);
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn one_client_with_a_bad_credential_stops_nobody_else_at_an_endpoint_without_keys() {
    let (seen, layer) = (Seen::default(), under(Policy::new()));
    let endpoint = layer.layer(server(&seen));
    for _ in 0..10 {
        assert_eq!(endpoint.clone().oneshot(with("bad")).await.unwrap().status(), 401);
    }
    assert_eq!(layer.handle().circuit().unwrap().state(), CircuitState::Closed);
    assert_eq!(endpoint.oneshot(with("good")).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn by_account_a_refused_credential_is_not_sent_again_and_others_are() {
    let seen = Seen::default();
    let endpoint = under(Policy::new()).by_account().layer(server(&seen));
    for _ in 0..10 {
        let _ = endpoint.clone().oneshot(with("bad")).await;
        assert_eq!(endpoint.clone().oneshot(with("good")).await.unwrap().status(), 200);
    }
    assert_eq!(*seen.lock().unwrap(), BTreeMap::from([("bad".to_owned(), 3), ("good".to_owned(), 10)]));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_with_one_credential_can_say_so() {
    let seen = Seen::default();
    let endpoint = under(Policy::new().trip(Trip::default().one_credential())).layer(server(&seen));
    for _ in 0..3 {
        assert_eq!(endpoint.clone().oneshot(with("bad")).await.unwrap().status(), 401);
    }
    let error: EndpointError = endpoint.oneshot(with("bad")).await.unwrap_err();
    assert_eq!(find::<CircuitOpen>(&error).unwrap().cause(), CircuitCause::Unauthorized);
}
