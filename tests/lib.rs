//! The examples in the README and in the guide, compiled and run.
#![doc = include_str!("../README.md")]

#[doc = include_str!("../docs/guide/rate-limit.md")]
pub mod rate_limit {}
