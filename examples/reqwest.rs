//! Around the calls of reqwest that you have: `cargo run --example reqwest`.
//!
//! A retry, a rate limit and a circuit breaker take any async call as a closure. The client at the end is all of them in one,
//! and reads what the provider says.

use std::time::Duration;

use aplomb::circuit_breaker::CircuitBreakerLayer;
use aplomb::core::HttpClassifier;
use aplomb::provider::OpenAi;
use aplomb::rate_limit::{Charge, Quota, RateLimiter};
use aplomb::retry::RetryLayer;
use aplomb::{BoxError, Report};
use aplomb_mock::{Fault, Mock, Plan, Server};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = provider().await?;
    let (base_url, key) = (server.openai_base_url(), "any");
    let url = format!("{base_url}/chat/completions");
    let prompt = json!({"model": "mock", "messages": [{"role": "user", "content": "Why is the sky blue?"}]});
    let client = reqwest::Client::new();

    let retry = RetryLayer::new();
    let response = retry.run(|| client.post(&url).bearer_auth(key).json(&prompt).send()).await?;
    println!("retry:    {}", response.status());

    let limiter = RateLimiter::new([Quota::requests_per_minute(600)]);
    let response = limiter.run(Charge::request(), || client.post(&url).json(&prompt).send()).await?;
    println!("limiter:  {}", response.status());

    let circuit = CircuitBreakerLayer::new().handle();
    let judge = HttpClassifier::new(); // for a 503 to count as a failure
    let response = circuit.run_classified(&judge, || client.post(&url).json(&prompt).send()).await?;
    println!("circuit:  {}", response.status());

    let client = aplomb_reqwest::Client::resilient(OpenAi, &base_url, key, Duration::from_secs(120))?;
    let response = client.post("/chat/completions").json(&prompt).send().await?;
    let report = Report::of(&response).map(|report| report.to_string()).unwrap_or_default();
    println!("all:      {}, {report}", response.status());
    Ok(())
}

/// A provider on this machine, which fails now and then.
async fn provider() -> Result<Server, BoxError> {
    let plan = Plan::script([
        Some(Fault::Unavailable),
        Some(Fault::Reset),
        None,
        None,
        None,
        Some(Fault::Overloaded),
    ]);
    Ok(Mock::builder().plan(plan).start().await?)
}
