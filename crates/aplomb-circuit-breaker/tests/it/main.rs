//! How the circuit breaker behaves, in virtual time.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod adopt;
mod contract;
mod drops;
mod fail_fast;
#[path = "../../../aplomb-admission/tests/support/mod.rs"]
mod gate_support;
mod gates;
mod handle;
mod interleavings;
mod keyed;
mod model;
mod nobody;
mod on_abandoned;
mod park;
mod probes;
mod ramp;
mod refusal;
mod rivals;
mod scenarios;
mod slow;
mod support;
mod trips;
