//! Tests of the public interface.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agreement;
mod answers;
mod aws_streams;
mod conformance;
mod dimensions;
mod field_cases;
mod first_bytes;
mod forwarding;
mod limits;
mod own_rules;
mod properties;
mod providers;
mod reasons;
mod rules;
mod samples;
mod shapes;
mod streams;
mod support;
mod unusual_streams;
