//! The endpoint against the mock provider, in virtual time.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod budget;
mod calls;
mod changes;
mod circuit;
mod clients;
mod collapse;
mod concurrency;
mod credentials;
mod drops;
mod edges;
mod empty;
mod endpoint;

mod error_response;
mod exhausted;
mod faults;
mod frames;
mod hook;
mod judge;
mod keyed;
mod load;
mod policy;
mod ready;
mod report;
mod router;
mod script;
mod streams;
mod tenants;
mod timeouts;
mod token_quotas;
mod tokens;
mod types;
mod unknown;
mod usage;
