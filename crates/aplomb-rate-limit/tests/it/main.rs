//! The promises of the rate limit, in virtual time.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod compiles;
mod doubtful;
mod events;
#[path = "../../../aplomb-admission/tests/support/mod.rs"]
mod gate_support;
mod inbound;
mod keyed;
mod layer;
mod limiter;
mod live;
mod pool;
mod settle;
mod sim;
mod unknown;
