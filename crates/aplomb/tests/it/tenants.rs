//! Tenants with quotas of their own, on one account.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb::rate_limit::{Quota, RateLimited};
use aplomb::{Closing, EndpointLayer, Policy, RequestView, find};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::calls::{chat, under};
use crate::clients::silent;

const S: Duration = Duration::from_secs(1);

type Request = http::Request<Full<Bytes>>;
type Response = http::Response<Full<Bytes>>;

const ANSWER: &str = r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],
    "usage":{"prompt_tokens":60,"completion_tokens":40,"total_tokens":100}}"#;

/// Gives each request the next of these statuses, and 200 from then on. An answer used 100 tokens.
fn server(
    statuses: impl IntoIterator<Item = u16>,
) -> impl Service<Request, Response = Response, Error = std::io::Error, Future: Send> + Clone {
    let statuses: Vec<u16> = statuses.into_iter().collect();
    let statuses = Arc::new(Mutex::new(statuses.into_iter()));
    service_fn(move |_: Request| {
        let status = statuses.lock().unwrap().next().unwrap_or(200);
        let body = match status {
            200 => ANSWER,
            _ => "{}",
        };
        let mut response =
            http::Response::builder().status(status).header("content-type", "application/json");
        if status == 429 {
            response = response.header("retry-after", "10");
        }
        async move { Ok(response.body(Full::from(body)).unwrap()) }
    })
}

fn of(tenant: &str) -> Request {
    let mut request = chat("hello", false);
    request.headers_mut().insert("x-tenant", tenant.parse().unwrap());
    request
}

fn tenant(request: &RequestView<'_>) -> String {
    request.headers().unwrap()["x-tenant"].to_str().unwrap().to_owned()
}

/// Two calls a minute and 1,000 tokens for each tenant.
fn per_tenant(policy: Policy) -> EndpointLayer {
    under(policy).quotas_per(tenant, |_: &String| {
        [
            Quota::requests_per_minute(2).burst(2),
            Quota::tokens_per_minute(1_000),
        ]
    })
}

fn left(layer: &EndpointLayer, tenant: &str) -> Vec<i64> {
    let limiter = layer.handle().tenants().unwrap().get(&tenant.to_owned()).unwrap();
    limiter.snapshot().available().iter().map(|(_, left)| *left).collect()
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_has_used_up_its_quota_waits_and_delays_nobody_else() {
    let layer = per_tenant(Policy::new());
    let endpoint = layer.layer(server([]));
    let start = Instant::now();
    for _ in 0..2 {
        endpoint.clone().oneshot(of("one")).await.unwrap();
    }
    let waits = tokio::spawn(endpoint.clone().oneshot(of("one")));
    tokio::task::yield_now().await;
    endpoint.clone().oneshot(of("two")).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    let waited = waits.await.unwrap().unwrap();
    assert_eq!(start.elapsed(), 30 * S);
    assert_eq!(aplomb::Report::of(&waited).unwrap().queued(), 30 * S);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_is_charged_once_for_a_call_that_is_retried() {
    let layer = per_tenant(Policy::new());
    let endpoint = layer.layer(server([503, 503, 200]));
    let response = endpoint.oneshot(of("one")).await.unwrap();
    assert_eq!(aplomb::Report::of(&response).unwrap().sent(), 3);
    response.into_body().collect().await.unwrap();
    assert_eq!(left(&layer, "one")[0], 1);
    // It used 100 tokens. What was estimated at first, some 30, may have flowed back meanwhile.
    assert!((900..940).contains(&left(&layer, "one")[1]), "{:?}", left(&layer, "one"));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_longer_than_allowed_is_rejected_with_the_time_to_come_back() {
    let layer = per_tenant(Policy::new().max_wait(5 * S));
    let endpoint = layer.layer(server([]));
    for _ in 0..2 {
        endpoint.clone().oneshot(of("one")).await.unwrap();
    }
    let start = Instant::now();
    let error = endpoint.clone().oneshot(of("one")).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::ZERO);
    let limited = find::<RateLimited>(&error).unwrap();
    assert_eq!(limited.retry_after(), Some(30 * S));
    assert!(!error.to_string().contains("one"), "a tenant is shown as a hash: {error}");
    assert_eq!(error.report().sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_429_and_a_pause_concern_all_tenants() {
    let layer = per_tenant(Policy::new());
    let endpoint = layer.layer(server([429]));
    let start = Instant::now();
    let first = tokio::spawn(endpoint.clone().oneshot(of("one")));
    tokio::task::yield_now().await;
    let second = tokio::spawn(endpoint.clone().oneshot(of("two")));
    first.await.unwrap().unwrap();
    let second = second.await.unwrap().unwrap();
    assert!(start.elapsed() >= 10 * S);
    assert_eq!(aplomb::Report::of(&second).unwrap().sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_sent_costs_its_tenant_nothing() {
    // The account is shut for longer than the call waits.
    let layer = per_tenant(Policy::new().max_wait(S).quotas([Quota::requests_per_hour(1)]));
    let endpoint = layer.layer(server([]));
    endpoint.clone().oneshot(of("two")).await.unwrap();
    endpoint.clone().oneshot(of("one")).await.unwrap_err();
    assert_eq!(left(&layer, "one"), [2, 1_000]);

    // Dropped while it waits for its tenant, and while it is unanswered.
    let layer = per_tenant(Policy::new());
    let endpoint = layer.layer(silent());
    let calls: Vec<_> = (0..3).map(|_| tokio::spawn(endpoint.clone().oneshot(of("one")))).collect();
    tokio::time::sleep(S).await;
    assert_eq!(layer.handle().tenants().unwrap().get(&"one".to_owned()).unwrap().snapshot().waiting(), 1);
    for call in calls {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    assert_eq!(left(&layer, "one")[0], 0, "two were sent");
    tokio::time::sleep(60 * S).await;
    assert_eq!(left(&layer, "one")[0], 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_its_tenant_no_longer_than_its_deadline() {
    let layer = per_tenant(Policy::new().deadline(10 * S));
    let endpoint = layer.layer(server([]));
    for _ in 0..2 {
        endpoint.clone().oneshot(of("one")).await.unwrap();
    }
    let start = Instant::now();
    let error = endpoint.oneshot(of("one")).await.unwrap_err();
    assert!(start.elapsed() <= 10 * S, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_closed_endpoint_rejects_calls_that_wait_for_their_tenant() {
    let layer = per_tenant(Policy::new());
    let endpoint = layer.layer(server([]));
    for _ in 0..2 {
        endpoint.clone().oneshot(of("one")).await.unwrap();
    }
    let waits = tokio::spawn(endpoint.clone().oneshot(of("one")));
    tokio::task::yield_now().await;
    layer.handle().close(Closing::Fail);
    waits.await.unwrap().unwrap_err();
}
