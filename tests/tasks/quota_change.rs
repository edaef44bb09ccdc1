//! A quota changed while calls run.

use std::time::Duration;

use aplomb::circuit_breaker::CircuitState;
use aplomb::provider::OpenAi;
use aplomb::rate_limit::{Quota, RateLimitLayer};
use aplomb::{BoxError, EndpointLayer, Policy};
use aplomb_mock::{Mock, Outage};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::chat;

#[tokio::test(start_paused = true)]
async fn the_limiter_of_a_layer_takes_new_quotas() -> Result<(), BoxError> {
    let layer = RateLimitLayer::new([Quota::requests_per_minute(6)]);
    let client = layer.layer(Mock::builder().build());
    client.clone().oneshot(chat("Hello!")).await?;

    layer.limiter().set_quotas([Quota::requests_per_minute(60)]);

    let start = Instant::now();
    client.oneshot(chat("Hello!")).await?;
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_takes_a_new_policy_and_its_circuit_goes_on_counting() -> Result<(), BoxError> {
    let outage = Duration::ZERO..Duration::from_secs(3600);
    let policy = Policy::new().max_retries(0).requests_per_minute(6);
    let layer = EndpointLayer::with_policy(OpenAi, policy)?;
    let endpoint = layer.layer(Mock::builder().outage(outage, Outage::Unavailable).build());
    let handle = layer.handle();
    for _ in 0..6 {
        endpoint.clone().oneshot(chat("Hello!")).await?;
    }
    assert_eq!(handle.circuit().unwrap().failures_in_a_row(), 6);

    // `quotas` replaces those there are; `requests_per_minute` would add one.
    handle.set_policy(handle.policy().quotas([Quota::requests_per_minute(60)]))?;
    assert_eq!(handle.circuit().unwrap().failures_in_a_row(), 6);

    let start = Instant::now();
    endpoint.oneshot(chat("Hello!")).await?;
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    assert_eq!(handle.circuit().unwrap().state(), CircuitState::Open);
    Ok(())
}
