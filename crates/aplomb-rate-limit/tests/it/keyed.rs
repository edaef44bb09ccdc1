//! Quotas for each key, in virtual time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use aplomb_admission::{Closing, RejectReason};
use aplomb_core::{
    BoxError, CallKey, CallOptions, LayerName, Outcome, Priority, Rejection, RequestView, find_in,
};
use aplomb_rate_limit::{Charge, Dimension, Quota, RateLimitLayer, RateLimited, RateLimiter, Reading};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service};

const S: Duration = Duration::from_secs(1);

/// These quotas for each number.
fn numbers(max_keys: usize, quotas: impl IntoIterator<Item = Quota>) -> RateLimiter {
    let layer = RateLimitLayer::new(quotas).by_public_key(|_: &RequestView<'_>| 0_u64);
    layer.max_keys(max_keys).limiter().clone()
}

fn one_a_second(max_keys: usize) -> RateLimiter {
    numbers(max_keys, [Quota::requests_per_second(1)])
}

/// Passes or fails at once: nobody waits.
fn goes(limiter: &RateLimiter, key: u64) -> bool {
    let options = CallOptions::new();
    let mut acquire = task::spawn(limiter.acquire_for(&key, Charge::request(), &options));
    match acquire.poll() {
        std::task::Poll::Ready(permit) => {
            permit.unwrap().sent();
            true
        }
        std::task::Poll::Pending => false,
    }
}

fn available(limiter: &RateLimiter, key: u64) -> Option<i64> {
    limiter.snapshot_of(&key).map(|snapshot| snapshot.available()[0].1)
}

/// Answers with the status in the request's path, or as its first word says.
fn answers()
-> impl Service<http::Request<()>, Response = http::Response<()>, Error = BoxError, Future: Send> + Clone {
    tower::service_fn(async |request: http::Request<()>| match request.uri().path() {
        "/panic" => panic!("in the inner call"),
        "/hang" => std::future::pending().await,
        path => Ok(http::Response::builder().status(&path[1..]).header("retry-after", "30").body(())?),
    })
}

fn post(tenant: &str, path: &str) -> http::Request<()> {
    let request = http::Request::post(format!("https://api.example.com{path}"));
    request.header("authorization", format!("Bearer {tenant}")).body(()).unwrap()
}

/// These quotas for each account.
fn by_account(max_keys: usize, quotas: impl IntoIterator<Item = Quota>) -> RateLimitLayer {
    RateLimitLayer::new(quotas).by_account().max_keys(max_keys)
}

#[tokio::test(start_paused = true)]
async fn two_tenants_do_not_share_a_quota_and_one_tenants_calls_do() {
    let layer = by_account(10, [Quota::requests_per_second(1)]);
    let (limiter, mut service) = (layer.limiter(), layer.layer(answers()));
    let mut other = service.clone();
    service.call(post("a", "/200")).await.unwrap();
    let mut second = task::spawn(other.call(post("a", "/200")));
    assert_pending!(second.poll());
    let began = Instant::now();
    service.call(post("b", "/200")).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "b waits for nobody");
    second.await.unwrap();
    assert_eq!(began.elapsed(), S);
    assert_eq!(limiter.keys().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_pause_of_one_key_does_not_touch_another_and_outlasts_its_idleness() {
    let layer = by_account(10, [Quota::requests_per_second(9)]);
    let (limiter, mut service) = (layer.limiter(), layer.layer(answers()));
    assert_eq!(service.call(post("a", "/429")).await.unwrap().status(), 429);
    let mut paused = task::spawn(service.call(post("a", "/200")));
    assert_pending!(paused.poll());
    drop(paused);
    // Nobody uses the key now, and all that was drawn has flowed back.
    advance(20 * S).await;
    assert_eq!(limiter.forget_idle(), 0);
    let began = Instant::now();
    service.call(post("b", "/200")).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    service.call(post("a", "/200")).await.unwrap();
    assert_eq!(began.elapsed(), 10 * S, "the rest of the pause");
    advance(99 * S).await;
    assert_eq!(limiter.forget_idle(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_debt_is_not_forgotten_and_a_key_that_is_full_again_is() {
    let limiter = numbers(1_000, [Quota::requests_per_minute(60).burst(1)]);
    for key in 0..500 {
        assert!(goes(&limiter, key));
    }
    assert_eq!(limiter.forget_idle(), 0);
    assert!(!goes(&limiter, 3), "what it had drawn is remembered");
    assert_eq!(available(&limiter, 3), Some(0));
    advance(S).await;
    // Other keys are used: that is enough.
    for key in 500..900 {
        assert!(goes(&limiter, key));
    }
    assert!(limiter.keys().unwrap() < 600, "{} keys", limiter.keys().unwrap());
    advance(S).await;
    limiter.forget_idle();
    assert_eq!(limiter.keys().unwrap(), 0);
    assert!(goes(&limiter, 3));
}

#[tokio::test(start_paused = true)]
async fn a_full_map_evicts_debts_last_and_rejects_when_all_keys_are_in_use() {
    let layer = by_account(2, [Quota::tokens_per_minute(1_000)]);
    let layer = layer.cost(|_: &http::Request<()>| Charge::request().output_tokens(1));
    let (limiter, mut service) = (layer.limiter(), layer.layer(answers()));
    let account = |tenant| RequestView::head(&post(tenant, "/200")).account();
    let charge = |tokens| Charge::request().output_tokens(tokens);
    let mut permit = limiter.acquire_for(&account("debt"), charge(1_000), &CallOptions::new()).await.unwrap();
    permit.sent();
    permit.settle(&charge(5_000));
    for stranger in 0..100 {
        service.call(post(&stranger.to_string(), "/200")).await.unwrap();
    }
    assert_eq!(limiter.snapshot_of(&account("debt")).unwrap().available()[0].1, -4_000);

    let _held = (limiter.of(&account("debt")).unwrap(), limiter.of(&account("held")).unwrap());
    let error = assert_ready_err!(task::spawn(service.call(post("sk-secret", "/200"))).poll());
    let limited = find_in::<RateLimited, _>(&error).unwrap();
    assert_eq!(limited.reject_reason(), RejectReason::TooManyKeys);
    assert_eq!(find_in::<Rejection, _>(&error).unwrap().layer(), LayerName::RateLimit);
    let key = limited.key().unwrap().to_string();
    assert!(key.starts_with("api.example.com:443 credential #"), "{key}");
    let mut told = format!("{error:?}");
    let mut next: Option<&dyn std::error::Error> = Some(&*error);
    while let Some(error) = next {
        told += &error.to_string();
        next = error.source();
    }
    assert!(!told.contains("secret"), "{told}");
    assert!(told.contains("key limit reached"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn any_number_of_strangers_is_bounded_and_forgotten() {
    const MAX: usize = 20_000;
    let limiter = numbers(MAX, [Quota::requests_per_minute(60), Quota::tokens_per_minute(100_000)]);
    let charge = || Charge::request().input_tokens(1_000);
    for key in 0..MAX as u64 + 1_000 {
        let mut permit = limiter.acquire_for(&key, charge(), &CallOptions::new()).await.unwrap();
        permit.sent();
    }
    assert_eq!(limiter.keys(), Some(MAX));
    advance(60 * S).await;
    assert!(goes(&limiter, 2 * MAX as u64));
    limiter.forget_idle();
    assert_eq!(limiter.keys(), Some(1));
}

/// One call of `key`, whose answer says `told`.
async fn hears(limiter: &RateLimiter, key: u64, told: &[Reading]) {
    let mut permit = limiter.acquire_for(&key, Charge::request(), &CallOptions::new()).await.unwrap();
    permit.sent();
    permit.limits(told);
    permit.end(Outcome::success());
}

#[tokio::test(start_paused = true)]
async fn a_key_of_which_only_what_was_learned_is_left_makes_room() {
    const MAX: u64 = 100;
    let tokens = Reading::of(Dimension::TOKENS).with_limit(60_000).with_remaining(60_000);
    for (configured, told) in [
        (None, vec![]),
        (Some(Quota::requests_per_second(10)), vec![tokens]),
    ] {
        let limiter = numbers(100, configured);
        for key in 0..MAX {
            hears(&limiter, key, &told).await;
        }
        advance(60 * S).await;
        hears(&limiter, MAX, &told).await;
        assert!(limiter.keys().unwrap() <= 100);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_or_panics_at_any_point_is_settled_with_its_own_key() {
    let quota = Quota::new(Dimension::REQUESTS, 10, 3_600 * S).burst(10);
    let layer = RateLimitLayer::new([quota])
        .by_public_key(|request: &RequestView<'_>| request.path().unwrap().len() as u64);
    let limiter = layer.limiter().clone();
    let mut service = layer.until_body_end().layer(service_with_body());
    let request = |path: &str| http::Request::post(path).body(()).unwrap();
    // Not polled: not even a key.
    drop(service.call(request("/hang")));
    assert_eq!(limiter.keys().unwrap(), 0);
    // In flight: it counts with the peer.
    let mut hangs = task::spawn(service.call(request("/hang")));
    assert_pending!(hangs.poll());
    limiter.forget_idle();
    drop(hangs);
    assert_eq!(available(&limiter, 5), Some(9));
    // In the line: it takes nothing.
    let all = Charge::request().requests(9);
    let held = limiter.acquire_for(&5_u64, all, &CallOptions::new()).await.unwrap();
    let mut waits = task::spawn(service.call(request("/hang")));
    assert_pending!(waits.poll());
    limiter.forget_idle();
    drop(waits);
    // Never sent: it is given back, to the quotas it came from.
    limiter.forget_idle();
    drop(held);
    assert_eq!(available(&limiter, 5), Some(9));
    // A panic of the inner call.
    let mut panics = task::spawn(service.call(request("/panic")));
    assert!(catch_unwind(AssertUnwindSafe(|| panics.poll())).is_err());
    drop(panics);
    assert_eq!(available(&limiter, 6), Some(9));
    // A body that is dropped.
    drop(assert_ready_ok!(task::spawn(service.call(request("/200"))).poll()));
    assert_eq!(available(&limiter, 4), Some(9));
    assert!(
        limiter
            .snapshots()
            .iter()
            .all(|(_, snapshot)| snapshot.in_flight() == 0 && snapshot.waiting() == 0)
    );
}

fn service_with_body()
-> impl Service<http::Request<()>, Response = http::Response<http_body_util::Full<bytes::Bytes>>, Error = BoxError>
+ Clone {
    let answers = answers();
    tower::util::MapResponse::new(answers, |response: http::Response<()>| {
        response.map(|()| http_body_util::Full::from("hello"))
    })
}

#[tokio::test(start_paused = true)]
async fn a_call_may_bring_its_own_key_and_its_own_cost() {
    let quotas_of = |tenant: &&'static str| {
        [Quota::tokens_per_minute(if *tenant == "paying" {
            1_000
        } else {
            10
        })]
    };
    let tenant = |_: &RequestView<'_>| "free";
    let layer = RateLimitLayer::new([])
        .by_key_with(tenant, quotas_of)
        .by_public_key(tenant)
        .cost(|_: &http::Request<()>| Charge::request().input_tokens(100));
    let (limiter, mut service) = (layer.limiter(), layer.layer(answers()));
    let refused = service.call(post("x", "/200")).await.unwrap_err();
    let limited = find_in::<RateLimited, _>(&refused).unwrap();
    assert_eq!(limited.key().unwrap().to_string(), "free");
    let mut paying = post("x", "/200");
    paying.extensions_mut().insert(CallKey("paying"));
    service.call(paying).await.unwrap();
    assert_eq!(limiter.snapshot_of(&"paying").unwrap().available()[0].1, 900);
}

#[tokio::test(start_paused = true)]
async fn bounds_and_closing_hold_for_every_key() {
    let limiter = one_a_second(10);
    assert!(goes(&limiter, 1));
    limiter.set_max_wait(Duration::ZERO);
    for key in [1_u64, 2] {
        let _first = limiter.acquire_for(&key, Charge::request(), &CallOptions::new()).await;
        let urgent = CallOptions::new().with_priority(Priority::HIGH);
        let refused = limiter.acquire_for(&key, Charge::request(), &urgent).await.unwrap_err();
        assert_eq!(
            (refused.reject_reason(), refused.retry_after()),
            (RejectReason::WaitTooLong, Some(S)),
            "{key}"
        );
    }
    limiter.close(Closing::Fail);
    for key in [1_u64, 2, 3] {
        let refused = limiter.acquire_for(&key, Charge::request(), &CallOptions::new()).await.unwrap_err();
        assert_eq!(refused.reject_reason(), RejectReason::Closed, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_settles_its_own_charge_and_learns_from_its_own_server() {
    let limiter = numbers(10, [Quota::tokens_per_minute(1_000)]);
    let charge = |tokens| Charge::request().output_tokens(tokens);
    let mut permit = limiter.acquire_for(&1_u64, charge(100), &CallOptions::new()).await.unwrap();
    permit.sent();
    permit.settle(&charge(150));
    assert_eq!((available(&limiter, 1), available(&limiter, 2)), (Some(850), None));

    let layer = by_account(10, []);
    let unknown = layer.limiter().clone();
    let mut service = layer
        .readings(|_: &http::Response<()>| vec![Reading::of(Dimension::REQUESTS).with_limit(60)])
        .layer(answers());
    service.call(post("a", "/200")).await.unwrap();
    unknown.forget_idle();
    let learned: Vec<_> = unknown.snapshots().iter().map(|(_, snapshot)| snapshot.available()[0].0).collect();
    assert_eq!(learned, [Quota::requests_per_minute(60)]);
    advance(3_600 * S).await;
    assert_eq!(unknown.forget_idle(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_handle_sets_holds_for_keys_known_and_new() {
    let limiter = one_a_second(10);
    assert!(goes(&limiter, 1));
    limiter.set_quotas([Quota::requests_per_second(1).burst(3)]);
    for key in [1, 2] {
        assert!(goes(&limiter, key) && goes(&limiter, key), "{key}");
    }
    assert_eq!((available(&limiter, 1), available(&limiter, 2)), (Some(0), Some(1)));
}
