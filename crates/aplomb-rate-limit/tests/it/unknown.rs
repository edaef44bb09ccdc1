//! Limits that nobody configured: reported by the server, or estimated.

use std::time::Duration;

use aplomb_core::Outcome;
use aplomb_mock::Hints;
use aplomb_rate_limit::{Charge, Dimension, Learned, Quota, RateLimitReason, RateLimiter, Reading};
use tokio::time::Instant;

use crate::sim::{Provider, run};

const S: Duration = Duration::from_secs(1);

fn a_minute(per_minute: u64, burst: u64, hints: Hints) -> Provider {
    Provider { per_minute, burst, hints, latency: S / 5 }
}

#[tokio::test(start_paused = true)]
async fn promise_24_a_hundred_prompts_under_an_unknown_limit_take_few_more_requests_and_no_more_time() {
    for hints in [Hints::All, Hints::RetryAfter, Hints::Text, Hints::None] {
        let provider = a_minute(60, 10, hints);
        let run = run(provider, &RateLimiter::new([]), 100, 100, None).await;
        assert_eq!(run.answered, 100);
        assert!(run.requests <= 150, "{hints:?}: {run:?}");
        assert!(run.took <= provider.ideal(100).mul_f64(1.05), "{hints:?}: {run:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn promise_24_over_five_minutes_an_unknown_limit_is_held() {
    for hints in [Hints::All, Hints::RetryAfter, Hints::None] {
        for latency in [S / 5, 2 * S] {
            let provider = Provider { latency, ..a_minute(60, 10, hints) };
            let run = run(provider, &RateLimiter::new([]), 100, u64::MAX, Some(300 * S)).await;
            assert!(run.refused * 100 <= run.requests * 20, "{hints:?}: {run:?}");
            // 10 at once and then one a second.
            assert!(run.answered * 100 >= 310 * 97, "{hints:?}: {run:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn promise_24_a_limit_that_the_server_reports_is_never_exceeded() {
    for (per_minute, burst) in [(20, 5), (60, 10), (60, 60), (600, 20)] {
        let provider = a_minute(per_minute, burst, Hints::All);
        let run = run(provider, &RateLimiter::new([]), 100, 200, None).await;
        // But for those that go before the first answer: its time is presumed to be a long one.
        assert!(run.answered == 200 && run.refused <= 40, "{provider:?}: {run:?}");
        assert!(run.took <= provider.ideal(200).mul_f64(1.05), "{provider:?}: {run:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn promise_24_what_was_learned_is_saved_and_a_restart_does_not_start_blind() {
    for hints in [Hints::All, Hints::RetryAfter] {
        let provider = a_minute(60, 10, hints);
        let limiter = RateLimiter::new([]);
        run(provider, &limiter, 100, u64::MAX, Some(300 * S)).await;
        let learned = limiter.learned();
        let again = RateLimiter::new([]);
        again.remember(&learned);
        assert_eq!(again.learned(), learned);
        let run = run(provider, &again, 100, 100, None).await;
        // Without a word from the server only its rate is known, and not that it had saved up a burst.
        let (ideal, refused) = match hints {
            Hints::All => (provider.ideal(100).mul_f64(1.05), 0),
            _ => (100 * S + 15 * S, 10),
        };
        assert!(run.refused <= refused && run.took <= ideal, "{hints:?}: {run:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn promise_23_one_429_among_64_callers_costs_one_429() {
    // A provider whose quota others have just used up: one call finds out for all.
    let provider = Provider { latency: S / 50, ..a_minute(6_000, 100, Hints::RetryAfter) };
    let limiter = RateLimiter::new([Quota::requests_per_second(1_000)]);
    let first = limiter.acquire(Charge::request()).await.unwrap();
    first.end(Outcome::throttled().with_retry_after(S));
    let start = Instant::now();
    let run = run(provider, &limiter, 64, 64, None).await;
    assert_eq!((run.answered, run.refused), (64, 0));
    assert!(start.elapsed() >= S && start.elapsed() <= 2 * S, "{run:?}");
}

async fn answered(limiter: &RateLimiter, charge: Charge, reading: Reading) {
    let mut permit = limiter.acquire(charge).await.unwrap();
    permit.sent();
    permit.limits(&[reading]);
    permit.end(Outcome::success());
}

const REQUESTS: Reading = Reading::of(Dimension::REQUESTS);

fn left(limiter: &RateLimiter) -> i64 {
    limiter.snapshot().available()[0].1
}

#[tokio::test(start_paused = true)]
async fn promise_24_stricter_is_believed_at_once_and_looser_when_three_agree() {
    let limiter = RateLimiter::new([Quota::requests_per_minute(60).burst(60)]);
    answered(&limiter, Charge::request(), REQUESTS.with_limit(60).with_remaining(12)).await;
    assert_eq!(left(&limiter), 12);
    // Each of these takes one; the third in a row that says more is left is believed.
    for more in [50, 50] {
        answered(&limiter, Charge::request(), REQUESTS.with_limit(60).with_remaining(more)).await;
    }
    assert_eq!(left(&limiter), 10);
    answered(&limiter, Charge::request(), REQUESTS.with_limit(60).with_remaining(45)).await;
    assert_eq!(left(&limiter), 45);
    // The limit itself: half of it at once, and back when three agree.
    let half = REQUESTS.with_limit(30).with_window(60 * S);
    answered(&limiter, Charge::request(), half).await;
    assert_eq!(limiter.snapshot().available()[0].0.amount(), 30);
    for amount in [30, 30, 60] {
        answered(&limiter, Charge::request(), REQUESTS.with_limit(600).with_window(60 * S)).await;
        assert_eq!(limiter.snapshot().available()[0].0.amount(), amount, "never beyond what is configured");
    }
}

#[tokio::test(start_paused = true)]
async fn promise_24_what_is_in_flight_is_not_taken_for_free() {
    let limiter = RateLimiter::new([Quota::requests_per_minute(60).burst(60)]);
    let mut flying = Vec::new();
    for _ in 0..20 {
        flying.push(limiter.acquire(Charge::request()).await.unwrap());
    }
    flying.iter_mut().for_each(aplomb_rate_limit::RateLimitPermit::sent);
    // The server has counted only what it answers; it will count the 20.
    for used in 1..=6 {
        answered(&limiter, Charge::request(), REQUESTS.with_limit(60).with_remaining(60 - used)).await;
    }
    assert_eq!(left(&limiter), 60 - 26);
    drop(flying);
}

#[tokio::test(start_paused = true)]
async fn promise_24_garbage_is_ignored() {
    let limiter = RateLimiter::new([Quota::requests_per_minute(60).burst(60)]);
    for garbage in [
        REQUESTS,
        REQUESTS.with_limit(0).with_remaining(0),
        REQUESTS.with_remaining(0),
        REQUESTS.with_limit(60).with_remaining(61),
        REQUESTS.with_reset(Duration::MAX),
        Reading::of(Dimension::named("unheard of")).with_remaining(3),
        REQUESTS.with_limit(u64::MAX).with_remaining(u64::MAX).with_reset(Duration::MAX),
    ] {
        answered(&limiter, Charge::request().requests(0), garbage).await;
        assert_eq!(left(&limiter), 60, "{garbage:?}");
    }
    assert_eq!(limiter.learned(), Learned::new());
}

#[tokio::test(start_paused = true)]
async fn promise_24_a_quota_nobody_configured_is_learned_beside_those_that_are() {
    let limiter = RateLimiter::new([Quota::requests_per_minute(600).burst(600)]);
    let tokens = Reading::of(Dimension::TOKENS).with_limit(1_000).with_remaining(100).with_window(60 * S);
    answered(&limiter, Charge::request(), tokens).await;
    let snapshot = limiter.snapshot();
    assert_eq!(snapshot.available()[1], (Quota::tokens_per_minute(1_000), 100));
    let start = Instant::now();
    limiter
        .acquire(Charge::request().input_tokens(150))
        .await
        .unwrap()
        .end(Outcome::success());
    assert_eq!(start.elapsed(), 3 * S);
    // Not where it is not wanted.
    let configured = RateLimiter::new([Quota::requests_per_minute(600)]);
    configured.set_learning(false);
    answered(&configured, Charge::request(), tokens).await;
    assert_eq!(configured.snapshot().available().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn once_the_server_has_reported_its_limit_as_many_calls_go_as_it_allows() {
    let limiter = RateLimiter::new([]);
    let reading = REQUESTS.with_limit(600).with_remaining(99).with_window(60 * S);
    answered(&limiter, Charge::request(), reading).await;
    let start = Instant::now();
    let mut flying = Vec::new();
    for _ in 0..99 {
        flying.push(limiter.acquire(Charge::request()).await.unwrap());
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    flying.push(limiter.acquire(Charge::request()).await.unwrap());
    assert_eq!(start.elapsed(), S / 10);
}

#[tokio::test(start_paused = true)]
async fn unanswered_calls_open_the_window_as_time_passes() {
    let limiter = RateLimiter::new([]);
    let start = Instant::now();
    let mut flying = Vec::new();
    for _ in 0..120 {
        flying.push((limiter.acquire(Charge::request()).await.unwrap(), start.elapsed()));
    }
    // 8 at once, and twice as many more with each time that a refusal would have taken.
    let by = |millis| flying.iter().filter(|(_, went)| *went <= Duration::from_millis(millis)).count();
    assert_eq!([by(0), by(52), by(104), by(156)], [8, 24, 56, 120]);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_quotas_a_server_can_teach_is_bounded() {
    let limiter = RateLimiter::new([]);
    for seconds in 1..1_000 {
        answered(&limiter, Charge::request().requests(0), REQUESTS.with_limit(10).with_window(seconds * S))
            .await;
    }
    assert!(limiter.snapshot().available().len() <= 8);
}

#[tokio::test(start_paused = true)]
async fn without_learning_and_quotas_only_pauses_hold_calls_back() {
    let limiter = RateLimiter::new([]);
    limiter.set_learning(false);
    let mut flying = Vec::new();
    for _ in 0..1_000 {
        flying.push(limiter.acquire(Charge::request()).await.unwrap());
    }
    let blind = RateLimiter::new([]);
    blind.set_max_wait(Duration::ZERO);
    let mut sent = Vec::new();
    let refused = loop {
        match blind.acquire(Charge::request()).await {
            Ok(permit) => sent.push(permit),
            Err(refused) => break refused,
        }
    };
    assert_eq!((sent.len(), refused.reason()), (8, Some(RateLimitReason::Unknown)));
}
