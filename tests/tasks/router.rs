//! A policy for each service.

use std::time::Duration;

use aplomb::provider::{Anthropic, OpenAi};
use aplomb::route::{NoRoute, Route, Routes};
use aplomb::{BoxError, EndpointLayer, Policy, RouterLayer, find};
use aplomb_mock::Mock;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::chat;

fn to(host: &str) -> http::Request<String> {
    let (mut head, body) = chat("Hello!").into_parts();
    head.uri = format!("https://{host}/v1/chat/completions").parse().unwrap();
    http::Request::from_parts(head, body)
}

#[tokio::test(start_paused = true)]
async fn each_service_has_its_own_quotas_and_circuit() -> Result<(), BoxError> {
    let openai = EndpointLayer::with_policy(OpenAi, Policy::batch().requests_per_minute(60))?;
    let anthropic = EndpointLayer::with_policy(Anthropic, Policy::interactive().max_retries(0))?;
    let openai_handle = openai.handle();
    let routes = Routes::new()
        .route(Route::new().host("api.openai.com"), openai)
        .route(Route::new().host("api.anthropic.com"), anthropic)
        .reject_unmatched();
    let client = RouterLayer::new(routes)?.layer(Mock::builder().build());

    client.clone().oneshot(to("api.openai.com")).await?;
    let start = Instant::now();
    client.clone().oneshot(to("api.anthropic.com")).await?;
    assert_eq!(start.elapsed(), Duration::ZERO);
    client.clone().oneshot(to("api.openai.com")).await?;
    assert_eq!(start.elapsed(), Duration::from_secs(1));

    openai_handle.isolate();
    client.clone().oneshot(to("api.openai.com")).await.unwrap_err();
    client.clone().oneshot(to("api.anthropic.com")).await?;

    let error = client.oneshot(to("example.com")).await.unwrap_err();
    assert!(find::<NoRoute>(&error).is_some());
    Ok(())
}
