//! The promises of the concurrency limit, in virtual time.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod drops;
mod gate;
mod keyed;
mod layer;
mod limiter;
mod refusal;
mod support;
mod worth;
