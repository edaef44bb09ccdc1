//! The examples in the README and in the guides, compiled and run.
#![doc = include_str!("../README.md")]

#[doc = include_str!("../docs/guide/backoff.md")]
#[cfg(doctest)]
struct Backoff;

#[doc = include_str!("../docs/guide/circuit-breaker.md")]
#[cfg(doctest)]
struct CircuitBreaker;

#[doc = include_str!("../docs/guide/concurrency.md")]
#[cfg(doctest)]
struct Concurrency;

#[doc = include_str!("../docs/guide/endpoint.md")]
#[cfg(doctest)]
struct Endpoint;

#[doc = include_str!("../docs/guide/from-tenacity.md")]
#[cfg(doctest)]
struct FromTenacity;

#[doc = include_str!("../docs/guide/retry.md")]
#[cfg(doctest)]
struct Retry;

#[doc = include_str!("../docs/guide/rate-limit.md")]
#[cfg(doctest)]
struct RateLimit;

#[doc = include_str!("../docs/guide/providers.md")]
#[cfg(doctest)]
struct Providers;

#[doc = include_str!("../docs/guide/troubleshooting.md")]
#[cfg(doctest)]
struct Troubleshooting;

#[doc = include_str!("../docs/guide/reqwest.md")]
#[cfg(doctest)]
struct Reqwest;

#[doc = include_str!("../docs/guide/inbound.md")]
#[cfg(doctest)]
struct Inbound;
