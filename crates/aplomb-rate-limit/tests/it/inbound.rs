//! Limits on calls that arrive, and quotas of tenants in front of an account's.

use std::time::Duration;

use aplomb_core::{BoxError, CallOptions, Outcome, RequestView, find};
use aplomb_rate_limit::{Charge, Dimension, Quota, RateLimitLayer, RateLimited, Reading};
use http::{Request, Response, StatusCode};
use tokio::time::{Instant, advance};
use tower::{Layer, ServiceExt, service_fn};

const S: Duration = Duration::from_secs(1);

/// Answers with the status that the path names.
async fn by_path(request: Request<()>) -> Result<Response<()>, BoxError> {
    let mut response = Response::new(());
    *response.status_mut() = request.uri().path().trim_start_matches('/').parse()?;
    response.headers_mut().insert("retry-after", "30".parse()?);
    Ok(response)
}

fn request(status: u16) -> Request<()> {
    Request::get(format!("http://localhost/{status}")).body(()).unwrap()
}

fn tenant(request: &RequestView<'_>) -> String {
    let header = request.headers().and_then(|headers| headers.get("x-tenant")?.to_str().ok());
    header.unwrap_or_default().to_owned()
}

fn of_tenant(tenant: &str, status: u16) -> Request<()> {
    let mut request = request(status);
    request.headers_mut().insert("x-tenant", tenant.parse().unwrap());
    request
}

fn status(result: Result<Response<()>, BoxError>) -> StatusCode {
    result.unwrap().status()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_arrives_beyond_the_quota_is_rejected_at_once() {
    let layer = RateLimitLayer::inbound([Quota::requests_per_second(2)]);
    let service = layer.layer(service_fn(by_path));
    let start = Instant::now();
    for _ in 0..2 {
        assert_eq!(status(service.clone().oneshot(request(200)).await), 200);
    }
    let error = service.clone().oneshot(request(200)).await.unwrap_err();
    let limited = find::<RateLimited>(&*error).unwrap();
    assert_eq!(limited.retry_after(), Some(S / 2));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn calls_that_arrive_wait_where_that_is_asked_for() {
    let layer = RateLimitLayer::inbound([Quota::requests_per_second(2)]).max_wait(S);
    let service = layer.layer(service_fn(by_path));
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(status(service.clone().oneshot(request(200)).await), 200);
    }
    assert_eq!(start.elapsed(), S / 2);
}

#[tokio::test(start_paused = true)]
async fn the_responses_of_a_handler_pause_nobody_and_teach_nothing() {
    let layer = RateLimitLayer::inbound([Quota::requests_per_second(100)]).readings(|_: &Response<()>| {
        let reading = Reading::of(Dimension::REQUESTS).with_limit(10).with_remaining(0);
        vec![reading.with_reset(S)]
    });
    let limiter = layer.limiter();
    let service = layer.layer(service_fn(by_path));
    for of in [429, 503, 429, 200] {
        assert_eq!(status(service.clone().oneshot(request(of)).await), of);
    }
    let snapshot = limiter.snapshot();
    assert_eq!(snapshot.paused_for(), None);
    assert_eq!(snapshot.available().to_vec(), [(Quota::requests_per_second(100), 96)]);
    assert_eq!(limiter.learned().known_rate(), None);
}

#[tokio::test(start_paused = true)]
async fn many_calls_may_be_unanswered_at_once() {
    let layer = RateLimitLayer::inbound([Quota::requests_per_second(1_000)]);
    let never =
        layer.layer(service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, BoxError>>()));
    for _ in 0..500 {
        tokio::spawn(never.clone().oneshot(request(200)));
    }
    tokio::time::sleep(S).await;
    assert_eq!(layer.limiter().snapshot().in_flight(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_for_its_credential_stays_charged() {
    let layer = RateLimitLayer::inbound([Quota::requests_per_minute(3).burst(3)]);
    let service = layer.layer(service_fn(by_path));
    for _ in 0..3 {
        assert_eq!(status(service.clone().oneshot(request(401)).await), 401);
    }
    assert!(service.oneshot(request(401)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_gets_its_tokens_back_and_a_retry_costs_no_request() {
    let quotas = [
        Quota::requests_per_minute(10).burst(10),
        Quota::tokens_per_minute(1_000),
    ];
    let layer = RateLimitLayer::inbound(quotas).cost(|_: &Request<()>| Charge::request().output_tokens(300));
    let limiter = layer.limiter();
    let left = || limiter.snapshot().available().iter().map(|(_, left)| *left).collect::<Vec<_>>();
    let service = layer.layer(service_fn(by_path));

    assert_eq!(status(service.clone().oneshot(request(503)).await), 503);
    assert_eq!(left(), [9, 1_000]);

    let mut retry = request(200);
    retry.extensions_mut().insert(CallOptions::new().with_attempts(1, Outcome::transient()));
    assert_eq!(status(service.oneshot(retry).await), 200);
    assert_eq!(left(), [9, 700]);
}

#[tokio::test(start_paused = true)]
async fn tokens_of_a_call_that_arrives_are_charged_as_they_were_used() {
    let limiter = RateLimitLayer::inbound([Quota::tokens_per_minute(1_000)]).limiter();
    let permit = limiter.acquire(Charge::request().output_tokens(300)).await.unwrap();
    permit.settle(&Charge::request().output_tokens(120));
    assert_eq!(limiter.snapshot().available()[0].1, 880);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_quota_is_used_up_delays_nobody_else() {
    let account = RateLimitLayer::new([Quota::requests_per_second(100)]).max_wait(Duration::ZERO);
    let limiter = account.limiter();
    let layer = account.quotas_per(tenant, |tenant: &String| {
        [Quota::requests_per_minute(if tenant == "acme" { 60 } else { 1 }).burst(2)]
    });
    let service = layer.layer(service_fn(by_path));
    for _ in 0..2 {
        assert_eq!(status(service.clone().oneshot(of_tenant("tiny", 200)).await), 200);
    }
    let error = service.clone().oneshot(of_tenant("tiny", 200)).await.unwrap_err();
    assert_eq!(find::<RateLimited>(&*error).unwrap().retry_after(), Some(60 * S));
    assert_eq!(status(service.oneshot(of_tenant("acme", 200)).await), 200);
    assert_eq!(limiter.snapshot().available()[0].1, 97, "the account is charged for each");
}

#[tokio::test(start_paused = true)]
async fn one_429_of_the_account_teaches_all_tenants() {
    let account = RateLimitLayer::new([Quota::requests_per_second(100)]);
    let limiter = account.limiter();
    let layer = account.quotas_per(tenant, |_: &String| [Quota::requests_per_second(5)]);
    let service = layer.layer(service_fn(by_path));
    assert_eq!(status(service.clone().oneshot(of_tenant("one", 429)).await), 429);
    assert!(limiter.snapshot().paused_for().is_some());

    let start = Instant::now();
    assert_eq!(status(service.clone().oneshot(of_tenant("two", 200)).await), 200);
    assert!(start.elapsed() >= S, "all but a call that tests so long a hint");
    advance(S).await;
    let mut retry = of_tenant("one", 200);
    retry.extensions_mut().insert(CallOptions::new().with_attempts(1, Outcome::throttled()));
    for _ in 0..5 {
        assert_eq!(status(service.clone().oneshot(of_tenant("one", 200)).await), 200);
    }
    let start = Instant::now();
    assert_eq!(status(service.oneshot(retry).await), 200);
    assert_eq!(start.elapsed(), Duration::ZERO, "a retry is not charged again");
}
