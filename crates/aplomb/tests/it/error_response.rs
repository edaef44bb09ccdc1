//! Errors as responses: status, when to come back, and bodies that official SDKs understand.

use std::time::Duration;

use aplomb::circuit_breaker::CircuitBreakerLayer;
use aplomb::concurrency::ConcurrencyLimiter;
use aplomb::provider::OpenAi;
use aplomb::rate_limit::{Charge, Quota, RateLimitLayer, RateLimiter};
use aplomb::route::Routes;
use aplomb::{
    BoxError, CallOptions, EndpointLayer, ErrorResponseLayer, Policy, RouterLayer, Shape, ToResponse,
};
use aplomb_mock::{Fault, Mock, Plan};
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt};

fn request() -> http::Request<String> {
    let prompt = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    http::Request::post("/v1/chat/completions").body(prompt.to_string()).unwrap()
}

async fn body(response: Response<Full<Bytes>>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_used_up_quota_is_a_429_with_the_seconds_rounded_up() {
    let limiter = RateLimiter::new([Quota::requests_per_minute(60)]);
    limiter.try_acquire(&Charge::request()).unwrap().sent();
    tokio::time::advance(Duration::from_millis(1)).await;
    let error = limiter.try_acquire(&Charge::request()).unwrap_err();
    let response = error.to_response(Shape::OpenAi);
    assert_eq!(response.status(), 429);
    assert_eq!(
        (&response.headers()["retry-after"], &response.headers()["retry-after-ms"]),
        (&"1".parse().unwrap(), &"999".parse().unwrap())
    );
    assert_eq!(response.headers()["ratelimit"], "\"requests\";r=0;t=1");
    let told = &body(response).await["error"];
    assert_eq!((&told["type"], &told["code"]), (&json!("requests"), &json!("rate_limit_exceeded")));
    assert!(told["message"].as_str().unwrap().contains("rate limit"), "{told}");

    let told = body(error.to_response(Shape::Anthropic)).await;
    assert_eq!((&told["type"], &told["error"]["type"]), (&json!("error"), &json!("rate_limit_error")));
    let plain = error.to_response(Shape::Plain);
    assert!(plain.headers().get("retry-after-ms").is_none());
    assert_eq!(plain.headers()["content-type"], "text/plain; charset=utf-8");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_fits_is_a_413_and_not_repeated() {
    let limiter = RateLimiter::new([Quota::tokens_per_minute(100)]);
    let error = limiter.acquire(Charge::request().input_tokens(1_000)).await.unwrap_err();
    let response = error.to_response(Shape::OpenAi);
    assert_eq!((response.status().as_u16(), response.headers().get("retry-after")), (413, None));
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_and_a_full_limit_are_503_and_a_deadline_is_504() {
    let circuit = CircuitBreakerLayer::new().handle();
    circuit.isolate();
    let error: BoxError = circuit.run(async || Ok::<_, BoxError>(())).await.unwrap_err();
    assert_eq!(error.to_response(Shape::Plain).status(), 503);
    assert_eq!(body(error.to_response(Shape::Anthropic)).await["error"]["type"], "overloaded_error");

    let limiter = ConcurrencyLimiter::new(1);
    let options = CallOptions::new().with_deadline(Instant::now());
    let _held = limiter.acquire(&CallOptions::new()).await.unwrap();
    let error = limiter.acquire(&options).await.unwrap_err();
    assert_eq!(error.to_response(Shape::Plain).status(), 503);

    let mock = Mock::builder().plan(Plan::default().attempt(1, Fault::Hang)).build();
    let policy = Policy::new().deadline(Duration::from_secs(1));
    let endpoint = EndpointLayer::with_policy(OpenAi, policy).unwrap().layer(mock);
    let error = endpoint.oneshot(request()).await.unwrap_err();
    assert_eq!(body(error.to_response(Shape::OpenAi)).await["error"]["code"], "timeout");
    assert_eq!(error.to_response(Shape::Plain).status(), 504);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_model_is_a_404_a_broken_provider_a_502_and_foreign_errors_tell_nothing() {
    let router = RouterLayer::new(Routes::new().reject_unmatched()).unwrap().layer(Mock::builder().build());
    let error = router.oneshot(request()).await.unwrap_err();
    assert_eq!(error.to_response(Shape::OpenAi).status(), 404);

    let mock = Mock::builder().plan(Plan::seeded(1).rate(Fault::Reset, 1.0)).build();
    let layer = EndpointLayer::with_policy(OpenAi, Policy::new().max_retries(0)).unwrap();
    let error = layer.layer(mock).oneshot(request()).await.unwrap_err();
    assert_eq!(error.to_response(Shape::OpenAi).status(), 502);

    let foreign = std::io::Error::other("https://api.example.com/?key=secret");
    let response = foreign.to_response(Shape::Plain);
    assert_eq!(response.status(), 500);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "the request failed");
}

#[tokio::test(start_paused = true)]
async fn the_layer_answers_instead_of_failing() {
    let limit = RateLimitLayer::inbound([Quota::requests_per_minute(1)]);
    let service = ServiceBuilder::new()
        .layer(ErrorResponseLayer::new(Shape::OpenAi))
        .layer(limit)
        .service(Mock::builder().build());
    let statuses = [
        service.clone().oneshot(request()).await,
        service.oneshot(request()).await,
    ]
    .map(|Ok(response)| response.status().as_u16());
    assert_eq!(statuses, [200, 429]);
}
