//! A retry, a rate limit, a circuit breaker and a timeout together.

use std::time::Duration;

use aplomb::EndpointLayer;
use aplomb::provider::OpenAi;
use aplomb_circuit_breaker::CircuitBreakerLayer;
use aplomb_rate_limit::{Quota, RateLimitLayer};
use aplomb_retry::{Dropped, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::{Layer, ServiceBuilder};

use super::retry::{Attempts, bare};
use crate::{Ai, Calls, Case, Failed, Group, Peer, Request, Response, alone, over};

pub(super) const WHOLE: Group = Group {
    name: "stack",
    about: "retry, rate limit, circuit breaker and timeout; the request of an AI call",
    cases: &[
        Case::new("bare", bare::<Ai>),
    ],
};
