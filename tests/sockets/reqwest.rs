//! reqwest's client behind the three layers, composed by hand.

use std::time::Duration;

use aplomb::circuit_breaker::CircuitBreakerLayer;
use aplomb::rate_limit::{Quota, RateLimitLayer};
use aplomb::retry::RetryLayer;
use aplomb::{CallOptions, LayerName, Rejection, find};
use aplomb_mock::{Fault, Mock, Outage, Plan};
use tokio::time::Instant;
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::{chat, flaky};

#[tokio::test]
async fn the_layers_compose_over_reqwest() {
    let server = flaky(5).start().await.unwrap();
    let client = reqwest::Client::builder().timeout(Duration::from_millis(250)).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(
            RetryLayer::new()
                .max_retries(20)
                .backoff(aplomb::core::Exponential::new(Duration::from_millis(20))),
        )
        .layer(RateLimitLayer::new([Quota::requests_per_second(1_000)]))
        .layer(CircuitBreakerLayer::new())
        .service(client.clone());
    let url = format!("{}/chat/completions", server.openai_base_url());
    for number in 0..40 {
        let body = chat(&format!("prompt {number}"), false);
        let request = client.post(&url).body(body).build().unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert!(response.status().is_success(), "{}", response.status());
    }
    let stats = server.stats();
    assert!(stats.seen > 40, "some had to be sent again: {stats:?}");
}

#[tokio::test]
async fn options_reach_the_layers_through_the_task_where_the_request_hides_its_extensions() {
    let server = Mock::builder()
        .outage(Duration::ZERO..Duration::from_secs(60), Outage::Unavailable)
        .start()
        .await
        .unwrap();
    let client = reqwest::Client::new();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(RateLimitLayer::new([Quota::requests_per_second(1)]))
        .service(client.clone());
    let url = format!("{}/chat/completions", server.openai_base_url());
    let request = || client.post(&url).body(chat("hello", false)).build().unwrap();

    let once = CallOptions::new().without_retry();
    let response = once.scope(service.call(request())).await.unwrap();
    assert_eq!((response.status().as_u16(), server.stats().seen), (503, 1));

    // The quota of this second is used up: a wait for the next one cannot end in time.
    let soon = CallOptions::new().with_deadline(Instant::now() + Duration::from_millis(1));
    let error = soon.scope(async { service.call(request()).await }).await.unwrap_err();
    assert_eq!(find::<Rejection>(&*error).unwrap().layer(), LayerName::RateLimit);
    assert_eq!(server.stats().seen, 1);
}

#[tokio::test]
async fn a_request_that_cannot_be_copied_passes_once() {
    let server = Mock::builder().plan(Plan::script([Some(Fault::Unavailable)])).start().await.unwrap();
    let client = reqwest::Client::new();
    let url = format!("{}/chat/completions", server.openai_base_url());
    let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>(chat("hello", false))]);
    let request = client.post(&url).body(reqwest::Body::wrap_stream(chunks)).build().unwrap();
    let service = ServiceBuilder::new().layer(RetryLayer::new()).service(client);
    let response = service.oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), server.stats().seen), (503, 1));
}
