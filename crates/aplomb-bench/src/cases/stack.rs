//! A retry, a rate limit, a circuit breaker and a timeout together, and with everything.

use std::time::Duration;

use aplomb::concurrency::{Adaptive, ConcurrencyLimitLayer};
use aplomb::provider::OpenAi;
use aplomb::{EndpointLayer, Policy};
use aplomb_circuit_breaker::CircuitBreakerLayer;
use aplomb_rate_limit::{Dimension, RateLimitLayer};
use aplomb_retry::RetryLayer;
use tower::ServiceBuilder;
use tower::timeout::TimeoutLayer;
use tower_resilience_adaptive::{AdaptiveLimiterLayer, Aimd};
use tower_resilience_circuitbreaker::CircuitBreakerLayer as TowerResilience;
use tower_resilience_ratelimiter::RateLimiterLayer;
use tower_resilience_timelimiter::TimeLimiterLayer;

use super::limit::{PLENTY, SECOND, plenty};
use super::retry::Attempts;
use super::settle::{quotas, reserved};
use crate::{Ask, Asked, Calls, Case, Group, Long, Peer, Plain, Request, Response, Silent, alone, over};

pub(super) const WHOLE: Group = Group {
    name: "stack",
    about: "a retry, a rate limit, a circuit breaker and a timeout; a request without headers",
    cases: &[
        Case::new("bare", bare::<Plain, Peer>),
        Case::new("aplomb-layers", layers::<Plain, Peer>),
        Case::new("aplomb-endpoint", endpoint::<Plain, Peer>),
        Case::new("tower", tower::<Plain, Peer>),
        Case::new("tower-buffer", tower_buffer::<Plain, Peer>),
        Case::new("tower-resilience", tower_resilience::<Plain, Peer>),
    ],
};

pub(super) const EVERYTHING: Group = Group {
    name: "stack-everything",
    about: "the same with tokens, a concurrency limit and a deadline where there are any; the answer is read",
    cases: &[
        Case::new("bare", bare::<Plain, Peer>).read(),
        Case::new("aplomb-layers", all_layers::<Plain, Peer>).read(),
        Case::new("aplomb-endpoint", all_of_the_endpoint::<Plain, Peer>).read(),
        Case::new("tower", all_of_tower::<Plain, Peer>).read(),
        Case::new("tower-resilience", all_of_tower_resilience::<Plain, Peer>).read(),
    ],
};

pub(super) const IN_FLIGHT: Group = Group {
    name: "in-flight",
    about: "heap use of a call while the peer does not answer; a request of 2 KiB with six headers",
    cases: &[
        Case::new("bare", bare::<Long, Silent>).warm(0),
        Case::new("aplomb-layers", layers::<Long, Silent>).warm(0),
        Case::new("aplomb-endpoint", endpoint::<Long, Silent>).warm(0),
        Case::new("aplomb-layers-everything", all_layers::<Long, Silent>).warm(0),
        Case::new("aplomb-endpoint-everything", all_of_the_endpoint::<Long, Silent>).warm(0),
        Case::new("tower", tower::<Long, Silent>).warm(0),
        Case::new("tower-buffer", tower_buffer::<Long, Silent>).warm(0),
        Case::new("tower-resilience", tower_resilience::<Long, Silent>).warm(0),
        Case::new("tower-resilience-everything", all_of_tower_resilience::<Long, Silent>).warm(0),
    ],
};

const MINUTE: Duration = Duration::from_secs(60);
/// More calls than are ever in flight.
const PLACES: usize = 100_000;

fn bare<A: Ask, P: Asked>() -> Box<dyn Calls> {
    over::<A, _, _>(P::PEER)
}

fn layers<A: Ask, P: Asked>() -> Box<dyn Calls> {
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(RateLimitLayer::new([plenty(Dimension::REQUESTS)]))
        .layer(CircuitBreakerLayer::new())
        .layer(TimeoutLayer::new(MINUTE));
    over::<A, _, _>(stack.service(P::PEER))
}

