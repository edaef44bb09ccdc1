//! Promises about the layer, in dialogue with a mock service.

use std::time::Duration;

use aplomb_core::{BoxError, LayerName, Outcome, Rejection, find_in};
use aplomb_rate_limit::{Charge, Dimension, Quota, RateLimitLayer, RateLimited};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt};
use tower_test::{assert_request_eq, mock};

const S: Duration = Duration::from_secs(1);

/// A response that is its status.
fn by_status(result: Result<&u16, &BoxError>) -> Outcome {
    match result {
        Ok(429) => Outcome::throttled().with_retry_after(3 * S),
        Ok(_) => Outcome::success(),
        Err(_) => Outcome::transient(),
    }
}

type Mock = mock::Mock<&'static str, u16>;
type Handle = mock::Handle<&'static str, u16>;

fn limited(quota: Quota) -> (impl Service<&'static str, Response = u16, Error = BoxError> + Clone, Handle) {
    let (service, handle): (Mock, Handle) = mock::pair();
    (RateLimitLayer::new([quota]).classifier(by_status).layer(service), handle)
}

#[tokio::test(start_paused = true)]
async fn calls_are_spaced_out_and_readiness_is_not_held_meanwhile() {
    let (service, mut handle) = limited(Quota::requests_per_second(1));
    let mut service = task::spawn(service);
    service.enter(|cx, mut service| assert!(service.as_mut().get_mut().poll_ready(cx).is_ready()));
    let mut service = service.into_inner();

    let mut first = task::spawn(service.call("one"));
    let mut second = task::spawn(service.call("two"));
    // The inner service is not asked to be ready before a call may go.
    handle.allow(0);
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    handle.allow(1);
    assert!(first.is_woken());
    assert_pending!(first.poll());
    assert_request_eq!(handle, "one").send_response(200);
    assert_eq!(assert_ready_ok!(first.poll()), 200);

    handle.allow(1);
    assert!(!second.is_woken(), "waits for its quota, not for the service");
    advance(S).await;
    assert!(second.is_woken());
    assert_pending!(second.poll());
    assert_request_eq!(handle, "two").send_response(200);
    assert_eq!(assert_ready_ok!(second.poll()), 200);
}

