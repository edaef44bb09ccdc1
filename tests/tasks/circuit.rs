//! The state of a circuit, read and watched.

use std::time::Duration;

use aplomb::circuit_breaker::{CircuitBreakerLayer, CircuitOpen, CircuitState};
use aplomb::{BoxError, find};
use aplomb_mock::{Mock, Outage};
use tower::{Layer, ServiceExt};

use crate::chat;

#[tokio::test(start_paused = true)]
async fn a_health_check_follows_the_circuit() -> Result<(), BoxError> {
    let outage = Duration::ZERO..Duration::from_millis(100);
    let layer = CircuitBreakerLayer::new();
    let client = layer.layer(Mock::builder().outage(outage, Outage::Unavailable).build());
    let circuit = layer.handle();
    let mut watch = circuit.watch();
    let health = tokio::spawn(async move {
        let mut states = Vec::new();
        while states.last() != Some(&CircuitState::Closed) {
            watch.changed().await.unwrap();
            states.push(*watch.borrow());
        }
        states
    });

    for _ in 0..7 {
        client.clone().oneshot(chat("Hello!")).await?;
    }
    assert_eq!(circuit.state(), CircuitState::Open);
    let error = client.clone().oneshot(chat("Hello!")).await.unwrap_err();
    let retry_after = find::<CircuitOpen>(&*error).unwrap().retry_after().unwrap();
    assert_eq!(circuit.snapshot().retry_after(), Some(retry_after));

    tokio::time::sleep(retry_after).await;
    assert_eq!(client.oneshot(chat("Hello!")).await?.status(), 200);
    assert_eq!(circuit.state(), CircuitState::Closed);
    assert_eq!(health.await?, [CircuitState::Open, CircuitState::Closed]);
    Ok(())
}
