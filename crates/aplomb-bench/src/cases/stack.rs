//! A retry, a rate limit, a circuit breaker and a timeout together.

use std::time::Duration;

use aplomb::EndpointLayer;
use aplomb::provider::OpenAi;
use aplomb_circuit_breaker::CircuitBreakerLayer;
use aplomb_rate_limit::{Dimension, RateLimitLayer};
use aplomb_retry::RetryLayer;
use tower::ServiceBuilder;
use tower::timeout::TimeoutLayer;
use tower_resilience_circuitbreaker::CircuitBreakerLayer as TowerResilience;
use tower_resilience_ratelimiter::RateLimiterLayer;
use tower_resilience_timelimiter::TimeLimiterLayer;

use super::limit::{PLENTY, SECOND, plenty};
use super::retry::{Attempts, bare};
use crate::{Calls, Case, Group, Peer, Plain, Response, alone, over};

pub(super) const WHOLE: Group = Group {
    name: "stack",
    about: "a retry, a rate limit, a circuit breaker and a timeout; a request without headers",
    cases: &[
        Case::new("bare", bare::<Plain>),
        Case::new("aplomb-layers", layers),
        Case::new("aplomb-endpoint", endpoint),
        Case::new("tower", tower),
        Case::new("tower-buffer", tower_buffer),
        Case::new("tower-resilience", tower_resilience),
    ],
};

const MINUTE: Duration = Duration::from_secs(60);

fn layers() -> Box<dyn Calls> {
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(RateLimitLayer::new([plenty(Dimension::REQUESTS)]))
        .layer(CircuitBreakerLayer::new())
        .layer(TimeoutLayer::new(MINUTE));
    over::<Plain, _, _>(stack.service(Peer))
}

/// With what an endpoint has besides: it reads what the provider says.
fn endpoint() -> Box<dyn Calls> {
    let layer = EndpointLayer::new(OpenAi).quotas([plenty(Dimension::REQUESTS)]).attempt_timeout(MINUTE);
    over::<Plain, _, _>(ServiceBuilder::new().layer(layer).service(Peer))
}

/// No circuit breaker: tower has none. The rate limit stands outside, since it is not `Clone`.
fn tower() -> Box<dyn Calls> {
    let stack = ServiceBuilder::new().rate_limit(PLENTY.into(), SECOND).retry(Attempts(4)).timeout(MINUTE);
    alone::<Plain, _, _>(stack.service(Peer))
}

/// In the order one would want, which takes a buffer and its task.
fn tower_buffer() -> Box<dyn Calls> {
    let stack = ServiceBuilder::new()
        .retry(Attempts(4))
        .buffer(1_024)
        .rate_limit(PLENTY.into(), SECOND)
        .timeout(MINUTE);
    // Its task lives in the runtime of this case: another thread's would wait for it.
    alone::<Plain, _, _>(stack.service(Peer))
}

fn tower_resilience() -> Box<dyn Calls> {
    let stack = ServiceBuilder::new()
        .layer(
            tower_resilience_retry::RetryLayer::builder()
                .max_attempts(5)
                .exponential_backoff(Duration::from_millis(500))
                .retry_on_response(|response: &Response| response.status().is_server_error())
                .build(),
        )
        .layer(RateLimiterLayer::per_second(PLENTY as usize).build().expect("valid"))
        .layer(TowerResilience::builder().build().expect("valid"))
        .layer(TimeLimiterLayer::builder().timeout_duration(MINUTE).build());
    over::<Plain, _, _>(stack.service(Peer))
}
