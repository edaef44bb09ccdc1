//! Quotas for each key, in virtual time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aplomb_admission::{Closing, KeyRefused, RejectReason};
use aplomb_core::{
    Account, BoxError, CallKey, CallOptions, HttpClassifier, LayerName, Outcome, Priority, Rejection, find_in,
};
use aplomb_rate_limit::{Charge, Dimension, KeyedLimiter, Quota, RateLimitLayer, RateLimited, Reading};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service};

const S: Duration = Duration::from_secs(1);

fn one_a_second(max_keys: usize) -> KeyedLimiter<u64> {
    KeyedLimiter::new(max_keys, |_| [Quota::requests_per_second(1)])
}

/// Passes or fails at once: nobody waits.
fn goes(limiter: &KeyedLimiter<u64>, key: u64) -> bool {
    let options = CallOptions::new();
    let mut acquire = task::spawn(limiter.acquire(&key, Charge::request(), &options));
    match acquire.poll() {
        std::task::Poll::Ready(permit) => {
            permit.unwrap().sent();
            true
        }
        std::task::Poll::Pending => false,
    }
}

fn available(limiter: &KeyedLimiter<u64>, key: u64) -> Option<i64> {
    let mut found = limiter.snapshot().filter(|(found, _)| *found == key);
    found.next().map(|(_, snapshot)| snapshot.available()[0].1)
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

type Of = fn(&http::Request<()>) -> Account;

fn by_account(
    limiter: &KeyedLimiter<Account>,
) -> impl Service<http::Request<()>, Response = http::Response<()>, Error = BoxError> + Clone {
    RateLimitLayer::keyed(limiter.clone(), Account::of::<http::Request<()>> as Of)
        .classifier(HttpClassifier::new())
        .layer(answers())
}

#[tokio::test(start_paused = true)]
async fn two_tenants_do_not_share_a_quota_and_one_tenants_calls_do() {
    let limiter = KeyedLimiter::new(10, |_: &Account| [Quota::requests_per_second(1)]);
    let mut service = by_account(&limiter);
    let mut other = service.clone();
    service.call(post("a", "/200")).await.unwrap();
    let mut second = task::spawn(other.call(post("a", "/200")));
    assert_pending!(second.poll());
    let began = Instant::now();
    service.call(post("b", "/200")).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "b waits for nobody");
    second.await.unwrap();
    assert_eq!(began.elapsed(), S);
    assert_eq!(limiter.keys(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_pause_of_one_key_does_not_touch_another_and_outlasts_its_idleness() {
    let limiter = KeyedLimiter::new(10, |_: &Account| [Quota::requests_per_second(9)]);
    let mut service = by_account(&limiter);
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
    let limiter = KeyedLimiter::new(1_000, |_: &u64| [Quota::requests_per_minute(60).burst(1)]);
    for key in 0..500 {
        assert!(goes(&limiter, key));
    }
    assert_eq!(limiter.forget_idle(), 0);
    assert!(!goes(&limiter, 3), "it went to rest with what it had drawn");
    assert_eq!(available(&limiter, 3), Some(0));
    advance(S).await;
    // Other keys are used: that is enough.
    for key in 500..900 {
        assert!(goes(&limiter, key));
    }
    assert!(limiter.keys() < 600, "{} keys", limiter.keys());
    advance(S).await;
    limiter.forget_idle();
    assert_eq!(limiter.keys(), 0);
    assert!(goes(&limiter, 3));
}

#[tokio::test(start_paused = true)]
async fn a_full_map_of_busy_keys_refuses_and_says_so() {
    let limiter = KeyedLimiter::new(2, |_: &Account| [Quota::requests_per_minute(1)]);
    let mut service = by_account(&limiter);
    service.call(post("a", "/200")).await.unwrap();
    service.call(post("b", "/200")).await.unwrap();
    let error = assert_ready_err!(task::spawn(service.call(post("sk-secret", "/200"))).poll());
    let exceeded = find_in::<RateLimited, _>(&error).unwrap();
    assert_eq!(exceeded.reject_reason(), RejectReason::TooManyKeys);
    assert_eq!(find_in::<Rejection, _>(&error).unwrap().layer(), LayerName::RateLimit);
    let key = find_in::<KeyRefused, _>(&error).unwrap().key();
    assert!(key.starts_with("api.example.com:443 credential #"), "{key}");
    let mut told = format!("{error:?}");
    let mut next: Option<&dyn std::error::Error> = Some(&*error);
    while let Some(error) = next {
        told += &error.to_string();
        next = error.source();
    }
    assert!(!told.contains("secret"), "{told}");
    assert!(told.contains("key limit reached"), "{told}");
    // A minute later both are full again.
    advance(60 * S).await;
    service.call(post("sk-secret", "/200")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn as_many_strangers_as_come_are_bounded_and_forgotten() {
    const MAX: usize = 50_000;
    let limiter =
        KeyedLimiter::new(MAX, |_: &u64| [Quota::requests_per_minute(60), Quota::tokens_per_minute(100_000)]);
    let charge = || Charge::request().input_tokens(1_000);
    let options = CallOptions::new();
    for key in 0..MAX as u64 + 1_000 {
        let acquire = limiter.acquire(&key, charge(), &options);
        match task::spawn(acquire).poll() {
            std::task::Poll::Ready(permit) => {
                assert_eq!(permit.is_ok(), key < MAX as u64, "{key}");
                if let Ok(mut permit) = permit {
                    permit.sent();
                }
            }
            std::task::Poll::Pending => panic!("nobody has to wait"),
        }
    }
    assert_eq!((limiter.keys(), limiter.max_keys()), (MAX, MAX));
    advance(60 * S).await;
    assert!(goes(&limiter, 2 * MAX as u64));
    limiter.forget_idle();
    assert_eq!(limiter.keys(), 1);
}

#[tokio::test(start_paused = true)]
async fn all_who_can_go_are_forgotten_though_others_go_to_rest_meanwhile() {
    let limiter = one_a_second(10_000);
    for key in 0..1_000 {
        assert!(goes(&limiter, key));
    }
    assert_eq!(limiter.forget_idle(), 0);
    advance(S).await;
    // Four of them in each shard, more or less: they go to rest, and stay, while the others go.
    let busy = 5_000..5_064;
    for key in busy.clone() {
        assert!(goes(&limiter, key));
    }
    limiter.forget_idle();
    assert_eq!(limiter.keys(), busy.count());
}

/// One call of `key`, whose answer says `told`.
async fn hears(limiter: &KeyedLimiter<u64>, key: u64, told: &[Reading]) {
    let mut permit = limiter.acquire(&key, Charge::request(), &CallOptions::new()).await.unwrap();
    permit.sent();
    permit.limits(told);
    permit.end(Outcome::success());
}

#[tokio::test(start_paused = true)]
async fn keys_of_which_only_what_was_learned_is_left_make_room() {
    const MAX: u64 = 100;
    let tokens = Reading::of(Dimension::TOKENS).with_limit(60_000).with_remaining(60_000);
    for (configured, told) in [
        (None, vec![]),
        (Some(Quota::requests_per_second(10)), vec![tokens]),
    ] {
        let limiter = KeyedLimiter::new(100, move |_: &u64| configured);
        for key in 0..MAX {
            hears(&limiter, key, &told).await;
        }
        advance(60 * S).await;
        hears(&limiter, MAX, &told).await;
        assert_eq!(limiter.keys(), 100, "one has made room, and no more");
    }
    // A debt is not forgotten for it, however many others come.
    let limiter = KeyedLimiter::new(100, |_: &u64| []);
    let empty = Reading::of(Dimension::REQUESTS).with_limit(60).with_remaining(0).with_window(3_600 * S);
    for key in 0..MAX {
        hears(&limiter, key, &[empty]).await;
    }
    let refused = limiter.acquire(&MAX, Charge::request(), &CallOptions::new()).await.unwrap_err();
    assert_eq!(refused.reject_reason(), RejectReason::TooManyKeys);
}

/// Puts all keys to rest, used or not.
fn rests(limiter: &KeyedLimiter<u64>) {
    limiter.forget_idle();
}

#[tokio::test(start_paused = true)]
async fn readings_agree_though_the_key_rests_between_its_calls() {
    let limiter = KeyedLimiter::new(10, |_: &u64| [Quota::requests_per_minute(600)]);
    let says = |limit| [Reading::of(Dimension::REQUESTS).with_limit(limit).with_window(60 * S)];
    for (limit, amount) in [(60, 60), (600, 60), (600, 60), (600, 600)] {
        hears(&limiter, 1, &says(limit)).await;
        rests(&limiter);
        let snapshot = limiter.snapshot().next().unwrap().1;
        assert_eq!(snapshot.available()[0].0.amount(), amount);
        advance(S).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_policy_says_now_holds_after_a_rest_though_something_was_learned() {
    let amount = Arc::new(AtomicU64::new(60));
    let policy = Arc::clone(&amount);
    let limiter =
        KeyedLimiter::new(10, move |_: &u64| [Quota::requests_per_hour(policy.load(Relaxed)).burst(60)]);
    let tokens = Reading::of(Dimension::TOKENS).with_limit(60_000).with_remaining(50_000);
    for _ in 0..5 {
        hears(&limiter, 1, &[tokens]).await;
    }
    rests(&limiter);
    amount.store(600, Relaxed);
    hears(&limiter, 1, &[]).await;
    let snapshot = limiter.snapshot().next().unwrap().1;
    let per_hour = Quota::requests_per_hour(600).burst(60);
    let expected = [(per_hour, 54), (Quota::tokens_per_minute(60_000), 50_000)];
    assert_eq!(snapshot.available(), expected);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_or_panics_at_any_point_is_settled_with_its_own_key() {
    let quota = Quota::new(Dimension::REQUESTS, 10, 3_600 * S).burst(10);
    let limiter = KeyedLimiter::new(10, move |_: &u64| [quota]);
    let layer = RateLimitLayer::keyed(limiter.clone(), |request: &http::Request<()>| {
        request.uri().path().len() as u64
    });
    let mut service = layer.until_body_end().layer(service_with_body());
    let request = |path: &str| http::Request::post(path).body(()).unwrap();
    // Not polled: not even a key.
    drop(service.call(request("/hang")));
    assert_eq!(limiter.keys(), 0);
    // In flight: it counts with the peer.
    let mut hangs = task::spawn(service.call(request("/hang")));
    assert_pending!(hangs.poll());
    limiter.forget_idle();
    drop(hangs);
    assert_eq!(available(&limiter, 5), Some(9));
    // In the line: it takes nothing.
    let all = Charge::request().requests(9);
    let held = limiter.acquire(&5, all, &CallOptions::new()).await.unwrap();
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
            .snapshot()
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
    let limiter = KeyedLimiter::new(10, |tenant: &&'static str| {
        [Quota::tokens_per_minute(if *tenant == "paying" {
            1_000
        } else {
            10
        })]
    });
    let mut service = RateLimitLayer::keyed(limiter.clone(), |_: &http::Request<()>| "free")
        .cost(|_: &http::Request<()>| Charge::request().input_tokens(100))
        .layer(answers());
    let refused = service.call(post("x", "/200")).await.unwrap_err();
    assert_eq!(find_in::<KeyRefused, _>(&refused).unwrap().key(), "\"free\"");
    let mut paying = post("x", "/200");
    paying.extensions_mut().insert(CallKey("paying"));
    service.call(paying).await.unwrap();
    let left: Vec<_> = limiter.snapshot().map(|(key, snapshot)| (key, snapshot.available()[0].1)).collect();
    assert!(left.contains(&("paying", 900)), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn bounds_and_closing_hold_for_every_key() {
    let limiter = one_a_second(10);
    assert!(goes(&limiter, 1));
    limiter.set_queue_limits(|limits| limits.max_wait(Duration::ZERO));
    for key in [1, 2] {
        let _first = limiter.acquire(&key, Charge::request(), &CallOptions::new()).await;
        let urgent = CallOptions::new().with_priority(Priority::HIGH);
        let refused = limiter.acquire(&key, Charge::request(), &urgent).await.unwrap_err();
        assert_eq!(
            (refused.reject_reason(), refused.retry_after()),
            (RejectReason::WaitTooLong, Some(S)),
            "{key}"
        );
    }
    limiter.close(Closing::Fail);
    for key in [1, 2, 3] {
        let refused = limiter.acquire(&key, Charge::request(), &CallOptions::new()).await.unwrap_err();
        assert_eq!(refused.reject_reason(), RejectReason::Closed, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_settles_its_own_charge_and_learns_from_its_own_server() {
    let limiter = KeyedLimiter::new(10, |_: &u64| [Quota::tokens_per_minute(1_000)]);
    let charge = |tokens| Charge::request().output_tokens(tokens);
    let mut permit = limiter.acquire(&1, charge(100), &CallOptions::new()).await.unwrap();
    permit.sent();
    permit.settle(&charge(150));
    assert_eq!((available(&limiter, 1), available(&limiter, 2)), (Some(850), None));

    let unknown = KeyedLimiter::new(10, |_: &Account| []);
    let mut service = RateLimitLayer::keyed(unknown.clone(), Account::of::<http::Request<()>> as Of)
        .readings(|_: &http::Response<()>| vec![Reading::of(Dimension::REQUESTS).with_limit(60)])
        .layer(answers());
    service.call(post("a", "/200")).await.unwrap();
    unknown.forget_idle();
    let learned: Vec<_> = unknown.snapshot().map(|(_, snapshot)| snapshot.available()[0].0).collect();
    assert_eq!(learned, [Quota::requests_per_minute(60)]);
    advance(3_600 * S).await;
    assert_eq!(unknown.forget_idle(), 1);
}
