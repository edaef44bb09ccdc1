//! Limits by tenant.

use std::time::Duration;

use aplomb::core::RequestView;
use aplomb::provider::OpenAi;
use aplomb::rate_limit::{Quota, RateLimitLayer, RateLimited};
use aplomb::{BoxError, EndpointLayer, Policy, find};
use aplomb_mock::Mock;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::chat;

fn tenant(request: &RequestView<'_>) -> String {
    let header = request.headers().and_then(|headers| headers.get("x-tenant"));
    header.and_then(|tenant| tenant.to_str().ok()).unwrap_or("anybody").to_owned()
}

fn of(tenant: &'static str) -> http::Request<String> {
    let mut request = chat("Hello!");
    request.headers_mut().insert("x-tenant", http::HeaderValue::from_static(tenant));
    request
}

#[tokio::test(start_paused = true)]
async fn a_layer_gives_each_tenant_the_same_quota() -> Result<(), BoxError> {
    let layer = RateLimitLayer::new([Quota::requests_per_minute(60)])
        .by_public_key(tenant)
        .max_wait(Duration::ZERO);
    let client = layer.layer(Mock::builder().build());

    client.clone().oneshot(of("red")).await?;
    client.clone().oneshot(of("blue")).await?;
    let error = client.oneshot(of("red")).await.unwrap_err();

    let limited = find::<RateLimited>(&*error).unwrap();
    assert_eq!(limited.key().unwrap().to_string(), "red");
    assert_eq!(limited.retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(layer.limiter().keys(), Some(2));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_gives_each_tenant_a_quota_of_its_own() -> Result<(), BoxError> {
    let quotas = |tenant: &String| match tenant.as_str() {
        "gold" => [Quota::requests_per_second(10).burst(10)],
        _ => [Quota::requests_per_second(1)],
    };
    let layer = EndpointLayer::with_policy(OpenAi, Policy::interactive())?.by_key_with(tenant, quotas);
    let endpoint = layer.layer(Mock::builder().build());

    let start = Instant::now();
    for _ in 0..3 {
        endpoint.clone().oneshot(of("gold")).await?;
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    for _ in 0..3 {
        endpoint.clone().oneshot(of("lead")).await?;
    }
    assert_eq!(start.elapsed(), Duration::from_secs(2));

    // An outage of one tenant leaves the others alone.
    layer.handle().of(&"lead".to_owned())?.isolate();
    endpoint.clone().oneshot(of("lead")).await.unwrap_err();
    endpoint.oneshot(of("gold")).await?;
    Ok(())
}
