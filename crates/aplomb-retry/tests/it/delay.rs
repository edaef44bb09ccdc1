//! Delays: promises 9 and 10.

use std::time::Duration;

use aplomb_core::{
    CallOptions, EventKind, Exponential, FailedAttempt, Jitter, Outcome, Scope, StopReason, backoff_fn,
};
use aplomb_retry::{ByKind, Retried, RetryLayer, Throttled};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;
use tower_layer::Layer;

use crate::peer::{Log, Peer, millis, request, respond, secs, unavailable};

/// tokio's timer counts in milliseconds and rounds up.
const TICK: Duration = Duration::from_millis(2);

/// Returns whether a sample is uniform on `[0, most]` (Kolmogorov and Smirnov, at a level of 0.1 %; samples are seeded).
fn is_uniform(waits: &[Duration], most: Duration) -> bool {
    let mut sample: Vec<f64> = waits.iter().map(|wait| wait.div_duration_f64(most)).collect();
    sample.sort_by(f64::total_cmp);
    let many = f64::from(u32::try_from(sample.len()).unwrap());
    let distance = |(i, x): (u32, &f64)| {
        let (before, after) = (f64::from(i) / many, f64::from(i + 1) / many);
        (x - before).abs().max((x - after).abs())
    };
    (0..).zip(&sample).map(distance).fold(0.0, f64::max) < 1.95 / many.sqrt()
}

/// The delays before each retry of `calls` calls that never succeed.
async fn waits(layer: RetryLayer, status: u16, retries: u32, calls: usize) -> Vec<Vec<Duration>> {
    let log = Log::default();
    let peer = Peer::failing(usize::MAX, status);
    let service = layer.max_retries(retries).observer(log.clone()).layer(peer.clone());
    let mut set = JoinSet::new();
    for _ in 0..calls {
        set.spawn(service.clone().oneshot(request()));
    }
    for response in set.join_all().await {
        assert_eq!(response.unwrap().status(), status);
    }
    let mut waits = vec![Vec::new(); retries as usize];
    for event in log.events() {
        if let EventKind::Retrying { attempt, delay, .. } = event {
            waits[attempt as usize - 1].push(delay);
        }
    }
    waits
}

