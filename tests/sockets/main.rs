//! The stack over real sockets on loopback: hyper-util's client, reqwest and axum, with the mock provider.
//!
//! Real time passes here: waits are short, and nothing is asserted about how long they took.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod axum;
mod hyper;
mod reqwest;
mod transport;

use std::time::Duration;

use aplomb_mock::{Builder, Fault, Latency, Mock, Plan};

/// A provider that fails in every way a connection can, often.
fn flaky(seed: u64) -> Builder {
    let plan = Plan::seeded(seed)
        .rate(Fault::Unavailable, 0.04)
        .rate(Fault::Overloaded, 0.03)
        .rate(Fault::Reset, 0.04)
        .rate(Fault::Truncate, 0.04)
        .rate(Fault::Hang, 0.02);
    Mock::builder().latency(Latency::constant(Duration::from_millis(5))).plan(plan)
}

fn chat(prompt: &str, stream: bool) -> String {
    serde_json::json!({
        "model": "mock",
        "max_tokens": 16,
        "stream": stream,
        "messages": [{ "role": "user", "content": prompt }],
    })
    .to_string()
}

fn message(prompt: &str, stream: bool) -> String {
    // A request with only a prompt is the same in both APIs.
    chat(prompt, stream)
}
