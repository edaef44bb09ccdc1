//! Changing, looking at and closing a limiter that is in use.

use std::time::Duration;

use aplomb_admission::{Closing, RejectReason};
use aplomb_core::{CallOptions, Outcome, Priority};
use aplomb_rate_limit::{
    Charge, Dimension, Quota, RateLimitPermit, RateLimitReason, RateLimited, RateLimiter,
};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep};

const S: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn promise_25_a_changed_quota_keeps_its_level_and_what_is_in_flight() {
    let limiter = RateLimiter::new([Quota::requests_per_second(10), Quota::tokens_per_minute(600)]);
    let mut flying = Vec::new();
    for _ in 0..9 {
        flying.push(limiter.acquire(Charge::request().input_tokens(10)).await.unwrap());
    }
    flying.iter_mut().for_each(RateLimitPermit::sent);
    // From 10 to 1 a second: nine are still owed, not the 900 ms that they took at the old rate.
    limiter.set_quotas([
        Quota::tokens_per_minute(60).burst(600),
        Quota::requests_per_second(1).burst(10),
    ]);
    let snapshot = limiter.snapshot();
    let levels: Vec<_> =
        snapshot.available().iter().map(|(quota, left)| (quota.dimension(), *left)).collect();
    assert_eq!(levels, [(Dimension::TOKENS, 510), (Dimension::REQUESTS, 1)]);
    assert_eq!(snapshot.in_flight(), 9);
    // A call that is not sent is refunded as the quota counts now.
    flying.truncate(8);
    let unsent = limiter.acquire(Charge::request().input_tokens(10)).await.unwrap();
    let start = Instant::now();
    drop(unsent);
    drop(limiter.acquire(Charge::request()).await.unwrap());
    assert_eq!(start.elapsed(), Duration::ZERO);
    // A change lets waiting calls go.
    let waiting = limiter.clone();
    let waiting = tokio::spawn(async move {
        let mut all = waiting.acquire(Charge::request().requests(10)).await.unwrap();
        all.sent();
        all
    });
    sleep(S / 10).await;
    assert_eq!(limiter.snapshot().waiting(), 1);
    limiter.set_quotas([Quota::tokens_per_minute(60)]);
    yield_now().await;
    assert!(waiting.is_finished(), "there is no quota of requests any more");
}

#[tokio::test(start_paused = true)]
async fn promise_25_a_snapshot_shows_levels_the_line_and_the_pause() {
    let limiter = RateLimiter::new([Quota::tokens_per_minute(60)]);
    assert_eq!(limiter.snapshot().oldest_wait(), None);
    let mut all = limiter.acquire(Charge::request().input_tokens(60)).await.unwrap();
    all.sent();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move { limiter.acquire(Charge::request().input_tokens(9)).await.map(drop) })
        })
        .collect();
    sleep(2 * S).await;
    all.end(Outcome::throttled().with_retry_after(30 * S));
    let snapshot = limiter.snapshot();
    // 2 had flowed back that the server did not have, as it has nothing until the pause is over.
    assert_eq!((snapshot.available()[0].1, snapshot.waiting(), snapshot.in_flight()), (-30, 3, 0));
    assert_eq!(snapshot.oldest_wait(), Some(2 * S));
    assert_eq!(snapshot.paused_for(), Some(30 * S));
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn promise_23_a_pause_that_is_too_long_refuses_instead_of_holding() {
    let limiter = RateLimiter::new([]);
    limiter.set_max_pause(60 * S);
    let first = limiter.acquire(Charge::request()).await.unwrap();
    first.end(Outcome::throttled().with_retry_after(600 * S));
    let refused = limiter.acquire(Charge::request()).await.unwrap_err();
    assert_eq!(refused.reject_reason(), RejectReason::Gate);
    assert_eq!(refused.reason(), Some(RateLimitReason::Exhausted { retry_after: 600 * S }));
    assert_eq!(refused.retry_after(), Some(600 * S));
    assert_eq!(refused.to_string(), "server asked for a pause of 600s, which is too long to wait for");
    sleep(600 * S).await;
    limiter.acquire(Charge::request()).await.unwrap().end(Outcome::success());
}