#[tokio::test(start_paused = true)]
async fn promise_9_waits_are_uniform_below_a_ceiling_that_doubles_up_to_the_cap() {
    // (status, base): throttled calls begin with longer delays.
    for (status, base) in [(503, 500), (409, 500), (429, 1_000)] {
        let waits = waits(RetryLayer::new().random_seed(u64::from(status)), status, 10, 1_000).await;
        for (retry, waits) in (0_u32..).zip(waits) {
            let ceiling = (millis(base) * 2_u32.pow(retry)).min(secs(60));
            assert_eq!(waits.len(), 1_000);
            assert!(is_uniform(&waits, ceiling), "{status}, retry {retry}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn promise_9_what_is_announced_is_what_is_waited() {
    let log = Log::default();
    let peer = Peer::failing(4, 503);
    RetryLayer::new()
        .observer(log.clone())
        .layer(peer.clone())
        .oneshot(request())
        .await
        .unwrap();
    let announced = log.waits();
    assert_eq!(announced.len(), 4);
    for (wait, announced) in peer.waits().into_iter().zip(announced) {
        assert!(wait >= announced && wait < announced + TICK, "{wait:?} {announced:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn promise_9_calls_started_together_do_not_come_back_in_lockstep() {
    for layer in [RetryLayer::new(), RetryLayer::new().random_seed(7)] {
        let peer = Peer::failing(1_000, 503);
        let service = layer.layer(peer.clone());
        let began = Instant::now();
        let mut set = JoinSet::new();
        for _ in 0..1_000 {
            set.spawn(service.clone().oneshot(request()));
        }
        set.join_all().await;
        let mut tens = [0; 51];
        for seen in &peer.seen()[1_000..] {
            tens[(seen.at - began).as_millis() as usize / 10] += 1;
        }
        // 20 on average; 100 has a probability of 10⁻³⁶.
        assert!(*tens.iter().max().unwrap() < 100, "{tens:?}");
        assert_eq!(tens.iter().sum::<i32>(), 1_000);
    }
}

#[tokio::test(start_paused = true)]
async fn promise_9_each_wait_of_a_call_is_drawn_anew() {
    let log = Log::default();
    let layer = RetryLayer::new().random_seed(1).observer(log.clone());
    layer.layer(Peer::failing(4, 503)).oneshot(request()).await.unwrap();
    // If they were drawn once, each would be twice the one before.
    let waits = log.waits();
    let drawn = waits.windows(2).filter(|pair| pair[1].abs_diff(pair[0] * 2) > millis(5));
    assert_eq!(drawn.count(), 3, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn promise_10_never_before_the_hint_and_jittered_upwards_only() {
    let log = Log::default();
    let peer = Peer::new(|call| {
        let status = if call % 2 == 0 { 429 } else { 200 };
        respond(status, &[("retry-after", "20")])
    });
    let service = RetryLayer::new().random_seed(10).observer(log.clone()).layer(peer.clone());
    for _ in 0..1_000 {
        service.clone().oneshot(request()).await.unwrap();
    }
    let above: Vec<_> = log.waits().iter().map(|wait| wait.checked_sub(secs(20)).unwrap()).collect();
    assert!(is_uniform(&above, secs(5)));
    for wait in peer.waits().into_iter().step_by(2) {
        assert!(wait >= secs(20) && wait <= secs(25) + TICK);
    }
}

#[tokio::test(start_paused = true)]
async fn the_jitter_above_a_hint_can_be_bounded() {
    let peer = Peer::new(|call| respond(if call < 4 { 503 } else { 200 }, &[("retry-after", "20")]));
    RetryLayer::new()
        .max_hint_jitter(secs(0))
        .layer(peer.clone())
        .oneshot(request())
        .await
        .unwrap();
    assert_eq!(peer.waits(), [secs(20); 4]);
}

#[tokio::test(start_paused = true)]
async fn promise_10_a_backoff_longer_than_the_hint_holds() {
    let peer = Peer::new(|call| respond(if call == 0 { 503 } else { 200 }, &[("retry-after", "4")]));
    let layer = RetryLayer::new().backoff(secs(30));
    layer.layer(peer.clone()).oneshot(request()).await.unwrap();
    assert!(peer.waits()[0] >= secs(30) && peer.waits()[0] <= secs(32) + TICK);
}

/// Calls a server that asks to wait. Returns when the response came and how the call went.
async fn asked_to_wait(layer: RetryLayer, retry_after: &'static str) -> (Duration, Option<Retried>) {
    let peer = Peer::new(move |_| respond(429, &[("retry-after", retry_after)]));
    let began = Instant::now();
    let response = layer.layer(peer).oneshot(request()).await.unwrap();
    assert_eq!(response.headers()["retry-after"], retry_after, "the hint is visible");
    (began.elapsed(), response.extensions().get::<Retried>().copied())
}

#[tokio::test(start_paused = true)]
async fn promise_10_a_hint_too_long_or_past_the_deadline_is_returned_at_once() {
    let layer = RetryLayer::new();
    let in_time = layer.clone().max_elapsed(secs(10));
    for (layer, retry_after, stopped) in [
        (layer.clone(), "121", StopReason::RetryAfterTooLong),
        (layer.clone(), "86400", StopReason::RetryAfterTooLong),
        (layer.clone().max_retry_after(secs(5)), "6", StopReason::RetryAfterTooLong),
        (in_time.clone(), "10", StopReason::Deadline),
        (in_time.clone(), "60", StopReason::Deadline),
    ] {
        let (took, retried) = asked_to_wait(layer, retry_after).await;
        let retried = retried.unwrap();
        assert_eq!((took, retried.attempts()), (secs(0), 1), "{retry_after}");
        assert_eq!(retried.stopped(), Some(stopped));
    }
    let (took, retried) = asked_to_wait(layer, "120").await;
    assert_eq!(
        (retried.unwrap().attempts(), retried.unwrap().stopped()),
        (5, Some(StopReason::MaxRetries))
    );
    assert!(took >= secs(480) && took <= secs(500) + TICK * 4);
}

#[tokio::test(start_paused = true)]
async fn promise_10_jitter_is_clipped_to_the_deadline() {
    for _ in 0..200 {
        let log = Log::default();
        let peer = Peer::new(|call| respond(if call == 0 { 429 } else { 200 }, &[("retry-after", "20")]));
        let layer = RetryLayer::new().max_elapsed(secs(21)).observer(log.clone());
        layer.layer(peer).oneshot(request()).await.unwrap();
        assert!((secs(20)..=secs(21)).contains(&log.waits()[0]));
    }
}

#[tokio::test(start_paused = true)]
async fn promise_10_a_backoff_past_the_deadline_gives_up_at_once() {
    let peer = Peer::failing(usize::MAX, 503);
    let service = RetryLayer::new().max_elapsed(secs(10)).backoff(secs(4)).layer(peer.clone());
    let began = Instant::now();
    let response = service.oneshot(request()).await.unwrap();
    let retried = response.extensions().get::<Retried>().unwrap();
    assert_eq!((retried.attempts(), retried.stopped()), (3, Some(StopReason::Deadline)));
    assert!(began.elapsed() >= secs(8) && began.elapsed() < secs(8) + TICK * 2);
    assert_eq!(retried.waited(), secs(8));
}

#[tokio::test(start_paused = true)]
async fn promise_10_above_a_rate_limit_a_throttled_call_queues_again_at_once_the_first_time() {
    let peer = Peer::new(|call| respond([429, 503, 429, 200][call], &[]));
    let service = RetryLayer::new().throttled(Throttled::Requeue).backoff(secs(3)).layer(peer.clone());
    let began = Instant::now();
    service.oneshot(request()).await.unwrap();
    let waits = peer.waits();
    assert_eq!(waits[0], secs(0));
    assert!(waits[1] >= secs(3), "other failures wait here");
    assert!(waits[2] >= secs(3), "and so does a throttle that the queue did not hold back");
    for seen in &peer.seen()[1..] {
        assert_eq!(seen.options.arrived(), Some(began), "at its original place");
    }
}

#[tokio::test(start_paused = true)]
async fn promise_10_a_throttle_of_the_request_alone_is_slept_for() {
    let peer = Peer::failing(1, 429);
    let layer = RetryLayer::new().throttled(Throttled::Requeue).backoff(secs(3)).classifier(
        |result: Result<&http::Response<_>, &aplomb_core::BoxError>| match result {
            Ok(response) if response.status() == 200 => Outcome::success(),
            _ => Outcome::throttled().with_scope(Scope::Request),
        },
    );
    layer.layer(peer.clone()).oneshot(request()).await.unwrap();
    assert!(peer.waits()[0] >= secs(3));
}

#[tokio::test(start_paused = true)]
async fn an_endless_delay_does_not_panic() {
    let peer = Peer::failing(1, 503);
    let layer = RetryLayer::new().backoff(Duration::MAX).max_elapsed(Duration::MAX);
    let mut request = request();
    request.extensions_mut().insert(CallOptions::new());
    let call = tokio::spawn(layer.layer(peer.clone()).oneshot(request));
    tokio::time::sleep(secs(86_400)).await;
    assert_eq!(peer.calls(), 1);
    call.abort();
}

/// Fails at once with a hint.
async fn failing_with_a_hint(layer: RetryLayer, hint: Duration) {
    let classifier = move |_: Result<&(), &()>| Outcome::throttled().with_retry_after(hint);
    let policy = layer.max_retry_after(Duration::MAX).max_retries(1).classifier(classifier);
    assert!(policy.run(async || Err(())).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_endless_hint_is_obeyed_without_a_deadline() {
    let call = failing_with_a_hint(RetryLayer::new(), Duration::MAX);
    assert!(timeout(secs(86_400), call).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn extreme_hints_and_jitters_do_not_panic() {
    let longest = Duration::MAX.saturating_sub(Duration::from_nanos(1));
    for hint in [
        Duration::from_nanos(1),
        secs(u64::MAX / 2),
        longest,
        Duration::MAX,
    ] {
        for jitter in [Duration::ZERO, secs(5), Duration::MAX] {
            let layer = RetryLayer::new().max_hint_jitter(jitter);
            let waits = timeout(secs(10), failing_with_a_hint(layer, hint)).await.is_err();
            assert_eq!(waits, hint > secs(10), "{hint:?} {jitter:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn backoffs_by_kind_are_settable() {
    let plain = |seconds| Exponential::new(secs(seconds)).jitter(Jitter::None);
    let backoff = ByKind::default().throttled(plain(7)).others(plain(2));
    for (status, seconds) in [(429, 7), (503, 2)] {
        let log = Log::default();
        let layer = RetryLayer::new().backoff(backoff).observer(log.clone());
        layer.layer(Peer::failing(2, status)).oneshot(request()).await.unwrap();
        assert_eq!(log.waits(), [secs(seconds), secs(seconds * 2)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_custom_backoff_sees_the_retry_the_outcome_and_the_delay_before() {
    let log = Log::default();
    let backoff = backoff_fn(|failed: &FailedAttempt<'_>, _: &mut dyn rand::Rng| {
        assert_eq!(failed.outcome(), unavailable());
        failed.previous().map_or(secs(1), |previous| previous * 3 + secs(failed.retry().into()))
    });
    let layer = RetryLayer::new().backoff(backoff).observer(log.clone());
    layer.layer(Peer::failing(3, 503)).oneshot(request()).await.unwrap();
    assert_eq!(log.waits(), [secs(1), secs(4), secs(14)]);
}
