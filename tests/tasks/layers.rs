//! The three layers, by hand, around a client.

use std::time::Duration;

use aplomb::BoxError;
use aplomb::circuit_breaker::{CircuitBreakerLayer, CircuitState, OnOpen};
use aplomb::rate_limit::{Quota, RateLimitLayer};
use aplomb::retry::{RetryLayer, Throttled};
use aplomb_mock::{Mock, Outage};
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt};

use crate::chat;

#[tokio::test(start_paused = true)]
async fn a_batch_keeps_to_its_rate_and_outlasts_an_outage() -> Result<(), BoxError> {
    let outage = Duration::from_secs(3)..Duration::from_secs(20);
    let mock = Mock::builder().outage(outage, Outage::Unavailable).build();

    let breaker = CircuitBreakerLayer::new().seed(7).on_open(OnOpen::Park { max: Duration::from_secs(300) });
    let circuit = breaker.handle();
    let client = ServiceBuilder::new()
        .layer(RetryLayer::new().random_seed(7).max_retries(20).throttled(Throttled::Requeue))
        .layer(RateLimitLayer::new([Quota::requests_per_second(2)]))
        .layer(breaker)
        .service(mock.clone());

    let start = Instant::now();
    for prompt in 0..20 {
        let response = client.clone().oneshot(chat(&prompt.to_string())).await?;
        assert_eq!(response.status(), 200);
    }
    assert!(start.elapsed() >= Duration::from_secs(20));
    assert_eq!(circuit.state(), CircuitState::Closed);
    assert!(mock.stats().retries < 12, "the circuit spares the server");
    Ok(())
}
