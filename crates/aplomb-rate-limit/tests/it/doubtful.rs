//! Reports of a server that are wrong, about another limit, or out of date.

use std::time::Duration;

use aplomb_core::Outcome;
use aplomb_rate_limit::{Charge, Dimension, Learned, Quota, RateLimitReason, RateLimiter, Reading};
use tokio::time::{Instant, advance, timeout};

const S: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const REQUESTS: Reading = Reading::of(Dimension::REQUESTS);
const TOKENS: Reading = Reading::of(Dimension::TOKENS);

async fn answered(limiter: &RateLimiter, charge: Charge, reading: Reading) {
    let mut permit = limiter.acquire(charge).await.unwrap();
    permit.sent();
    permit.limits(&[reading]);
    permit.end(Outcome::success());
}

fn amounts(limiter: &RateLimiter) -> Vec<u64> {
    limiter.snapshot().available().iter().map(|(quota, _)| quota.amount()).collect()
}

fn left(limiter: &RateLimiter) -> i64 {
    limiter.snapshot().available()[0].1
}

/// How much goes in a minute where every answer says `reading`.
async fn in_a_minute(limiter: &RateLimiter, charge: &Charge, reading: Reading) -> u64 {
    limiter.set_max_wait(Duration::ZERO);
    let mut went = 0;
    for _ in 0..600 {
        if let Ok(mut permit) = limiter.acquire(charge.clone()).await {
            went += 1;
            permit.sent();
            permit.limits(&[reading]);
            permit.end(Outcome::success());
        }
        advance(S / 10).await;
    }
    went
}

#[tokio::test(start_paused = true)]
async fn promise_17_a_configured_quota_holds_whatever_the_server_has_left() {
    let a_day = RateLimiter::new([Quota::requests_per_day(100).burst(100)]);
    let minute = REQUESTS.with_limit(500).with_remaining(499).with_reset(Duration::from_millis(120));
    assert_eq!(in_a_minute(&a_day, &Charge::request(), minute).await, 100);
    let a_minute = RateLimiter::new([Quota::tokens_per_minute(10_000)]);
    let larger = TOKENS.with_limit(1_000_000).with_remaining(999_000).with_window(60 * S);
    let thousand = Charge::request().input_tokens(1_000);
    assert!(in_a_minute(&a_minute, &thousand, larger).await <= 20);
}

#[tokio::test(start_paused = true)]
async fn of_a_larger_limit_no_more_is_given_back_than_readings_took() {
    let limiter = RateLimiter::new([Quota::requests_per_hour(3_600).burst(100)]);
    drop(limiter.acquire(Charge::request()).await.unwrap());
    let mut flying = Vec::new();
    for _ in 0..40 {
        flying.push(limiter.acquire(Charge::request()).await.unwrap());
    }
    flying.iter_mut().for_each(aplomb_rate_limit::RateLimitPermit::sent);
    drop(flying);
    // The server has all of its own, larger limit, and 40 of ours have been drawn.
    let all = REQUESTS.with_limit(7_200).with_remaining(7_200).with_window(HOUR);
    for _ in 0..5 {
        answered(&limiter, Charge::request().requests(0), all).await;
    }
    assert_eq!(left(&limiter), 60);
    answered(&limiter, Charge::request().requests(0), all.with_remaining(10)).await;
    assert_eq!(left(&limiter), 10);
    advance(20 * S).await;
    for _ in 0..3 {
        answered(&limiter, Charge::request().requests(0), all).await;
    }
    assert_eq!(left(&limiter), 60, "30 of the 50 that it took are given back; 20 had flowed back");
}

#[tokio::test(start_paused = true)]
async fn promise_24_a_configured_quota_is_as_full_as_the_server_says_of_the_same_limit() {
    let limiter = RateLimiter::new([Quota::tokens_per_minute(60_000)]);
    let mut flying = Vec::new();
    for _ in 0..10 {
        flying.push(limiter.acquire(Charge::request().output_tokens(5_000)).await.unwrap());
    }
    flying.iter_mut().for_each(aplomb_rate_limit::RateLimitPermit::sent);
    assert_eq!(left(&limiter), 10_000);
    // It gives back what was reserved and not used; what is in flight it may not have counted.
    let of_it = TOKENS.with_limit(60_000).with_window(60 * S);
    for (answered, mut permit) in (1..=4).zip(flying.drain(..4)) {
        permit.limits(&[of_it.with_remaining(60_000 - 100 * answered)]);
        permit.end(Outcome::success());
        let expected = if answered < 3 {
            10_000
        } else {
            60_000 - 100 - 9 * 5_000
        };
        assert_eq!(left(&limiter), expected.max(10_000), "{answered}");
    }
    drop(flying);
}

