//! The examples in the README and in the guides, compiled and run.
#![doc = include_str!("../README.md")]

#[doc = include_str!("../docs/guide/circuit-breaker.md")]
#[cfg(doctest)]
struct CircuitBreaker;
