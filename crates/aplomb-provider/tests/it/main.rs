//! What the dialects promise, seen from outside.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod agreement;
mod answers;
mod conformance;
mod limits;
mod properties;
mod providers;
mod review;
mod rules;
mod samples;
mod shapes;
mod streams;
mod support;
