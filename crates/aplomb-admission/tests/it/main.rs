//! The behaviour of the queue and of the service that all gates share.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod admission;
mod expected_latency;
#[path = "../support/mod.rs"]
mod gate_support;
mod gates;
mod handle;
mod keyed;
mod panics;
mod pooled;
mod queue;
