//! The adapter with reqwest's client, against the mock on loopback.
//!
//! Real time passes here: waits are short, and nothing is asserted about how long they took.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bodies;
mod client;
mod middleware;
mod types;

use std::time::Duration;

use aplomb::core::Exponential;
use aplomb::provider::OpenAi;
use aplomb::retry::ByKind;
use aplomb::{EndpointLayer, Policy};

/// An endpoint that retries soon.
fn endpoint() -> EndpointLayer {
    EndpointLayer::with_policy(OpenAi, quick()).unwrap()
}

fn quick() -> Policy {
    let soon = Exponential::new(Duration::from_millis(1));
    Policy::new().backoff(ByKind::default().throttled(soon).others(soon))
}

fn chat(prompt: &str, stream: bool) -> serde_json::Value {
    serde_json::json!({
        "model": "mock",
        "max_tokens": 16,
        "stream": stream,
        "messages": [{"role": "user", "content": prompt}],
    })
}
