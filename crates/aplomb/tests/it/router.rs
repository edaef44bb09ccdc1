//! A table of endpoints.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb::circuit_breaker::CircuitState;
use aplomb::provider::{Anthropic, Generic};
use aplomb::rate_limit::{Pool, Quota, RateLimited};
use aplomb::route::{self, NoRoute, Route, Routes};
use aplomb::{
    CallOptions, Closing, DeadlinePassed, EndpointLayer, LayerName, Policy, Rejection, Report, RequestView,
    RouterLayer, find,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::calls::{chat, under};
use crate::clients::silent;
use crate::script::{Reply, Server, Step, done, word};

const S: Duration = Duration::from_secs(1);

type Request = http::Request<Full<Bytes>>;
type Seen = Arc<Mutex<BTreeMap<String, u32>>>;

/// Counts by host and model; the model `down` is down.
fn client(
    seen: &Seen,
) -> impl Service<Request, Response = http::Response<Full<Bytes>>, Error = std::io::Error, Future: Send>
+ Clone
+ use<> {
    let seen = Arc::clone(seen);
    service_fn(move |request: Request| {
        let model = route::view(&request).model().unwrap_or("-").to_owned();
        let host = request.uri().host().unwrap_or("-").to_owned();
        let status = if model == "down" { 503 } else { 200 };
        *seen.lock().unwrap().entry(format!("{host} {model}")).or_default() += 1;
        async move { Ok(http::Response::builder().status(status).body(Full::from("{}")).unwrap()) }
    })
}

fn to(host: &str, model: &str) -> Request {
    let body = serde_json::json!({ "model": model, "messages": [] }).to_string();
    http::Request::post(format!("https://{host}/v1/chat/completions"))
        .body(Full::from(body))
        .unwrap()
}

fn impatient(policy: Policy) -> EndpointLayer {
    under(policy.max_wait(Duration::ZERO).max_retries(0).fail_fast())
}

#[tokio::test(start_paused = true)]
async fn each_service_has_a_provider_quotas_a_circuit_and_retries_of_its_own() {
    let hour = |requests: u32| Policy::new().quota(Quota::requests_per_hour(requests.into()).burst(requests));
    let (mini, big) = (impatient(hour(3)), impatient(hour(1)));
    let claude = EndpointLayer::with_policy(Anthropic, Policy::new()).unwrap();
    let broken = impatient(Policy::new());
    let openai = || Route::new().host("api.openai.com");
    let routes = Routes::new()
        .route(openai().model("*-mini"), mini.clone())
        .route(openai().model("down"), broken.clone())
        .route(openai(), big.clone())
        .route(Route::new().host("api.anthropic.com"), claude.clone());
    let seen = Seen::default();
    let service = RouterLayer::new(routes).unwrap().layer(client(&seen));
    let send = async |host: &str, model: &str| service.clone().oneshot(to(host, model)).await;
    for _ in 0..3 {
        let response = send("api.openai.com", "gpt-mini").await.unwrap();
        assert_eq!(Report::of(&response).unwrap().provider(), "openai");
    }
    let error = send("api.openai.com", "gpt-mini").await.unwrap_err();
    assert!(find::<RateLimited>(&error).is_some(), "{error}");
    assert!(send("api.openai.com", "gpt-large").await.is_ok(), "another quota");
    assert!(send("api.openai.com", "gpt-large").await.is_err());
    for _ in 0..10 {
        let _ = send("api.openai.com", "down").await;
    }
    assert_eq!(
        (broken.handle().circuit().unwrap().state(), big.handle().circuit().unwrap().state()),
        (CircuitState::Open, CircuitState::Closed)
    );
    let response = send("api.anthropic.com", "claude").await.unwrap();
    assert_eq!(Report::of(&response).unwrap().provider(), "anthropic");
    let seen = seen.lock().unwrap();
    assert_eq!((seen["api.openai.com gpt-mini"], seen["api.openai.com down"]), (3, 7));
}

#[tokio::test(start_paused = true)]
async fn an_unmatched_request_passes_or_is_rejected_or_has_a_fallback() {
    let seen = Seen::default();
    let known = || Routes::new().route(Route::new().host("a.example"), EndpointLayer::new(Generic));
    let layer = RouterLayer::new(known()).unwrap();
    let service = layer.layer(client(&seen));
    // It passes untouched, whatever the client's response.
    let response = service.clone().oneshot(to("b.example", "down")).await.unwrap();
    assert_eq!((response.status().as_u16(), Report::of(&response).is_some()), (503, false));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{}");
    assert_eq!(seen.lock().unwrap()["b.example down"], 1, "it is not retried");

    layer.handle().set_routes(known().reject_unmatched()).unwrap();
    let error = service.clone().oneshot(to("b.example", "m")).await.unwrap_err();
    assert_eq!(find::<NoRoute>(&error).unwrap().host(), Some("b.example"));
    assert_eq!(find::<Rejection>(&error).unwrap().layer(), LayerName::Router);
    assert!(service.clone().oneshot(to("a.example", "m")).await.is_ok());
    assert!(!seen.lock().unwrap().contains_key("b.example m"));

    layer.handle().set_routes(known().fallback(impatient(Policy::new()))).unwrap();
    let response = service.oneshot(to("b.example", "m")).await.unwrap();
    assert_eq!(Report::of(&response).unwrap().provider(), "openai");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_in_two_tables_keeps_its_state_and_calls_that_run_go_on() {
    let shared = impatient(Policy::new().quota(Quota::requests_per_hour(3).burst(3)));
    let one = Routes::new().route(Route::new().host("a.example"), shared.clone());
    let two = Routes::new()
        .route(Route::new().host("a.example").model("x"), shared.clone())
        .route(Route::new().host("b.example"), shared.clone());
    let seen = Seen::default();
    let layer = RouterLayer::new(one).unwrap();
    let service = layer.layer(client(&seen));
    assert!(service.clone().oneshot(to("a.example", "x")).await.is_ok());
    let running = service.clone().oneshot(to("a.example", "x"));
    layer.handle().set_routes(two).unwrap();
    assert!(service.clone().oneshot(to("b.example", "y")).await.is_ok(), "two hosts on one quota");
    assert!(running.await.is_ok());
    assert!(service.clone().oneshot(to("a.example", "x")).await.is_err(), "all three are used");
    assert!(
        service.clone().oneshot(to("a.example", "y")).await.is_ok(),
        "it passes, with no route of its own"
    );
    // A change by the endpoint's own handle applies here too.
    shared.handle().set_policy(Policy::new().quota(Quota::requests_per_second(10))).unwrap();
    tokio::time::sleep(2 * S).await;
    assert!(service.oneshot(to("a.example", "x")).await.is_ok());
    assert!(layer.handle().set_routes(Routes::new().route(Route::new().host("*"), shared)).is_err());
}

#[tokio::test(start_paused = true)]
async fn tenants_have_keys_within_a_route_and_all_is_closed_at_once() {
    let tenants = impatient(Policy::new().quota(Quota::requests_per_hour(1).burst(1))).by_account();
    let routes = Routes::new().route(Route::new(), tenants);
    let layer = RouterLayer::new(routes).unwrap();
    let service = layer.layer(client(&Seen::default()));
    for (key, is_admitted) in [("a", true), ("b", true), ("a", false)] {
        let mut request = to("a.example", "m");
        request.headers_mut().insert("authorization", key.parse().unwrap());
        assert_eq!(service.clone().oneshot(request).await.is_ok(), is_admitted, "{key}");
    }
    layer.handle().close(Closing::Drain);
    let error = service.oneshot(to("a.example", "m")).await.unwrap_err();
    assert_eq!(error.refused().unwrap().reason(), Some("closed"));
    layer.handle().drained().await;
}

#[tokio::test(start_paused = true)]
async fn promise_19_two_models_on_one_quota_keep_their_own_circuits_and_lines() {
    let pool = Pool::new([Quota::requests_per_minute(60).burst(6)]);
    let (up, down) = (under(Policy::new().pool(&pool)), under(Policy::new().pool(&pool).max_retries(0)));
    let routes = Routes::new()
        .route(Route::new().model("down"), down.clone())
        .route(Route::new(), up.clone());
    let seen = Seen::default();
    let service = RouterLayer::new(routes).unwrap().layer(client(&seen));
    for _ in 0..7 {
        assert_eq!(service.clone().oneshot(to("a.example", "down")).await.unwrap().status(), 503);
    }
    assert_eq!(
        (down.handle().circuit().unwrap().state(), up.handle().circuit().unwrap().state()),
        (CircuitState::Open, CircuitState::Closed)
    );
    // Calls that wait for the circuit of one endpoint hold nothing of the shared pool.
    let parked = tokio::spawn(service.clone().oneshot(to("a.example", "down")));
    tokio::time::sleep(S / 10).await;
    assert_eq!(down.handle().waiting(), 1);
    let start = Instant::now();
    for _ in 0..4 {
        assert!(service.clone().oneshot(to("a.example", "up")).await.is_ok());
    }
    // None was left, and one comes each second, of which a probe may have one.
    assert!(start.elapsed() >= 2 * S && start.elapsed() <= 5 * S, "{:?}", start.elapsed());
    let _ = parked.await.unwrap();
    // The pool rejects a request that does not fit.
    pool.set_quotas([Quota::requests_per_hour(1)]);
    let hasty = under(Policy::new().pool(&pool).max_wait(Duration::ZERO)).layer(client(&seen));
    let error = hasty.oneshot(to("a.example", "up")).await.unwrap_err();
    assert!(find::<RateLimited>(&error).is_some(), "{error}");
    // Another policy stays in it.
    up.handle().set_policy(Policy::new().max_wait(Duration::ZERO)).unwrap();
    assert!(service.oneshot(to("a.example", "up")).await.is_err());
}

// A request that passes has no report: the client sent it.
#[tokio::test(start_paused = true)]
async fn the_error_of_a_request_that_passes_does_not_say_that_nothing_was_sent() {
    let broken = service_fn(|_: Request| async {
        Err::<http::Response<Full<Bytes>>, _>(std::io::Error::other("reset"))
    });
    let service = RouterLayer::new(Routes::new()).unwrap().layer(broken);
    let error = service.oneshot(chat("hello", false)).await.unwrap_err();
    assert!(!error.to_string().contains("nothing sent"), "{error}");
}

// Trailers reach the caller, with an endpoint and without.
#[tokio::test(start_paused = true)]
async fn trailers_pass() {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-end", "1".parse().unwrap());
    let reply = Reply::stream([word("a"), done(), Step::Trailers(trailers.clone())]);
    for routes in [Routes::new(), Routes::new().fallback(under(Policy::new()))] {
        let service = RouterLayer::new(routes).unwrap().layer(Server::new([reply.clone()]));
        let body = service.oneshot(chat("hello", true)).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.trailers(), Some(&trailers));
    }
}

// Options that travel in a task-local hold with a router too.
#[tokio::test(start_paused = true)]
async fn the_options_of_a_task_hold_through_policies() {
    let server = Server::new([Reply::json(503)]);
    let service = RouterLayer::new(Routes::new().fallback(under(Policy::new())))
        .unwrap()
        .layer(server.clone());
    let response = CallOptions::new()
        .without_retry()
        .scope(service.clone().oneshot(chat("hello", false)))
        .await
        .unwrap();
    assert_eq!((response.status().as_u16(), server.seen()), (503, 1));
    let slow = RouterLayer::new(Routes::new().fallback(under(Policy::new().deadline(100 * S))))
        .unwrap()
        .layer(silent());
    let start = Instant::now();
    let error = CallOptions::new()
        .with_deadline(start + 3 * S)
        .scope(slow.oneshot(chat("hello", false)))
        .await
        .unwrap_err();
    assert!(find::<DeadlinePassed>(&error).is_some() && start.elapsed() < 4 * S, "{error}");
}

// `Debug` shows the patterns, but no values of headers in which credentials stand.
#[test]
fn routes_do_not_show_credentials() {
    let names = [
        "proxy-authorization",
        "ocp-apim-subscription-key",
        "x-amz-security-token",
        "cookie",
    ];
    let shown: Vec<_> = names
        .iter()
        .filter(|name| format!("{:?}", Route::new().header(name, "sk-secret")).contains("sk-secret"))
        .collect();
    assert!(shown.is_empty(), "{shown:?}");
}

// The error of a pattern that is a whole address does not repeat the credentials in it.
#[test]
fn invalid_routes_do_not_show_credentials() {
    let routes = [
        Route::new().host("https://user:sk-secret@a.example"),
        Route::new().path("/v1beta/models/gemini:generateContent?key=sk-secret"),
    ];
    let shown: Vec<_> = routes
        .iter()
        .map(|route| route.check().unwrap_err().to_string())
        .filter(|error| error.contains("sk-secret"))
        .collect();
    assert!(shown.is_empty(), "{shown:?}");
}

// The host that the client connects to counts, in any spelling, and not one that only looks like it.
#[test]
fn hosts_are_not_tricked() {
    let to = |uri: &str, host: Option<&str>| {
        let mut request = http::Request::post(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.body(()).unwrap()
    };
    let route = Route::new().host("api.openai.com");
    for (uri, host, matches) in [
        ("https://API.OPENAI.COM./v1", None, true),
        ("https://user:pw@api.openai.com/v1", None, true),
        ("https://api.openai.com@evil.org/v1", None, false),
        ("https://evil.org/v1", Some("api.openai.com"), false),
        ("/v1", Some("api.openai.com:443"), true),
        ("/v1", Some("api.openai.com:"), true),
        ("/v1", Some("API.openai.com.:443"), true),
        ("/v1", Some("evil.org"), false),
        ("/v1", None, false),
    ] {
        let request = to(uri, host);
        assert_eq!(route.matches(&RequestView::head(&request)), matches, "{uri} {host:?}");
    }
    let v6 = to("http://[::1]:8000/v1", None);
    assert!(Route::new().host("[::1]:8000").matches(&RequestView::head(&v6)));
}
