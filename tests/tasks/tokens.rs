//! Tokens settled, by hand and by an endpoint.

use aplomb::provider::Anthropic;
use aplomb::rate_limit::{Charge, Quota, RateLimiter, Settle};
use aplomb::{BoxError, EndpointLayer, Policy, Report};
use aplomb_mock::Mock;
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};

use crate::chat;

#[tokio::test(start_paused = true)]
async fn a_limiter_settles_what_its_caller_reports() -> Result<(), BoxError> {
    let limiter = RateLimiter::new([Quota::tokens_per_minute(10_000).settle(Settle::Correct)]);

    let mut permit = limiter.acquire(Charge::request().input_tokens(1_000).output_tokens(500)).await?;
    assert_eq!(limiter.available()[0].1, 8_500);
    permit.sent();
    permit.settle(&Charge::request().input_tokens(1_000).output_tokens(20));
    assert_eq!(limiter.available()[0].1, 8_980);

    // A call that is not sent costs nothing.
    drop(limiter.acquire(Charge::request().input_tokens(5_000)).await?);
    assert_eq!(limiter.available()[0].1, 8_980);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_settles_what_the_provider_reports() -> Result<(), BoxError> {
    let policy = Policy::new().input_tokens_per_minute(50_000).output_tokens_per_minute(10_000);
    let layer = EndpointLayer::with_policy(Anthropic, policy)?;
    let handle = layer.handle();
    let (mut head, body) = chat("Hello!").into_parts();
    head.uri = "https://api.anthropic.com/v1/messages".parse()?;

    let client = layer.layer(Mock::builder().answer_words(12).build());
    let response = client.oneshot(http::Request::from_parts(head, body)).await?;
    assert_eq!(handle.available()[1].1, 9_900, "max_tokens are reserved");

    let report = Report::of(&response).unwrap();
    response.into_body().collect().await?;
    assert_eq!(report.usage().unwrap().output(), Some(12));
    assert_eq!(handle.available()[1].1, 9_988);
    Ok(())
}