#[tokio::test(start_paused = true)]
async fn a_429_of_one_call_pauses_the_others() {
    let (mut service, mut handle) = limited(Quota::requests_per_second(100));
    let mut first = task::spawn(service.call("one"));
    assert_pending!(first.poll());
    assert_request_eq!(handle, "one").send_response(429);
    assert_eq!(assert_ready_ok!(first.poll()), 429);

    let mut second = task::spawn(service.call("two"));
    assert_pending!(second.poll());
    // So long a hint is tested once, after half a second.
    advance(Duration::from_millis(499)).await;
    assert!(!second.is_woken());
    advance(Duration::from_millis(2)).await;
    assert!(second.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_layer_applied_twice_and_a_clone_share_the_quota() {
    let layer = RateLimitLayer::new([Quota::requests_per_minute(3).burst(3)]).max_wait(Duration::ZERO);
    let service = tower::service_fn(async |_: &'static str| Ok::<_, BoxError>(http::Response::new(())));
    let mut one = layer.layer(service);
    let mut two = layer.clone().layer(service);
    let mut three = one.clone();
    assert!(one.call("").await.is_ok());
    assert!(two.call("").await.is_ok());
    assert!(three.call("").await.is_ok());
    let error = one.call("").await.unwrap_err();
    assert_eq!(find_in::<RateLimited, _>(&error).unwrap().retry_after(), Some(20 * S));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_comes_from_the_call_and_says_who_and_when() {
    let (service, handle) = mock::pair::<&'static str, u16>();
    let mut service = RateLimitLayer::new([Quota::tokens_per_minute(10)])
        .classifier(by_status)
        .cost(|request: &&'static str| Charge::request().input_tokens(request.len() as u64))
        .layer(service);
    let mut call = task::spawn(service.call("longer than ten"));
    let error = assert_ready_err!(call.poll());
    assert_eq!(find_in::<Rejection, _>(&error).unwrap().layer(), LayerName::RateLimit);
    drop(handle);
}

#[tokio::test(start_paused = true)]
async fn the_inner_services_error_and_its_end_show_in_the_call() {
    let (mut service, mut handle) = limited(Quota::requests_per_second(10));
    let mut call = task::spawn(service.call("one"));
    assert_pending!(call.poll());
    assert_request_eq!(handle, "one").send_error("lost");
    assert_eq!(assert_ready_err!(call.poll()).to_string(), "lost");
    drop(handle);
    let mut call = task::spawn(service.call("two"));
    assert!(assert_ready_err!(call.poll()).to_string().contains("closed"));
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_before_it_was_sent_costs_nothing_and_after_it_does() {
    let (mut service, mut handle) = limited(Quota::requests_per_second(1));
    handle.allow(0);
    let mut unsent = task::spawn(service.call("one"));
    assert_pending!(unsent.poll());
    drop(unsent);
    handle.allow(2);
    let start = Instant::now();
    let mut sent = task::spawn(service.call("two"));
    assert_pending!(sent.poll());
    assert_request_eq!(handle, "two").send_response(200);
    drop(sent);
    let mut third = task::spawn(service.call("three"));
    assert_pending!(third.poll());
    advance(S).await;
    assert_pending!(third.poll());
    assert_request_eq!(handle, "three").send_response(200);
    assert_eq!(start.elapsed(), S);
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_no_call_would_draw_from_is_an_error() {
    let send = async |layer: RateLimitLayer, charge: Option<Charge>| {
        let mut request = http::Request::new(());
        if let Some(charge) = charge {
            request.extensions_mut().insert(charge);
        }
        let limiter = layer.limiter();
        let served = layer.layer(tower::service_fn(async |_: http::Request<()>| {
            Ok::<_, BoxError>(http::Response::new(()))
        }));
        let answered = served.oneshot(request).await.map(drop);
        answered.map(|()| limiter.snapshot().available()[0].1).map_err(|error| error.to_string())
    };
    for quota in [
        Quota::tokens_per_minute(1_000),
        Quota::input_tokens_per_minute(1_000),
        Quota::output_tokens_per_minute(1_000),
        Quota::new(Dimension::named("images"), 1_000, 60 * S),
    ] {
        let layer = || RateLimitLayer::new([quota]);
        let error = send(layer(), None).await.unwrap_err();
        let expected = format!("a quota of {} is set, but not what a call costs", quota.dimension());
        assert!(error.starts_with(&expected), "{error}");
        let own = Charge::request().and(quota.dimension(), 100);
        assert_eq!(send(layer(), Some(own)).await, Ok(900));
        assert_eq!(send(layer(), Some(Charge::request())).await, Ok(1_000), "it says that it costs none");
    }
    assert_eq!(send(RateLimitLayer::new([Quota::requests_per_minute(60).burst(60)]), None).await, Ok(59));
}

#[tokio::test(start_paused = true)]
async fn a_setter_changes_nothing_that_runs_and_a_limiter_does() {
    let layer = RateLimitLayer::new([Quota::requests_per_second(1)]);
    let answers = tower::service_fn(async |_: http::Request<()>| Ok::<_, BoxError>(http::Response::new(())));
    let service = layer.layer(answers);
    service.clone().oneshot(http::Request::new(())).await.unwrap();
    let start = Instant::now();
    let impatient = layer.clone().max_wait(Duration::ZERO);
    assert_eq!(impatient.limiter().available()[0].1, 1, "a limiter of its own");
    service.clone().oneshot(http::Request::new(())).await.unwrap();
    assert_eq!(start.elapsed(), S, "the other one waits as before");
    // The cost of a call is no setting of the limiter.
    let clone = layer.clone().cost(|_: &http::Request<()>| Charge::request().requests(0));
    assert_eq!(clone.limiter().available()[0].1, 0);
    layer.limiter().set_max_wait(Duration::ZERO);
    service.clone().oneshot(http::Request::new(())).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn pauses_without_a_hint_are_repeatable_with_a_seed() {
    let pauses = async |seed: u64| {
        let layer = RateLimitLayer::new([Quota::requests_per_second(10)]).seed(seed);
        let mut pauses = Vec::new();
        for _ in 0..3 {
            layer.limiter().acquire(Charge::request()).await.unwrap().end(Outcome::throttled());
            pauses.push(layer.limiter().snapshot().paused_for().unwrap());
        }
        pauses
    };
    let (first, again, other) = (pauses(1).await, pauses(1).await, pauses(2).await);
    assert_eq!(first, again);
    assert_ne!(first, other);
}