#[tokio::test(start_paused = true)]
async fn promise_47_as_much_comes_at_once_as_the_server_says_until_it_refuses_that() {
    let limiter = RateLimiter::new([Quota::requests_per_minute(120)]);
    assert_eq!(left(&limiter), 2);
    for used in [1, 2, 3] {
        let reading = REQUESTS.with_limit(120).with_remaining(120 - used).with_window(60 * S);
        answered(&limiter, Charge::request(), reading).await;
    }
    assert_eq!(left(&limiter), 117);
    // It has some left, and refuses: it takes less at once than it says.
    let mut permit = limiter.acquire(Charge::request()).await.unwrap();
    permit.sent();
    permit.limits(&[REQUESTS.with_limit(120).with_remaining(116).with_window(60 * S)]);
    permit.end(Outcome::throttled().with_retry_after(S));
    advance(S).await;
    assert_eq!(left(&limiter), 2);
    for _ in 0..5 {
        let reading = REQUESTS.with_limit(120).with_remaining(110).with_window(60 * S);
        answered(&limiter, Charge::request(), reading).await;
    }
    assert!(left(&limiter) <= 2);
}

#[tokio::test(start_paused = true)]
async fn promise_47_after_a_refusals_hint_a_fixed_window_is_full() {
    let limiter = RateLimiter::new([Quota::requests_per_minute(100).burst(100)]);
    for _ in 0..100 {
        limiter.acquire(Charge::request()).await.unwrap().end(Outcome::success());
    }
    let opens = Instant::now() + 30 * S;
    loop {
        let permit = limiter.acquire(Charge::request()).await.unwrap();
        let left = opens.saturating_duration_since(Instant::now());
        if left.is_zero() {
            permit.end(Outcome::success());
            break;
        }
        permit.end(Outcome::throttled().with_retry_after(left));
    }
    assert_eq!(left(&limiter), 99);
}

#[tokio::test(start_paused = true)]
async fn a_reported_rate_that_no_refusal_confirms_is_tried_and_dropped() {
    let limiter = RateLimiter::new([Quota::requests_per_second(10)]);
    let stricter = REQUESTS.with_limit(5).with_window(S);
    let mut in_each_second = Vec::new();
    for _ in 0..20 {
        in_each_second.push(in_a(S, &limiter, stricter).await);
    }
    assert_eq!((in_each_second[5], in_each_second[19]), (5, 10), "{in_each_second:?}");
}

/// How much goes in `time` where every answer says `reading`.
async fn in_a(time: Duration, limiter: &RateLimiter, reading: Reading) -> u64 {
    let end = Instant::now() + time;
    let mut went = 0;
    while let Ok(permit) = tokio::time::timeout_at(end, limiter.acquire(Charge::request())).await {
        let mut permit = permit.unwrap();
        went += 1;
        permit.sent();
        permit.limits(&[reading]);
        permit.end(Outcome::success());
    }
    went
}