fn spawned(limiter: &RateLimiter) -> JoinHandle<Result<RateLimitPermit, RateLimited>> {
    let limiter = limiter.clone();
    tokio::spawn(async move { limiter.acquire(Charge::request()).await })
}

#[tokio::test(start_paused = true)]
async fn promise_22_a_call_that_cannot_go_immediately_waits_or_is_rejected_as_set() {
    let limiter = RateLimiter::new([Quota::requests_per_second(1)]);
    limiter.acquire(Charge::request()).await.unwrap().end(Outcome::success());
    limiter.set_max_wait(Duration::ZERO);
    let refused = limiter.acquire(Charge::request()).await.unwrap_err();
    assert_eq!((refused.reject_reason(), refused.retry_after()), (RejectReason::WaitTooLong, Some(S)));
    assert_eq!(
        (refused.reason(), refused.ahead()),
        (Some(RateLimitReason::Quota(Dimension::REQUESTS)), Some(0))
    );

    limiter.set_max_wait(2 * S);
    let start = Instant::now();
    let in_line: Vec<_> = (0..2).map(|_| spawned(&limiter)).collect();
    yield_now().await;
    let refused = limiter.acquire(Charge::request()).await.unwrap_err();
    assert_eq!((refused.retry_after(), refused.ahead()), (Some(3 * S), Some(2)));
    assert_eq!(
        refused.to_string(),
        "rate limit: the call would wait too long (quota of requests), 2 calls ahead of it"
    );
    limiter.set_max_wait(Duration::MAX);
    let patient = spawned(&limiter);
    for (seconds, waiting) in (1..).zip(in_line) {
        waiting.await.unwrap().unwrap().end(Outcome::success());
        assert_eq!(start.elapsed(), seconds * S);
    }
    patient.await.unwrap().unwrap().end(Outcome::success());
    assert_eq!(start.elapsed(), 3 * S);
}

#[tokio::test(start_paused = true)]
async fn promise_18_urgent_calls_go_first_and_what_is_sent_again_keeps_its_place() {
    let limiter = RateLimiter::new([Quota::requests_per_second(1)]);
    let start = Instant::now();
    limiter.acquire(Charge::request()).await.unwrap().end(Outcome::success());
    let options = |priority| CallOptions::new().with_priority(priority);
    let calls = [
        ("low", options(Priority::LOW)),
        ("normal", options(Priority::NORMAL)),
        ("high", options(Priority::HIGH)),
        ("again", options(Priority::NORMAL).with_arrival(start)),
    ];
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut running = tokio::task::JoinSet::new();
    sleep(S / 100).await;
    for (name, options) in calls {
        let (limiter, order) = (limiter.clone(), std::sync::Arc::clone(&order));
        running.spawn(async move {
            limiter.acquire_with(Charge::request(), &options).await.unwrap().end(Outcome::success());
            order.lock().unwrap().push(name);
        });
    }
    running.join_all().await;
    assert_eq!(*order.lock().unwrap(), ["high", "again", "normal", "low"]);
}

#[tokio::test(start_paused = true)]
async fn closing_refuses_new_callers_and_drains_or_fails_the_line() {
    for (closing, served) in [(Closing::Drain, true), (Closing::Fail, false)] {
        let limiter = RateLimiter::new([Quota::requests_per_second(1)]);
        let mut running = limiter.acquire(Charge::request()).await.unwrap();
        running.sent();
        let waiting = spawned(&limiter);
        sleep(S / 10).await;
        limiter.close(closing);
        let refused = limiter.acquire(Charge::request()).await.unwrap_err();
        assert_eq!(refused.reject_reason(), RejectReason::Closed);
        let waited = waiting.await.unwrap();
        assert_eq!(waited.is_ok(), served);
        drop(waited);
        running.end(Outcome::success());
        assert_eq!((limiter.snapshot().in_flight(), limiter.snapshot().waiting()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_never_sent_is_given_back_though_quotas_change_and_change_again() {
    let limiter = RateLimiter::new([Quota::tokens_per_day(1_000)]);
    let permit = limiter.acquire(Charge::request().input_tokens(900)).await.unwrap();
    for amount in [2_000, 500, 1_000] {
        limiter.set_quotas([Quota::tokens_per_day(amount)]);
    }
    drop(permit);
    assert_eq!(limiter.snapshot().available()[0].1, 1_000);
}
