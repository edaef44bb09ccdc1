//! Promises about the queue and the quotas, without a service.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb_admission::RejectReason;
use aplomb_core::{CallOptions, Outcome, find_in};
use aplomb_rate_limit::{
    Charge, Dimension, Pool, Quota, RateLimitPermit, RateLimitReason, RateLimited, RateLimiter,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_test::{assert_pending, task};

const S: Duration = Duration::from_secs(1);

fn options() -> CallOptions {
    CallOptions::new()
}

fn tokens(tokens: u64) -> Charge {
    Charge::request().input_tokens(tokens)
}

/// Counts how often a future is polled.
async fn counting<F: Future>(polls: &AtomicU32, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        polls.fetch_add(1, Relaxed);
        future.as_mut().poll(cx)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn promise_18_four_thousand_callers_get_the_full_rate_in_order_with_few_polls() {
    let limiter = RateLimiter::new([Quota::requests_per_second(1_000).burst(2)]);
    let start = Instant::now();
    let polls = Arc::new(AtomicU32::new(0));
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut callers = JoinSet::new();
    for number in 0..4_000 {
        let (limiter, polls, served) = (limiter.clone(), Arc::clone(&polls), Arc::clone(&served));
        callers.spawn(async move {
            let permit = counting(&polls, limiter.acquire(Charge::request())).await.unwrap();
            served.lock().unwrap().push((permit.admitted_at(), number));
            permit.end(Outcome::success());
        });
    }
    callers.join_all().await;
    let ideal = Duration::from_millis(3_998);
    assert!(
        start.elapsed() >= ideal && start.elapsed() <= ideal.mul_f64(1.01),
        "{:?}",
        start.elapsed()
    );
    assert!(served.lock().unwrap().is_sorted(), "no call is overtaken");
    assert!(polls.load(Relaxed) <= 3 * 4_000);
}

#[tokio::test(start_paused = true)]
async fn promise_18_small_calls_without_end_do_not_starve_a_large_one() {
    let limiter = RateLimiter::new([Quota::new(Dimension::TOKENS, 50_000, 60 * S)]);
    let small = limiter.clone();
    let stream = tokio::spawn(async move {
        for _ in 0..10_000 {
            let small = small.clone();
            tokio::spawn(async move { drop(sent(small.acquire(tokens(1_000)).await)) });
            sleep(Duration::from_millis(100)).await;
        }
    });
    sleep(120 * S).await;
    let ahead = u32::try_from(limiter.snapshot().waiting()).unwrap();
    assert!(ahead > 100, "the small calls ask for more than there is");
    let start = Instant::now();
    let permit = limiter.acquire(tokens(50_000)).await.unwrap();
    // Those ahead of it, 1.2 s each, and then a full bucket of its own: not one of those behind.
    let own_turn = (ahead + 50) * S.mul_f64(1.2);
    assert!(start.elapsed() <= own_turn + 2 * S, "{:?} of {own_turn:?}", start.elapsed());
    drop(permit);
    stream.abort();
}

/// The permit of a call that is on its way.
fn sent<E: std::fmt::Debug>(permit: Result<RateLimitPermit, E>) -> RateLimitPermit {
    let mut permit = permit.unwrap();
    permit.sent();
    permit
}

#[tokio::test(start_paused = true)]
async fn promise_19_nothing_is_held_of_one_quota_while_another_is_waited_for() {
    let limiter = RateLimiter::new([Quota::requests_per_second(10), Quota::tokens_per_minute(600)]);
    drop(sent(limiter.acquire(tokens(600)).await));
    let waiting = limiter.clone();
    let waiting = tokio::spawn(async move { sent(waiting.acquire(tokens(100)).await) });
    sleep(5 * S).await;
    assert_eq!(limiter.snapshot().waiting(), 1);
    assert_eq!(limiter.snapshot().available()[0].1, 10, "its request has not been taken");
    assert_eq!(limiter.snapshot().available()[1].1, 50, "nor have the tokens that are there");
    drop(waiting.await);
    assert_eq!(limiter.snapshot().available()[0].1, 9);
}

#[tokio::test(start_paused = true)]
async fn promise_22_one_more_than_ever_fits_is_refused_at_once() {
    let limiter = RateLimiter::new([Quota::tokens_per_minute(1_000).burst(100)]);
    let error = limiter.acquire(tokens(1_001)).await.unwrap_err();
    let limit = RateLimitReason::AboveCapacity { dimension: Dimension::TOKENS, cost: 1_001, capacity: 1_000 };
    assert_eq!((error.reject_reason(), error.reason()), (RejectReason::Gate, Some(limit)));
    assert_eq!(error.to_string(), "call costs 1001 tokens, but the quota never holds more than 1000");
    let start = Instant::now();
    drop(sent(limiter.acquire(tokens(1_000)).await));
    assert_eq!(start.elapsed(), Duration::ZERO, "the bucket was full");
    drop(sent(limiter.acquire(tokens(1)).await));
    assert_eq!(start.elapsed(), 54 * S + 60 * S / 1_000, "and is 900 in debt");
}

#[tokio::test(start_paused = true)]
async fn promise_22_a_wait_that_cannot_end_before_the_deadline_is_rejected_immediately_and_says_when() {
    let limiter = RateLimiter::new([Quota::requests_per_second(1)]);
    drop(sent(limiter.acquire(Charge::request()).await));
    let start = Instant::now();
    let deadline = options().with_deadline(start + S / 2);
    let error = limiter.acquire_with(Charge::request(), &deadline).await.unwrap_err();
    assert_eq!((error.reject_reason(), error.retry_after()), (RejectReason::WaitTooLong, Some(S)));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(limiter.snapshot().available()[0].1, 0, "a refused call has taken nothing");
}

#[tokio::test(start_paused = true)]
async fn promise_23_one_throttled_response_pauses_every_caller_and_waiting_calls_keep_their_order() {
    let limiter = RateLimiter::new([]);
    limiter.set_learning(false);
    let first = sent(limiter.acquire(Charge::request()).await);
    let start = Instant::now();
    let throttled = Outcome::throttled().with_retry_after(S);
    first.end(throttled);
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut callers = JoinSet::new();
    for number in 0..64 {
        let (limiter, served) = (limiter.clone(), Arc::clone(&served));
        callers.spawn(async move {
            let permit = sent(limiter.acquire(Charge::request()).await);
            served.lock().unwrap().push((permit.admitted_at() - start, number));
            // It is answered much later.
            permit
        });
    }
    let _unanswered = callers.join_all().await;
    let served = served.lock().unwrap();
    assert!(served.is_sorted());
    assert_eq!(served[0].0, S);
    let with_the_first_tick = served.iter().filter(|(at, _)| *at < S + Duration::from_millis(20)).count();
    assert_eq!(with_the_first_tick, 1, "one looks first");
    assert!(served[63].0 <= 2 * S);
}

#[tokio::test(start_paused = true)]
async fn promise_23_a_refund_does_not_shorten_a_pause() {
    let limiter = RateLimiter::new([Quota::requests_per_second(2)]);
    let throttled = sent(limiter.acquire(Charge::request()).await);
    let start = Instant::now();
    throttled.end(Outcome::throttled().with_retry_after(S));
    limiter.set_quotas([Quota::requests_per_second(4)]);
    let next = limiter.acquire(Charge::request()).await.unwrap();
    assert_eq!(next.admitted_at() - start, S);
}

#[tokio::test(start_paused = true)]
async fn promise_26_cancelled_and_refused_callers_consume_nothing() {
    let limiter = RateLimiter::new([Quota::requests_per_second(1)]);
    drop(limiter.acquire(Charge::request()));
    drop(limiter.acquire(Charge::request()).await);
    drop(sent(limiter.acquire(Charge::request()).await));
    for _ in 0..100 {
        assert!(timeout(S / 1_000, limiter.acquire(Charge::request())).await.is_err());
    }
    assert_eq!(limiter.snapshot().waiting(), 0);
    let start = Instant::now();
    drop(sent(limiter.acquire(Charge::request()).await));
    assert!(start.elapsed() <= S);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_tried_goes_immediately_or_not_at_all() {
    let limiter = RateLimiter::new([Quota::requests_per_second(1)]);
    limiter.try_acquire(&Charge::request()).unwrap().end(Outcome::success());
    let rejected = limiter.try_acquire(&Charge::request()).unwrap_err();
    assert_eq!((rejected.reject_reason(), rejected.retry_after()), (RejectReason::WaitTooLong, Some(S)));
    assert_eq!(limiter.snapshot().waiting(), 0);
    // It does not overtake a call that waits.
    let mut large = task::spawn(limiter.acquire(Charge::request()));
    assert_pending!(large.poll());
    let rejected = limiter.try_acquire(&Charge::request().requests(0)).unwrap_err();
    assert_eq!(rejected.ahead(), Some(1));
    drop(large);
    // A member of a pool leaves nothing behind.
    let pool = Pool::new([Quota::requests_per_second(1)]);
    let (one, other) = (pool.limiter(), pool.limiter());
    one.try_acquire(&Charge::request()).unwrap().end(Outcome::success());
    assert!(other.try_acquire(&Charge::request()).is_err());
    assert_eq!(pool.snapshot().waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_run_between_its_permit_and_its_settlement() {
    let limiter = RateLimiter::new([Quota::requests_per_second(1)]);
    let start = Instant::now();
    let first = limiter.run(Charge::request(), async || Ok::<_, std::io::Error>(1)).await;
    assert_eq!(first.unwrap(), 1);
    let fails = limiter
        .run(Charge::request(), async || Err::<(), _>(std::io::Error::other("broken")))
        .await;
    assert_eq!(fails.unwrap_err().to_string(), "broken");
    assert_eq!((start.elapsed(), limiter.snapshot().in_flight()), (S, 0));
    limiter.set_max_wait(Duration::ZERO);
    let rejected = limiter.run(Charge::request(), async || Ok::<_, std::io::Error>(3)).await.unwrap_err();
    assert!(find_in::<RateLimited, _>(&rejected).is_some());
}