#[tokio::test(start_paused = true)]
async fn promise_45_of_a_limit_without_a_window_the_level_is_believed_and_not_the_rate() {
    // As of Envoy: ten in each second, and a reset in whole seconds.
    let limiter = RateLimiter::new([]);
    let start = Instant::now();
    let mut refused = 0;
    let (mut window, mut used) = (0, 0);
    for _ in 0..100 {
        let mut permit = limiter.acquire(Charge::request()).await.unwrap();
        permit.sent();
        let now = start.elapsed().as_secs();
        if now > window {
            (window, used) = (now, 0);
        }
        used += 1;
        refused += u64::from(used > 10);
        let left = 10_u64.saturating_sub(used);
        permit.limits(&[REQUESTS.with_limit(10).with_remaining(left).with_reset(S)]);
        permit.end(Outcome::success());
        advance(S / 100).await;
    }
    assert_eq!(refused, 0);
    assert!(start.elapsed() <= 10 * S, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_reading_is_about_the_quota_of_its_window() {
    let two = RateLimiter::new([Quota::requests_per_day(10_000), Quota::requests_per_minute(600)]);
    let reading = REQUESTS.with_limit(300).with_remaining(299);
    answered(&two, Charge::request(), reading.with_reset(S)).await;
    assert_eq!(amounts(&two), [10_000, 600], "it is not known which");
    answered(&two, Charge::request(), reading.with_window(60 * S)).await;
    assert_eq!(amounts(&two), [10_000, 300]);
    // It follows that the window is a minute, of which there is none.
    let day = RateLimiter::new([Quota::tokens_per_day(10_000_000)]);
    let minute = TOKENS.with_limit(160_000).with_remaining(159_976).with_reset(Duration::from_millis(9));
    answered(&day, Charge::request().input_tokens(24), minute).await;
    assert_eq!((amounts(&day), left(&day)), (vec![10_000_000], 10_000_000 - 24));
    // No window is named, but an amount that only one of them has.
    answered(&day, Charge::request(), TOKENS.with_limit(10_000_000).with_remaining(4_000)).await;
    assert_eq!(left(&day), 4_000);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_the_server_reported_rejects_no_call_for_good() {
    let limiter = RateLimiter::new([Quota::tokens_per_minute(90_000)]);
    let one = TOKENS.with_limit(1).with_remaining(1).with_window(60 * S);
    answered(&limiter, Charge::request(), one).await;
    assert_eq!(amounts(&limiter), [1]);
    // It waits for what there is, and leaves a debt.
    let thousand = || Charge::request().input_tokens(1_000);
    limiter.acquire(thousand()).await.unwrap().end(Outcome::success());
    assert!(left(&limiter) < 0);
    let above = limiter.acquire(Charge::request().input_tokens(90_001)).await.unwrap_err();
    let dimension = Dimension::TOKENS;
    let limit = RateLimitReason::AboveCapacity { dimension, cost: 90_001, capacity: 90_000 };
    assert_eq!(above.reason(), Some(limit), "what is configured does");

    let learned = RateLimiter::new([Quota::requests_per_minute(600)]);
    let few = TOKENS.with_limit(500).with_remaining(400).with_window(60 * S);
    answered(&learned, Charge::request(), few).await;
    let start = Instant::now();
    for _ in 0..2 {
        learned
            .acquire(Charge::request().input_tokens(2_000))
            .await
            .unwrap()
            .end(Outcome::success());
    }
    // The first when the 500 are full; of the second, 1,500 are the debt of the first, and 500 its own.
    assert_eq!(start.elapsed(), 12 * S + 240 * S);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_not_confirmed_for_an_hour_expires() {
    let tightened = RateLimiter::new([Quota::tokens_per_minute(90_000)]);
    let learned = RateLimiter::new([]);
    let one = TOKENS.with_limit(1).with_remaining(1).with_window(60 * S);
    answered(&tightened, Charge::request(), one).await;
    answered(
        &learned,
        Charge::request(),
        REQUESTS.with_limit(1).with_remaining(0).with_window(24 * HOUR),
    )
    .await;
    let start = Instant::now();
    advance(HOUR / 2).await;
    answered(&tightened, Charge::request(), one).await;
    // One call waits a day, and goes when the limit lapses; more of them as answers come.
    learned.acquire(Charge::request()).await.unwrap().end(Outcome::success());
    assert_eq!((start.elapsed(), learned.learned()), (HOUR, Learned::new()));
    let mut flying = Vec::new();
    while let Ok(permit) = learned.try_acquire(&Charge::request()) {
        flying.push(permit);
    }
    assert!((8..=9).contains(&flying.len()), "one may be presumed to be accepted");
    drop(tightened.acquire(Charge::request()).await.unwrap());
    assert!(amounts(&tightened) < vec![90_000], "confirmed half an hour ago");
    advance(HOUR / 2).await;
    drop(tightened.acquire(Charge::request()).await.unwrap());
    assert_eq!((amounts(&tightened), left(&tightened)), (vec![90_000], 90_000));
}

#[tokio::test(start_paused = true)]
async fn what_a_reading_took_expires_with_it() {
    let limiter = RateLimiter::new([Quota::requests_per_day(100).burst(100)]);
    let empty = REQUESTS.with_limit(100).with_remaining(0).with_window(24 * HOUR);
    answered(&limiter, Charge::request(), empty).await;
    let start = Instant::now();
    drop(limiter.acquire(Charge::request().requests(50)).await.unwrap());
    assert_eq!(start.elapsed(), HOUR, "where a day's worth was taken");
}

#[tokio::test(start_paused = true)]
async fn a_window_beyond_a_day_is_not_learned() {
    for limiter in [
        RateLimiter::new([]),
        RateLimiter::new([Quota::requests_per_minute(600)]),
    ] {
        let before = amounts(&limiter);
        let vast = REQUESTS.with_limit(1).with_remaining(0).with_window(Duration::MAX);
        answered(&limiter, Charge::request(), vast).await;
        assert_eq!(amounts(&limiter), before);
    }
}

#[tokio::test(start_paused = true)]
async fn the_least_of_three_agreeing_limits_is_put_in_force() {
    let limiter = RateLimiter::new([]);
    limiter.remember(&Learned::new().quotas([Quota::requests_per_minute(60)]));
    for limit in [62, 61, 1_000_000_000] {
        answered(&limiter, Charge::request(), REQUESTS.with_limit(limit).with_window(60 * S)).await;
    }
    assert_eq!(amounts(&limiter), [61]);
}

#[tokio::test(start_paused = true)]
async fn a_debt_that_is_nonsense_lasts_an_hour() {
    for used in [10_u64.pow(18), u64::MAX] {
        let limiter = RateLimiter::new([Quota::tokens_per_minute(90_000)]);
        let mut permit = limiter.acquire(Charge::request().input_tokens(10)).await.unwrap();
        permit.sent();
        permit.settle(&Charge::request().output_tokens(used));
        let next = timeout(HOUR, limiter.acquire(Charge::request().input_tokens(10))).await;
        assert!(next.is_ok(), "{used}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_counts_as_vastly_many_leaves_an_hours_debt_where_a_limit_is_found_out() {
    let found = RateLimiter::new([]);
    found.remember(&Learned::new().rate(Some(10.0)));
    for limiter in [RateLimiter::new([]), found] {
        for _ in 0..2 {
            let vast = Charge::request().requests(u64::MAX);
            let went = timeout(2 * HOUR, limiter.acquire(vast)).await;
            went.expect("an hour is enough").unwrap().end(Outcome::success());
        }
    }
}
