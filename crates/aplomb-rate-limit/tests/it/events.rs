//! Events: pauses, learned limits, rejections.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb_core::{Event, Outcome};
use aplomb_rate_limit::{Charge, Dimension, Pool, Quota, RateLimitLayer, RateLimiter, Reading};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};

const S: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A layer, and its events so far, as log lines.
fn observed(layer: RateLimitLayer) -> (RateLimitLayer, impl Fn() -> Vec<String>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let seen = Arc::clone(&seen);
        move |event: &Event| seen.lock().unwrap().push(event.to_string())
    };
    (layer.observer(observer), move || std::mem::take(&mut *seen.lock().unwrap()))
}

async fn call(limiter: &RateLimiter, readings: &[Reading], outcome: Outcome) {
    let mut permit = limiter.acquire(Charge::request()).await.unwrap();
    permit.sent();
    permit.limits(readings);
    permit.end(outcome);
}

#[tokio::test(start_paused = true)]
async fn promise_23_the_begin_and_the_end_of_a_pause_are_reported_once() {
    let (layer, events) = observed(RateLimitLayer::new([Quota::requests_per_second(100)]));
    let limiter = layer.limiter();
    let mut flying = Vec::new();
    for _ in 0..3 {
        flying.push(limiter.acquire(Charge::request()).await.unwrap());
    }
    for permit in flying {
        permit.end(Outcome::throttled().with_retry_after(3 * S));
    }
    assert_eq!(events(), ["rate limit paused for 3.0 s: throttled"]);
    for _ in 0..3 {
        call(&limiter, &[], Outcome::success()).await;
    }
    assert_eq!(events(), ["rate limit resumed"]);
}

#[tokio::test(start_paused = true)]
async fn learned_limits_and_their_expiry_are_reported() {
    let (layer, events) = observed(RateLimitLayer::new([]));
    let limiter = layer.limiter();
    let reading = Reading::of(Dimension::REQUESTS).with_limit(600).with_remaining(500).with_window(60 * S);
    call(&limiter, &[reading], Outcome::success()).await;
    call(&limiter, &[reading.with_remaining(499)], Outcome::success()).await;
    let learned = events();
    assert_eq!(learned.len(), 1, "{learned:?}");
    assert!(learned[0].contains("600 requests per 60"), "{learned:?}");
    advance(HOUR).await;
    call(&limiter, &[], Outcome::success()).await;
    let lapsed = events();
    assert_eq!(lapsed.len(), 1, "{lapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_is_reported() {
    let (layer, events) =
        observed(RateLimitLayer::new([Quota::requests_per_second(1)]).max_wait(Duration::ZERO));
    let answers = service_fn(async |_: http::Request<()>| Ok::<_, Infallible>(http::Response::new(())));
    let service = layer.layer(answers);
    service.clone().oneshot(http::Request::new(())).await.unwrap();
    service.clone().oneshot(http::Request::new(())).await.unwrap_err();
    assert_eq!(events(), ["rate limit rejected call: would wait too long, retry after 1.0 s"]);
}

#[tokio::test(start_paused = true)]
async fn the_events_of_a_pool_reach_the_observer_of_the_member_that_caused_them() {
    let pool = Pool::new([Quota::requests_per_second(10)]);
    let (one, events_of_one) = observed(RateLimitLayer::with_pool(&pool));
    let (other, events_of_other) = observed(RateLimitLayer::with_pool(&pool));
    call(&one.limiter(), &[], Outcome::throttled().with_retry_after(3 * S)).await;
    assert_eq!((events_of_one().len(), events_of_other().len()), (1, 0));
    call(&other.limiter(), &[], Outcome::success()).await;
    assert_eq!(events_of_other(), ["rate limit resumed"]);
}
