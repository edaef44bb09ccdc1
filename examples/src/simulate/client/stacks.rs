//! aplomb's layers, in the combinations that are compared.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use aplomb::RequestView;
use aplomb::circuit_breaker::{CircuitBreakerLayer, CircuitState, OnOpen};
use aplomb::provider::Generic;
use aplomb::rate_limit::{Quota, RateLimitLayer};
use aplomb::retry::{RetryLayer, Throttled};
use aplomb::{BoxError, EndpointHandle, EndpointLayer, Policy};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use super::{Ask, Http, Look};
use crate::simulate::prompt::{Prompt, TENANT};
use crate::simulate::scenario::Scenario;

/// The retries of the policy for batches.
const RETRIES: u32 = 20;

/// The policy for batches, with everything that a user of the scenario's server could know.
pub(crate) fn told(scenario: &Scenario) -> Policy {
    let policy = Policy::batch().quotas(scenario.told.iter().copied());
    match scenario.told_places {
        Some(places) => policy.concurrency(places),
        None => policy,
    }
}

/// An endpoint with all layers.
pub(crate) fn endpoint(http: Http, scenario: &Scenario, policy: Policy, seed: u64) -> Box<dyn Ask> {
    let policy = policy.attempt_timeout(scenario.attempt_timeout).seed(seed);
    let mut layer = EndpointLayer::with_policy(Generic, policy).expect("the scenarios are valid");
    if let Some(quota) = scenario.each_tenant {
        layer = layer.quotas_per(tenant, move |_: &String| [quota]);
    }
    let handle = layer.handle();
    Box::new(Stack { service: layer.layer(http), look: move || look(&handle) })
}

fn tenant(request: &RequestView<'_>) -> String {
    let header = request.headers().and_then(|headers| headers.get(TENANT));
    header.and_then(|tenant| tenant.to_str().ok()).unwrap_or_default().to_owned()
}

fn look(gates: &EndpointHandle) -> Look {
    let circuit = gates.circuit().expect("all calls have the same gates");
    Look {
        waiting: gates.waiting(),
        open: circuit.state() != CircuitState::Closed,
        transitions: circuit.epoch(),
        paused: gates.paused_until().map_or(Duration::ZERO, |until| until - Instant::now()),
        rate: gates.learned().known_rate(),
        limit: gates.concurrency().map(|limit| limit.limit()),
    }
}

/// The retry layer alone.
pub(crate) fn retry(http: Http, scenario: &Scenario, seed: u64) -> Box<dyn Ask> {
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new().max_retries(RETRIES).random_seed(seed))
        .timeout(scenario.attempt_timeout)
        .service(http);
    Box::new(Stack { service, look: || Look::default() })
}

/// The three layers, combined as in the guide.
pub(crate) fn layers(http: Http, scenario: &Scenario, seed: u64) -> Box<dyn Ask> {
    let quotas: Vec<Quota> = Vec::new();
    let retry = RetryLayer::new().max_retries(RETRIES).throttled(Throttled::Requeue);
    let service = ServiceBuilder::new()
        .layer(retry.random_seed(seed))
        .layer(RateLimitLayer::new(quotas).seed(seed))
        .layer(
            CircuitBreakerLayer::new()
                .seed(seed)
                .on_open(OnOpen::Park { max: Duration::from_secs(150) }),
        )
        .timeout(scenario.attempt_timeout)
        .service(http);
    Box::new(Stack { service, look: || Look::default() })
}

/// A stack, and access to its state.
struct Stack<S, L> {
    service: S,
    look: L,
}

impl<S, B, L> Ask for Stack<S, L>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug + Send, Future: Send>,
    S: Clone + Send + Sync,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send,
    L: Fn() -> Look + Send + Sync,
{
    fn ask<'a>(&'a self, prompt: &'a Prompt) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            let Ok(response) = self.service.clone().oneshot(prompt.request()).await else {
                return false;
            };
            if !response.status().is_success() {
                return false;
            }
            let body = response.into_body().collect().await;
            body.is_ok_and(|body| prompt.is_answered_by(&body.to_bytes()))
        })
    }

    fn look(&self) -> Look {
        (self.look)()
    }
}
