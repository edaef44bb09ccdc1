//! The contract every layer keeps: promises about readiness, wakers, shared state and panics, run over
//! each layer and over compositions, in virtual time.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod compiles;
mod dependencies;
mod log;
mod peer;
mod promises;

use std::time::Duration;

use aplomb::circuit_breaker::{CircuitBreakerLayer, Cooldown, OnOpen, Trip};
use aplomb::concurrency::ConcurrencyLimitLayer;
use aplomb::core::{Account, Exponential, Jitter};
use aplomb::provider::OpenAi;
use aplomb::rate_limit::{Pool, Quota, RateLimitLayer};
use aplomb::retry::RetryLayer;
use aplomb::{CallOptions, EndpointLayer, Policy};
use tower::ServiceBuilder;

const SECOND: Duration = Duration::from_secs(1);

fn retry() -> RetryLayer {
    RetryLayer::new().backoff(SECOND)
}

fn rate_limit() -> RateLimitLayer {
    RateLimitLayer::new([Quota::requests_per_second(1)])
}

/// One of the lines on a quota.
fn pooled_rate_limit() -> RateLimitLayer {
    RateLimitLayer::with_pool(&Pool::new([Quota::requests_per_second(1)]))
}

fn keyed_rate_limit() -> RateLimitLayer {
    rate_limit().by_account().max_keys(10)
}

/// A second of cooldown after each failure, which calls wait for.
fn circuit_breaker() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new().trip(Trip::consecutive(1)).cooldown(a_second()).on_open(PARK)
}

fn keyed_circuit_breaker() -> CircuitBreakerLayer {
    circuit_breaker().by_account().max_keys(10)
}

const PARK: OnOpen = OnOpen::Park { max: Duration::from_secs(10) };

fn a_second() -> Cooldown {
    Cooldown::new(Exponential::new(SECOND).max(SECOND).jitter(Jitter::None))
}

/// One at a time. After the first call somebody else has the place, for a second.
fn concurrency() -> ConcurrencyLimitLayer {
    let layer = ConcurrencyLimitLayer::new(1);
    let limiter = layer.limiter();
    tokio::spawn(async move {
        let permit = limiter.acquire(&CallOptions::new()).await;
        tokio::time::sleep(SECOND).await;
        drop(permit);
    });
    layer
}

/// The same for each key.
fn keyed_concurrency() -> ConcurrencyLimitLayer {
    let layer = ConcurrencyLimitLayer::new(1).by_account().max_keys(10);
    let (key, limiter) = (Account::of(&promises::request("/")), layer.limiter());
    tokio::spawn(async move {
        let permit = limiter.acquire_for(&key, &CallOptions::new()).await;
        tokio::time::sleep(SECOND).await;
        drop(permit);
    });
    layer
}

fn policy() -> Policy {
    Policy::new().quota(Quota::requests_per_second(1))
}

fn endpoint(policy: Policy) -> EndpointLayer {
    EndpointLayer::with_policy(OpenAi, policy).unwrap()
}

/// Makes a module of tests for a layer. The statuses are those the peer answers with, in order, such
/// that the second call has to wait and then succeeds.
macro_rules! keeps_the_contract {
    ($($name:ident: $layer:expr, $statuses:expr;)*) => {$(
        mod $name {
            #[allow(unused_imports, reason = "what the layers are made of")]
            use super::*;
            use crate::promises;

            #[tokio::test(start_paused = true)]
            async fn calls_only_what_is_ready_and_holds_no_readiness_while_it_waits() {
                promises::readiness(|| $layer, &$statuses).await;
            }

            #[tokio::test(start_paused = true)]
            async fn is_always_ready_and_tells_of_a_finished_service_in_the_call() {
                promises::finished(|| $layer).await;
            }

            #[tokio::test(start_paused = true)]
            async fn is_polled_a_handful_of_times_while_it_waits() {
                promises::polls(|| $layer, &$statuses).await;
            }

            #[tokio::test(start_paused = true)]
            async fn shares_its_state_between_services_and_clones() {
                promises::shared(|| $layer, &$statuses).await;
            }

            #[tokio::test(start_paused = true)]
            async fn survives_a_panic_in_the_inner_call() {
                promises::panics(|| $layer).await;
            }

            #[tokio::test(start_paused = true)]
            async fn survives_being_dropped_after_any_number_of_polls() {
                promises::dropped(|| $layer, &$statuses).await;
            }

            #[tokio::test(start_paused = true)]
            async fn works_above_a_concurrency_limit() {
                promises::above_a_limit(|| $layer, &$statuses).await;
            }
        }
    )*};
}

keeps_the_contract! {
    retry_alone: retry(), [200, 503, 200];
    rate_limit_alone: rate_limit(), [200, 200];
    rate_limit_by_key: keyed_rate_limit(), [200, 200];
    rate_limit_of_a_pool: pooled_rate_limit(), [200, 200];
    rate_limit_of_a_pool_to_the_end_of_the_body: pooled_rate_limit().until_body_end(), [200, 200];
    circuit_breaker_alone: circuit_breaker(), [503, 200];
    circuit_breaker_by_key: keyed_circuit_breaker(), [503, 200];
    circuit_breaker_by_key_to_the_end_of_the_body: keyed_circuit_breaker().until_body_end(), [503, 200];
    fail_fast_over_circuit_breaker_by_key: {
        let breaker = keyed_circuit_breaker();
        let fail_fast = breaker.handle().fail_fast();
        ServiceBuilder::new().layer(fail_fast).layer(rate_limit()).layer(breaker).into_inner()
    }, [200, 200];
    concurrency_limit_alone: concurrency(), [200, 200];
    concurrency_limit_to_the_head: concurrency().until_head(), [200, 200];
    concurrency_limit_by_key: keyed_concurrency(), [200, 200];
    concurrency_limit_by_key_to_the_head: keyed_concurrency().until_head(), [200, 200];
    endpoint_whole: endpoint(policy()), [200, 200];
    endpoint_with_a_concurrency_limit: endpoint(policy().concurrency(1)), [200, 200];
    endpoint_that_retries: endpoint(policy()), [200, 503, 200];
    endpoint_with_a_hook: endpoint(policy()).request_hook(async |outgoing| Ok(outgoing)), [200, 503, 200];
    endpoint_by_key: endpoint(policy()).by_account(), [200, 503, 200];
    retry_over_rate_limit_over_circuit_breaker:
        ServiceBuilder::new().layer(retry()).layer(rate_limit()).layer(circuit_breaker()).into_inner(),
        [200, 503, 200];
    fail_fast_over_rate_limit_over_circuit_breaker: {
        let breaker = circuit_breaker();
        ServiceBuilder::new().layer(breaker.handle().fail_fast()).layer(rate_limit()).layer(breaker).into_inner()
    }, [200, 200];
    rate_limit_to_the_end_of_the_body: rate_limit().until_body_end(), [200, 200];
    circuit_breaker_to_the_end_of_the_body: circuit_breaker().until_body_end(), [503, 200];
}
