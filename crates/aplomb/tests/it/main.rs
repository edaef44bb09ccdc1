//! The endpoint against the mock provider, in virtual time.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod budget;
mod calls;
mod circuit;
mod collapse;
mod concurrency;
mod endpoint;
mod exhausted;
mod faults;
mod hook;
mod keyed;
mod load;
mod policies;
mod policy;
mod report;
mod review;
mod script;
mod streams;
mod timeouts;
mod token_quotas;
mod tokens;
mod unknown;
