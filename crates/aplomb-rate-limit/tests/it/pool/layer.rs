//! Two stacks with one quota.

use aplomb_core::{BoxError, find_in};
use aplomb_rate_limit::{Charge, Pool, Quota, RateLimitLayer, RateLimited};
use tower::{Layer, ServiceExt, service_fn};

use super::S;

#[tokio::test(start_paused = true)]
async fn promise_17_two_stacks_over_one_pool_share_its_quota_and_wait_each_in_its_own_line() {
    let pool = Pool::new([
        Quota::requests_per_minute(2).burst(2),
        Quota::tokens_per_minute(100),
    ]);
    let answers = service_fn(async |_: &'static str| Ok::<_, BoxError>(http::Response::new(String::new())));
    let small = RateLimitLayer::with_pool(&pool)
        .cost(|_: &&'static str| Charge::request())
        .max_wait(std::time::Duration::ZERO);
    let large = RateLimitLayer::with_pool(&pool)
        .cost(|prompt: &&'static str| Charge::request().input_tokens(prompt.len() as u64))
        .until_body_end();
    let (small, large) = (small.layer(answers), large.clone().layer(answers));
    small.clone().oneshot("one").await.unwrap();
    drop(large.clone().oneshot("two").await.unwrap());
    assert_eq!(pool.snapshot().available()[1].1, 97);
    let error = small.clone().oneshot("three").await.unwrap_err();
    assert_eq!(find_in::<RateLimited, _>(&error).unwrap().retry_after(), Some(30 * S));
    let start = tokio::time::Instant::now();
    large.oneshot("three").await.unwrap();
    assert!(start.elapsed() >= 30 * S, "this one waits");
}
