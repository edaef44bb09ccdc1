//! The clients themselves, over loopback, against the mock.
//!
//! Real time passes here: waits are short, and nothing is asserted about how long they took.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod async_openai;
mod rig;
mod tonic;

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