/// All layers end a call when its answer has been read.
fn all_layers<A: Ask, P: Asked>() -> Box<dyn Calls> {
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(RateLimitLayer::new(quotas()).cost(|_: &Request| reserved()).until_body_end())
        .layer(CircuitBreakerLayer::new().until_body_end())
        .layer(ConcurrencyLimitLayer::new(Adaptive::new().initial(PLACES).max(PLACES)))
        .layer(TimeoutLayer::new(MINUTE));
    over::<A, _, _>(stack.service(P::PEER))
}

/// An endpoint also reads the provider's answer.
fn endpoint<A: Ask, P: Asked>() -> Box<dyn Calls> {
    let layer = EndpointLayer::with_policy(
        OpenAi,
        Policy::new().quotas([plenty(Dimension::REQUESTS)]).attempt_timeout(MINUTE),
    )
    .unwrap();
    over::<A, _, _>(ServiceBuilder::new().layer(layer).service(P::PEER))
}

fn all_of_the_endpoint<A: Ask, P: Asked>() -> Box<dyn Calls> {
    let layer = EndpointLayer::with_policy(
        OpenAi,
        Policy::new()
            .quotas(quotas())
            .concurrency(Adaptive::new().initial(PLACES).max(PLACES))
            .attempt_timeout(MINUTE)
            .deadline(5 * MINUTE),
    )
    .unwrap();
    over::<A, _, _>(ServiceBuilder::new().layer(layer).service(P::PEER))
}

/// Without a circuit breaker, which tower lacks. The rate limit is outermost, because it is not `Clone`.
fn tower<A: Ask, P: Asked>() -> Box<dyn Calls> {
    let stack = ServiceBuilder::new().rate_limit(PLENTY.into(), SECOND).retry(Attempts(4)).timeout(MINUTE);
    alone::<A, _, _>(stack.service(P::PEER))
}

fn all_of_tower<A: Ask, P: Asked>() -> Box<dyn Calls> {
    let stack = ServiceBuilder::new()
        .rate_limit(PLENTY.into(), SECOND)
        .retry(Attempts(4))
        .concurrency_limit(PLACES)
        .timeout(MINUTE);
    alone::<A, _, _>(stack.service(P::PEER))
}

/// The order of the other stacks, which takes a buffer and its task.
fn tower_buffer<A: Ask, P: Asked>() -> Box<dyn Calls> {
    let stack = ServiceBuilder::new()
        .retry(Attempts(4))
        .buffer(1_024)
        .rate_limit(PLENTY.into(), SECOND)
        .timeout(MINUTE);
    // The buffer's task lives in the runtime of this case: calls from another runtime would wait for it.
    alone::<A, _, _>(stack.service(P::PEER))
}

fn tower_resilience<A: Ask, P: Asked>() -> Box<dyn Calls> {
    let stack = ServiceBuilder::new()
        .layer(attempts())
        .layer(RateLimiterLayer::per_second(PLENTY as usize).build().expect("valid"))
        .layer(TowerResilience::builder().build().expect("valid"))
        .layer(TimeLimiterLayer::builder().timeout_duration(MINUTE).build());
    over::<A, _, _>(stack.service(P::PEER))
}

fn all_of_tower_resilience<A: Ask, P: Asked>() -> Box<dyn Calls> {
    let adaptive = Aimd::builder().initial_limit(PLACES).max_limit(PLACES).build().expect("valid");
    let stack = ServiceBuilder::new()
        .layer(attempts())
        .layer(RateLimiterLayer::per_second(PLENTY as usize).build().expect("valid"))
        .layer(TowerResilience::builder().build().expect("valid"))
        .layer(AdaptiveLimiterLayer::new(adaptive))
        .layer(TimeLimiterLayer::builder().timeout_duration(MINUTE).build());
    over::<A, _, _>(stack.service(P::PEER))
}

fn attempts<E>() -> tower_resilience_retry::RetryLayer<Request, Response, E> {
    tower_resilience_retry::RetryLayer::builder()
        .max_attempts(5)
        .exponential_backoff(Duration::from_millis(500))
        .retry_on_response(|response: &Response| response.status().is_server_error())
        .build()
}
