//! The three layers, combined by hand: `cargo run --example layers`.
//!
//! Each layer works alone, around any service. Together they go in this order, outermost first: a retry passes the rate
//! limit again, since it is a request like any other, and the circuit breaker counts the outcome of each attempt.

use std::time::Duration;

use aplomb::BoxError;
use aplomb::circuit_breaker::{CircuitBreakerLayer, OnOpen};
use aplomb::rate_limit::{Quota, RateLimitLayer};
use aplomb::retry::{RetryLayer, Throttled};
use aplomb_mock::{Fault, Latency, Mock, Plan};
use bytes::Bytes;
use http_body_util::Full;
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // A provider that allows ten requests at once, and fails now and then. It runs in process, without a socket.
    let provider = Mock::builder()
        .requests_per_minute(3_000)
        .request_burst(10)
        .latency(Latency::constant(Duration::from_millis(20)))
        .plan(Plan::seeded(7).rate(Fault::Unavailable, 0.1).rate(Fault::Reset, 0.05))
        .build();

    let service = ServiceBuilder::new()
        // A throttled call waits in the queue of the rate limit, not here.
        .layer(RetryLayer::new().max_retries(6).throttled(Throttled::Requeue))
        .layer(RateLimitLayer::new([Quota::requests_per_minute(3_000).burst(10)]))
        // While the circuit is open, calls wait instead of failing.
        .layer(CircuitBreakerLayer::new().on_open(OnOpen::Park { max: Duration::from_secs(30) }))
        .service(provider.clone());

    let mut calls = JoinSet::new();
    for n in 0..100 {
        let prompt = format!(r#"{{"model": "m", "messages": [{{"role": "user", "content": "{n}"}}]}}"#);
        let request = http::Request::post("/v1/chat/completions").body(Full::<Bytes>::from(prompt))?;
        // Clones share the limit and the circuit.
        calls.spawn(service.clone().oneshot(request));
    }
    let mut answered = 0;
    while let Some(call) = calls.join_next().await {
        answered += u32::from(call??.status().is_success());
    }

    let stats = provider.stats();
    let refused = stats.by_status.get(&429).copied().unwrap_or(0);
    println!("{answered} of 100 answered; {} requests, {refused} of them refused with 429", stats.seen);
    Ok(())
}
