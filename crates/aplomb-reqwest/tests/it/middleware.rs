//! Layers as middleware: state is shared, attempts pass the rest of the chain, extensions go both ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aplomb::circuit_breaker::{CircuitBreakerLayer, CircuitOpen};
use aplomb::rate_limit::{Quota, RateLimitLayer, RateLimited};
use aplomb::retry::RetryLayer;
use aplomb::route::{Route, Routes};
use aplomb::{CallOptions, DeadlinePassed, EndpointError, LayerName, Report, RouterLayer, find};
use aplomb_mock::{Fault, Mock, Outage, Plan};
use aplomb_reqwest::Middleware;
use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{ClientBuilder, Error, Next};
use tokio::time::Instant;
use tower::ServiceBuilder;

use crate::{chat, endpoint};

/// Counts the requests that pass it, in the extensions too.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU32>);

#[derive(Clone, Debug, PartialEq)]
struct Passed(u32);

#[async_trait::async_trait]
impl reqwest_middleware::Middleware for Counter {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let passed = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        extensions.insert(Passed(passed));
        next.run(request, extensions).await
    }
}

/// Fails unless those inside have said how many requests passed.
struct Reads(u32);

#[async_trait::async_trait]
impl reqwest_middleware::Middleware for Reads {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let response = next.run(request, extensions).await?;
        assert_eq!(extensions.get(), Some(&Passed(self.0)));
        Ok(response)
    }
}

#[tokio::test]
async fn middlewares_inside_run_for_each_attempt_and_those_outside_once() {
    let plan = Plan::script([Some(Fault::Unavailable), Some(Fault::Reset)]);
    let server = Mock::builder().plan(plan).start().await.unwrap();
    let (outside, inside) = (Counter::default(), Counter::default());
    let client = ClientBuilder::new(reqwest::Client::new())
        .with(outside.clone())
        .with(Reads(3))
        .with(Middleware::endpoint(endpoint()))
        .with(inside.clone())
        .build();
    let url = format!("{}/chat/completions", server.openai_base_url());
    let response = client.post(&url).body(chat("hello", false).to_string()).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.url().as_str()), (200, &*url));
    assert_eq!(Report::of(&response).unwrap().sent(), 3);
    let counts = [&outside, &inside].map(|counter| counter.0.load(Ordering::Relaxed));
    assert_eq!((counts, server.stats().seen), ([1, 3], 3));
}

#[tokio::test]
async fn options_come_in_the_extensions_and_errors_can_be_taken_apart() {
    let server = Mock::builder().plan(Plan::script([Some(Fault::Hang)])).start().await.unwrap();
    let client = ClientBuilder::new(reqwest::Client::new()).with(Middleware::endpoint(endpoint())).build();
    let url = format!("{}/chat/completions", server.openai_base_url());
    let soon = CallOptions::new().with_deadline(Instant::now() + Duration::from_millis(100));
    let request = client.post(&url).body(chat("hello", false).to_string()).with_extension(soon);
    let error = request.send().await.unwrap_err();
    assert!(find::<DeadlinePassed>(&error).is_some(), "{error:?}");
    assert_eq!(find::<EndpointError>(&error).unwrap().report().sent(), 1);
}

#[tokio::test]
async fn a_router_and_the_single_layers_are_middleware_too() {
    let server = Mock::builder().plan(Plan::script([Some(Fault::Unavailable)])).start().await.unwrap();
    let routes = Routes::new().route(Route::new().model("mock"), endpoint()).reject_unmatched();
    let limit = RateLimitLayer::new([Quota::requests_per_hour(2).burst(2)]).max_wait(Duration::ZERO);
    let client = ClientBuilder::new(reqwest::Client::new())
        .with(Middleware::new(limit))
        .with(Middleware::endpoint(RouterLayer::new(routes).unwrap()))
        .build();
    let url = format!("{}/chat/completions", server.openai_base_url());
    let ask = || client.post(&url).body(chat("hello", false).to_string()).send();
    assert_eq!((ask().await.unwrap().status().as_u16(), server.stats().seen), (200, 2));
    assert_eq!(ask().await.unwrap().status(), 200);
    let error = ask().await.unwrap_err();
    assert!(
        find::<RateLimited>(&error).is_some() && find::<EndpointError>(&error).is_none(),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_stack_of_layers_is_one_middleware_and_its_state_is_shared() {
    let outage = Duration::ZERO..Duration::from_secs(60);
    let server = Mock::builder().outage(outage, Outage::Unavailable).start().await.unwrap();
    let circuit = CircuitBreakerLayer::new().trip(aplomb::circuit_breaker::Trip::consecutive(3));
    let stack = ServiceBuilder::new().layer(RetryLayer::new().max_retries(1)).layer(circuit).into_inner();
    let client = ClientBuilder::new(reqwest::Client::new()).with(Middleware::new(stack)).build();
    let url = format!("{}/chat/completions", server.openai_base_url());
    let once = CallOptions::new().without_retry();
    for _ in 0..3 {
        let request = client.post(&url).body(chat("hello", false).to_string()).with_extension(once);
        assert_eq!(request.send().await.unwrap().status(), 503);
    }
    let error = client.post(&url).body("{}").with_extension(once).send().await.unwrap_err();
    assert!(find::<CircuitOpen>(&error).is_some(), "{error:?}");
    assert_eq!(find::<aplomb::Rejection>(&error).unwrap().layer(), LayerName::CircuitBreaker);
}

#[tokio::test]
async fn reqwests_own_errors_stay_what_they_are() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let retry = Middleware::new(RetryLayer::new().max_retries(0));
    let client = ClientBuilder::new(reqwest::Client::new()).with(retry).build();
    let error = client.get(format!("http://{closed}/")).send().await.unwrap_err();
    assert!(matches!(error, Error::Reqwest(_)) && error.is_connect());
}
