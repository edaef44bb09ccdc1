//! What the dialects promise, seen from outside.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agreement;
mod answers;
mod conformance;
mod forwarding;
mod limits;
mod properties;
mod providers;
mod reasons;
mod rules;
mod samples;
mod shapes;
mod strange;
mod streams;
mod support;
