//! Quotas for each key, in virtual time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb_admission::{Closing, RejectReason};
use aplomb_core::{
    Account, BoxError, CallKey, CallOptions, Event, LayerName, Outcome, Priority, Rejection, RequestView,
    find_in,
};
use aplomb_rate_limit::{Charge, Dimension, Quota, RateLimitLayer, RateLimited, RateLimiter, Reading};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt};

const S: Duration = Duration::from_secs(1);

/// A limiter with these quotas for each key.
fn keyed<Q: IntoIterator<Item = Quota>>(
    max_keys: usize,
    quotas_of: impl Fn(&u64) -> Q + Send + Sync + 'static,
) -> RateLimiter {
    let layer = RateLimitLayer::new([]).by_key_with(|_: &RequestView<'_>| 0_u64, quotas_of);
    layer.max_keys(max_keys).limiter()
}

fn one_a_second(max_keys: usize) -> RateLimiter {
    keyed(max_keys, |_| [Quota::requests_per_second(1)])
}

/// Returns whether a call goes immediately.
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

fn by_account(quota: Quota) -> RateLimitLayer {
    RateLimitLayer::new([quota]).by_account()
}

#[tokio::test(start_paused = true)]
async fn two_tenants_do_not_share_a_quota_and_one_tenants_calls_do() {
    let layer = by_account(Quota::requests_per_second(1));
    let (mut service, limiter) = (layer.layer(answers()), layer.limiter());
    let mut other = service.clone();
    service.call(post("a", "/200")).await.unwrap();
    let mut second = task::spawn(other.call(post("a", "/200")));
    assert_pending!(second.poll());
    let began = Instant::now();
    service.call(post("b", "/200")).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "b does not wait");
    second.await.unwrap();
    assert_eq!(began.elapsed(), S);
    assert_eq!(limiter.keys(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn the_pause_of_one_key_does_not_touch_another_and_outlasts_its_idleness() {
    let layer = by_account(Quota::requests_per_second(9));
    let (mut service, limiter) = (layer.layer(answers()), layer.limiter());
    assert_eq!(service.call(post("a", "/429")).await.unwrap().status(), 429);
    let mut paused = task::spawn(service.call(post("a", "/200")));
    assert_pending!(paused.poll());
    drop(paused);
    // The key is not used any more, and everything that was drawn has flowed back.
    advance(S).await;
    assert_eq!(limiter.forget_idle(), 0);
    let began = Instant::now();
    service.call(post("b", "/200")).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    service.call(post("a", "/200")).await.unwrap();
    let tested_after = 30 * S / 16;
    assert_eq!(
        began.elapsed(),
        tested_after.checked_sub(S).unwrap(),
        "the rest of the pause, until it is tested"
    );
    advance(601 * S).await;
    assert_eq!(limiter.forget_idle(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_has_been_drawn_from_is_kept_and_one_that_is_full_again_is_evicted() {
    let limiter = keyed(1_000, |_| [Quota::requests_per_minute(60).burst(1)]);
    for key in 0..500 {
        assert!(goes(&limiter, key));
    }
    assert_eq!(limiter.forget_idle(), 0);
    assert!(!goes(&limiter, 3), "it is kept with what it has drawn");
    assert_eq!(available(&limiter, 3), Some(0));
    advance(S).await;
    // Other keys are used: that is enough.
    for key in 500..900 {
        assert!(goes(&limiter, key));
    }
    assert!(limiter.keys() < Some(600), "{:?} keys", limiter.keys());
    advance(S).await;
    limiter.forget_idle();
    assert_eq!(limiter.keys(), Some(0));
    assert!(goes(&limiter, 3));
}

#[tokio::test(start_paused = true)]
async fn promise_25_a_full_map_of_busy_keys_rejects_and_says_so() {
    let layer = by_account(Quota::requests_per_minute(1)).max_keys(2);
    let service = layer.layer(answers());
    let mut flying = Vec::new();
    for tenant in ["a", "b"] {
        let mut call = task::spawn(service.clone().oneshot(post(tenant, "/hang")));
        assert_pending!(call.poll());
        flying.push(call);
    }
    let error = assert_ready_err!(task::spawn(service.clone().oneshot(post("sk-secret", "/200"))).poll());
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
    // A key that is not in use makes room.
    flying.pop();
    service.clone().oneshot(post("sk-secret", "/200")).await.unwrap();
    assert_eq!(layer.limiter().keys(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn promise_25_as_many_strangers_as_come_are_bounded_and_evicted() {
    const MAX: usize = 50_000;
    let limiter = keyed(MAX, |_| [Quota::requests_per_minute(60), Quota::tokens_per_minute(100_000)]);
    let options = CallOptions::new();
    for key in 0..MAX as u64 + 1_000 {
        let acquire = limiter.acquire_for(&key, Charge::request().input_tokens(1_000), &options);
        assert_ready_ok!(task::spawn(acquire).poll()).sent();
    }
    assert_eq!(limiter.keys(), Some(MAX));
    advance(60 * S).await;
    assert!(goes(&limiter, 2 * MAX as u64));
    limiter.forget_idle();
    assert_eq!(limiter.keys(), Some(1));
}

/// One call of `key`, whose answer reports this.
async fn answered(limiter: &RateLimiter, key: u64, readings: &[Reading]) {
    let mut permit = limiter.acquire_for(&key, Charge::request(), &CallOptions::new()).await.unwrap();
    permit.sent();
    permit.limits(readings);
    permit.end(Outcome::success());
}

#[tokio::test(start_paused = true)]
async fn promise_25_keys_that_were_merely_used_make_room_before_a_debt_and_a_reported_limit() {
    let limiter = keyed(50, |_| [Quota::new(Dimension::REQUESTS, 100, 3_600 * S).burst(10)]);
    let options = CallOptions::new();
    limiter
        .acquire_for(&0_u64, Charge::request().requests(20), &options)
        .await
        .unwrap()
        .sent();
    let reported = Reading::of(Dimension::TOKENS)
        .with_limit(60_000)
        .with_remaining(60_000)
        .with_window(60 * S);
    answered(&limiter, 1, &[reported]).await;
    for key in 2..500 {
        answered(&limiter, key, &[]).await;
    }
    assert_eq!(limiter.keys(), Some(50));
    assert_eq!(available(&limiter, 0), Some(-10));
    assert_eq!(limiter.snapshot_of(&1_u64).unwrap().available().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn promise_25_other_quotas_reach_the_keys_there_are_and_those_to_come() {
    let limiter = one_a_second(10);
    answered(&limiter, 1, &[]).await;
    limiter.set_quotas([Quota::requests_per_minute(600).burst(600)]);
    answered(&limiter, 2, &[]).await;
    for key in [1_u64, 2] {
        let available = limiter.snapshot_of(&key).unwrap().available()[0];
        assert_eq!(available, (Quota::requests_per_minute(600).burst(600), 599), "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_name_the_key_and_do_not_show_it_unless_it_is_public() {
    let run = async |layer: RateLimitLayer| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let observer = {
            let seen = Arc::clone(&seen);
            move |event: &Event| {
                seen.lock().unwrap().push((event.key().unwrap().to_string(), event.to_string()));
            }
        };
        let service = layer.observer(observer).max_wait(Duration::ZERO).layer(answers());
        service.clone().oneshot(post("secret", "/429")).await.unwrap();
        let error = service.clone().oneshot(post("secret", "/200")).await.unwrap_err();
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(seen.len(), 2, "a pause and a rejection: {seen:?}");
        (seen[0].0.clone(), format!("{seen:?} {error}"))
    };
    let key = |request: &RequestView<'_>| {
        let headers = request.headers().unwrap();
        headers["authorization"].to_str().unwrap().to_owned()
    };
    let layer = || RateLimitLayer::new([Quota::requests_per_second(1)]);
    let (label, text) = run(layer().by_key(key)).await;
    assert!(label.starts_with('#') && !text.contains("secret"), "{label} {text}");
    let (label, text) = run(layer().by_public_key(key)).await;
    assert_eq!(label, "Bearer secret");
    assert!(text.ends_with("key Bearer secret"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_limiter_of_one_key_changes_that_key_alone() {
    let limiter = one_a_second(10);
    assert!(limiter.get(&1_u64).is_none());
    let one = limiter.of(&1_u64).unwrap();
    one.set_quotas([Quota::requests_per_second(5)]);
    one.acquire(Charge::request()).await.unwrap().end(Outcome::success());
    assert!(goes(&limiter, 2));
    assert_eq!((available(&limiter, 1), available(&limiter, 2)), (Some(4), Some(0)));
    assert_eq!(limiter.get(&1_u64).unwrap().available()[0].1, 4);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the keys of this layer are not i32")]
async fn a_key_of_another_type_is_a_mistake() {
    let _ = one_a_second(10).snapshot_of(&1_i32);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_or_panics_at_any_point_is_settled_with_its_own_key() {
    let quota = Quota::new(Dimension::REQUESTS, 10, 3_600 * S).burst(10);
    let layer = RateLimitLayer::new([quota])
        .by_key(|request: &RequestView<'_>| request.path().unwrap_or_default().len() as u64);
    let limiter = layer.limiter();
    let mut service = layer.until_body_end().layer(service_with_body());
    let request = |path: &str| http::Request::post(path).body(()).unwrap();
    // Not polled: not even a key.
    drop(service.call(request("/hang")));
    assert_eq!(limiter.keys(), Some(0));
    // In flight: it counts with the peer.
    let mut hangs = task::spawn(service.call(request("/hang")));
    assert_pending!(hangs.poll());
    limiter.forget_idle();
    drop(hangs);
    assert_eq!(available(&limiter, 5), Some(9));
    // In the queue: it takes nothing.
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
    let all = limiter.snapshot();
    assert_eq!((all.in_flight(), all.waiting(), limiter.snapshots().len()), (0, 0, 3));
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
    let layer = RateLimitLayer::new([])
        .by_public_key_with(
            |_: &RequestView<'_>| "free",
            |tenant: &&'static str| {
                [Quota::tokens_per_minute(if *tenant == "paying" {
                    1_000
                } else {
                    10
                })]
            },
        )
        .cost(|_: &http::Request<()>| Charge::request().input_tokens(100));
    let mut service = layer.layer(answers());
    let refused = service.call(post("x", "/200")).await.unwrap_err();
    assert_eq!(find_in::<RateLimited, _>(&refused).unwrap().key().unwrap().to_string(), "free");
    let mut paying = post("x", "/200");
    paying.extensions_mut().insert(CallKey("paying"));
    service.call(paying).await.unwrap();
    assert_eq!(layer.limiter().snapshot_of(&"paying").unwrap().available()[0].1, 900);
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
    let limiter = keyed(10, |_| [Quota::tokens_per_minute(1_000)]);
    let charge = |tokens| Charge::request().output_tokens(tokens);
    let mut permit = limiter.acquire_for(&1_u64, charge(100), &CallOptions::new()).await.unwrap();
    permit.sent();
    permit.settle(&charge(150));
    assert_eq!((available(&limiter, 1), available(&limiter, 2)), (Some(850), None));

    let layer = RateLimitLayer::new([]).by_account().readings(|_: &http::Response<()>| {
        vec![Reading::of(Dimension::REQUESTS).with_limit(60).with_window(60 * S)]
    });
    layer.layer(answers()).oneshot(post("a", "/200")).await.unwrap();
    let unknown = layer.limiter();
    unknown.forget_idle();
    let account = Account::of(&post("a", "/200"));
    let learned = unknown.snapshot_of(&account).unwrap().available()[0].0;
    assert_eq!(learned, Quota::requests_per_minute(60));
    advance(3_600 * S).await;
    assert_eq!(unknown.forget_idle(), 1);
}
