//! The tables that official SDKs are tested with, and the settings under which this layer does the same.
//!
//! If it differs, the row says so, and why.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use aplomb_core::{
    Backoff, BoxError, Classify, Exponential, FailedAttempt, HttpClassifier, Jitter, Outcome, StopReason,
    WallClock, backoff_fn,
};
use aplomb_retry::{Retried, RetryLayer};
use http::Response;
use rand::{Rng, RngExt};
use tower::ServiceExt;
use tower_layer::Layer;

use crate::peer::{Log, Noted, Peer, request, respond, secs};

/// The result of a row in this layer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Here {
    /// The delay of the SDK.
    Agrees,
    /// The failure is handed out, since a request is never sent before the hint.
    HandedOut,
    /// The plain backoff: infinity and numbers that do not fit into a `Duration` are no hint.
    Backoff,
}
use Here::{Agrees, HandedOut};

/// `(remaining_retries, Retry-After, the SDK's delay in seconds, the result here)`, with three retries in all, at
/// Fri, 29 Sep 2023 16:26:37 GMT.
type Row = (i32, &'static str, f64, Here);

/// `tests/test_client.py` of openai 3.54.0.
///
/// The rows above 120 s are those of its `_calculate_retry_timeout`. Its `_should_retry` refuses them before, as
/// this layer does: since 2.52.0 it does not retry if the hint is longer than two minutes. It also refuses the
/// number of 35 digits, which is ignored here.
const OPENAI: &[Row] = &[
    (3, "20", 20.0, Agrees),
    (3, "0", 0.5, Agrees),
    (3, "-10", 0.5, Agrees),
    (3, "60", 60.0, Agrees),
    (3, "61", 61.0, Agrees),
    (3, "120", 120.0, Agrees),
    (3, "121", 0.5, HandedOut),
    (3, "Fri, 29 Sep 2023 16:26:57 GMT", 20.0, Agrees),
    (3, "Fri, 29 Sep 2023 16:26:37 GMT", 0.5, Agrees),
    (3, "Fri, 29 Sep 2023 16:26:27 GMT", 0.5, Agrees),
    (3, "Fri, 29 Sep 2023 16:27:37 GMT", 60.0, Agrees),
    (3, "Fri, 29 Sep 2023 16:27:38 GMT", 61.0, Agrees),
    (3, "Fri, 29 Sep 2023 16:28:37 GMT", 120.0, Agrees),
    (3, "Fri, 29 Sep 2023 16:28:38 GMT", 0.5, HandedOut),
    (3, "99999999999999999999999999999999999", 0.5, Agrees),
    (3, "inf", 0.5, Agrees),
    (3, "nan", 0.5, Agrees),
    (3, "Zun, 29 Sep 2023 16:26:27 GMT", 0.5, Agrees),
    (3, "Fri, 29 Sep 100000 16:26:57 GMT", 0.5, Agrees),
    (3, "", 0.5, Agrees),
    (2, "", 1.0, Agrees),
    (1, "", 2.0, Agrees),
    (-1100, "", 8.0, Agrees),
];

/// `tests/test_client.py` of anthropic 2.12.0, which obeys any hint up to fifty days.
const ANTHROPIC: &[Row] = &[
    (3, "20", 20.0, Agrees),
    (3, "0", 0.5, Agrees),
    (3, "-10", 0.5, Agrees),
    (3, "60", 60.0, Agrees),
    (3, "61", 61.0, Agrees),
    (3, "Fri, 29 Sep 2023 16:26:57 GMT", 20.0, Agrees),
    (3, "Fri, 29 Sep 2023 16:26:37 GMT", 0.5, Agrees),
    (3, "Fri, 29 Sep 2023 16:26:27 GMT", 0.5, Agrees),
    (3, "Fri, 29 Sep 2023 16:27:37 GMT", 60.0, Agrees),
    (3, "Fri, 29 Sep 2023 16:27:38 GMT", 61.0, Agrees),
    (3, "99999999999999999999999999999999999", ANTHROPIC_LONGEST, Here::Backoff),
    (3, "inf", ANTHROPIC_LONGEST, Here::Backoff),
    (3, "nan", 0.5, Agrees),
    (3, "Zun, 29 Sep 2023 16:26:27 GMT", 0.5, Agrees),
    (3, "", 0.5, Agrees),
    (2, "", 1.0, Agrees),
    (1, "", 2.0, Agrees),
    (-1100, "", 8.0, Agrees),
];

/// 2³² ms, the longest delay of anthropic 2.12.0.
const ANTHROPIC_LONGEST: f64 = 4_294_967.0;

/// `tests/test_client.py` of anthropic 0.121.0; groq 1.7.0, together 3.1.1 and fireworks-ai 1.2.30 have
/// the same rule. A hint above 60 s is ignored, and the request is sent too early.
const STAINLESS: &[Row] = &[
    (3, "20", 20.0, Agrees),
    (3, "0", 0.5, Agrees),
    (3, "-10", 0.5, Agrees),
    (3, "60", 60.0, Agrees),
    (3, "61", 0.5, HandedOut),
    (3, "Fri, 29 Sep 2023 16:26:57 GMT", 20.0, Agrees),
    (3, "Fri, 29 Sep 2023 16:26:37 GMT", 0.5, Agrees),
    (3, "Fri, 29 Sep 2023 16:26:27 GMT", 0.5, Agrees),
    (3, "Fri, 29 Sep 2023 16:27:37 GMT", 60.0, Agrees),
    (3, "Fri, 29 Sep 2023 16:27:38 GMT", 0.5, HandedOut),
    (3, "99999999999999999999999999999999999", 0.5, Agrees),
    (3, "Zun, 29 Sep 2023 16:26:27 GMT", 0.5, Agrees),
    (3, "", 0.5, Agrees),
    (2, "", 1.0, Agrees),
    (1, "", 2.0, Agrees),
    (-1100, "", 8.0, Agrees),
];

/// The SDKs' own tolerance: `pytest.approx(expected, 0.5 * 0.875)`, whose second argument is relative.
fn about(seconds: f64) -> RangeInclusive<f64> {
    seconds * (1.0 - 0.4375)..=seconds * (1.0 + 0.4375)
}

/// min(0.5 · 2ⁿ, 8) · (1 − U(0, 0.25)): the backoff of all these SDKs (`_calculate_retry_timeout`).
fn stainless() -> impl Backoff {
    let doubling = Exponential::new(Duration::from_millis(500)).max(secs(8));
    backoff_fn(move |failed: &FailedAttempt<'_>, random: &mut dyn Rng| {
        doubling.ceiling(failed.retry()).mul_f64(1.0 - 0.25 * random.random::<f64>())
    })
}

/// The rules of HTTP at the time at which the SDKs' tests are frozen.
fn frozen() -> HttpClassifier {
    let now = SystemTime::UNIX_EPOCH + secs(1_696_004_797);
    HttpClassifier::new().clock(WallClock::from_fn(move || now))
}

/// Fails `retries` times without a hint, then once with these headers, then succeeds. Returns the delay after
/// the last failure, or why there was none.
async fn last_wait<C>(
    layer: RetryLayer<aplomb_core::Copied, C>,
    retries: usize,
    status: u16,
    headers: &[(&'static str, &'static str)],
) -> Result<Duration, StopReason>
where
    C: Classify<Response<Noted>, BoxError> + Clone,
{
    let headers = headers.to_vec();
    let peer = Peer::new(move |call| {
        let headers = if call == retries { &*headers } else { &[] };
        respond(if call <= retries { status } else { 200 }, headers)
    });
    let service = layer.max_retries(u32::MAX).layer(peer.clone());
    let response = service.oneshot(request()).await.unwrap();
    if let Some(stopped) = response.extensions().get::<Retried>().unwrap().stopped() {
        assert_eq!((peer.calls(), response.status().as_u16()), (retries + 1, status));
        Err(stopped)
    } else {
        assert_eq!(peer.calls(), retries + 2);
        Ok(peer.waits()[retries])
    }
}

/// Runs a table. The SDKs count three retries downwards.
async fn check<C>(rows: &[Row], layer: &RetryLayer<aplomb_core::Copied, C>)
where
    C: Classify<Response<Noted>, BoxError> + Clone,
{
    for &(remaining, retry_after, expected, here) in rows {
        let retries = usize::try_from(3 - remaining).unwrap();
        // If the SDK waits longer than its backoff, there was a hint.
        let hinted = retries == 0 && expected > 0.5;
        // Each delay is random.
        for _ in 0..20 {
            let wait = last_wait(layer.clone(), retries, 503, &[("retry-after", retry_after)]).await;
            let row = format!("{remaining}, {retry_after:?}: {wait:?}");
            match here {
                Agrees => {
                    let wait = wait.unwrap().as_secs_f64();
                    assert!(about(expected).contains(&wait), "{row}");
                    assert!(!hinted || wait >= expected, "never before the hint: {row}");
                }
                HandedOut => assert_eq!(wait, Err(StopReason::RetryAfterTooLong), "{row}"),
                Here::Backoff => assert!(about(0.5).contains(&wait.unwrap().as_secs_f64()), "{row}"),
            }
        }
    }
}

fn layer() -> RetryLayer {
    RetryLayer::new().classifier(frozen()).backoff(stainless())
}

#[tokio::test(start_paused = true)]
async fn openai() {
    // Hints up to two minutes are obeyed: the default.
    check(OPENAI, &layer()).await;
}

#[tokio::test(start_paused = true)]
async fn anthropic() {
    let longest = Duration::from_secs_f64(ANTHROPIC_LONGEST);
    check(ANTHROPIC, &layer().max_retry_after(longest)).await;
    // Such a long hint is obeyed.
    let wait = last_wait(layer().max_retry_after(longest), 0, 503, &[("retry-after", "4294967")]).await;
    assert!(wait.unwrap() >= longest);
}

#[tokio::test(start_paused = true)]
async fn those_of_the_old_rule_never_too_early() {
    check(STAINLESS, &layer().max_retry_after(secs(60))).await;
}

#[tokio::test(start_paused = true)]
async fn those_of_the_old_rule_to_the_letter() {
    // To come too early, as they do, a classifier removes long hints.
    let rules = frozen();
    let forgetful = move |result: Result<&Response<Noted>, &BoxError>| {
        let outcome = rules.classify(result).outcome();
        match outcome.retry_after() {
            Some(hint) if hint > secs(60) => outcome.without_retry_after(),
            _ => outcome,
        }
    };
    let rows: Vec<Row> = STAINLESS
        .iter()
        .map(|&(remaining, text, wait, _)| (remaining, text, wait, Agrees))
        .collect();
    check(&rows, &RetryLayer::new().classifier(forgetful).backoff(stainless())).await;
}

#[tokio::test(start_paused = true)]
async fn the_default_backoff_stays_below_that_of_the_sdks() {
    // Ours is spread below the same ceilings, at the cap too.
    for _ in 0..200 {
        let log = Log::default();
        let layer = RetryLayer::new().observer(log.clone());
        layer.layer(Peer::failing(4, 500)).oneshot(request()).await.unwrap();
        for (wait, ceiling) in log.waits().into_iter().zip([0.5, 1.0, 2.0, 4.0]) {
            assert!(wait <= Duration::from_secs_f64(ceiling));
        }
    }
}

/// `sdk/core/azure-core/tests/test_retry_policy.py` of azure-sdk-for-python: headers, and the hint in
/// seconds. Its `_sleep_for_retry` ignores a hint of 0.
const AZURE: &[(&[(&str, &str)], f64)] = &[
    (&[("retry-after-ms", "0")], 0.0),
    (&[("retry-after-ms", "800")], 0.8),
    (&[("retry-after-ms", "1000")], 1.0),
    (&[("retry-after-ms", "1200")], 1.2),
    (&[("x-ms-retry-after-ms", "0")], 0.0),
    (&[("x-ms-retry-after-ms", "800")], 0.8),
    (&[("x-ms-retry-after-ms", "1000")], 1.0),
    (&[("x-ms-retry-after-ms", "1200")], 1.2),
    (&[("retry-after", "0"), ("retry-after-ms", "500")], 0.0),
    (&[("retry-after", "800"), ("retry-after-ms", "500")], 800.0),
    (&[("retry-after", "1000"), ("retry-after-ms", "500")], 1_000.0),
    (&[("retry-after", "1200"), ("retry-after-ms", "500")], 1_200.0),
];

/// Of tokio's timer, in seconds.
const A_TICK: f64 = 0.001;

/// azure-core's order: `Retry-After` before the two in milliseconds, which come first here.
fn azure_order(result: Result<&Response<Noted>, &BoxError>) -> Outcome {
    let outcome = HttpClassifier::new().classify(result).outcome();
    let seconds = result.ok().and_then(|response| response.headers().get("retry-after"));
    match seconds.and_then(|seconds| seconds.to_str().ok()?.parse().ok()) {
        Some(0) => outcome.without_retry_after(),
        Some(seconds) => outcome.with_retry_after(secs(seconds)),
        None => outcome,
    }
}

/// azure-core's backoff: none before the first retry, then factor · 2ⁿ, without jitter.
fn azure_backoff(factor: Duration, max: Duration) -> impl Backoff {
    Duration::ZERO.take(1).then(Exponential::new(factor).max(max).jitter(Jitter::None))
}

#[tokio::test(start_paused = true)]
async fn azure_hints() {
    let layer = RetryLayer::new()
        .max_retry_after(Duration::MAX)
        .classifier(azure_order)
        .backoff(azure_backoff(Duration::from_millis(800), secs(120)));
    for &(headers, hint) in AZURE.iter().cycle().take(20 * AZURE.len()) {
        let wait = last_wait(layer.clone(), 0, 503, headers).await.unwrap().as_secs_f64();
        // The SDK waits exactly as long as the hint; here callers with the same hint are spread.
        let latest = hint + (hint / 2.0).min(5.0) + A_TICK;
        assert!(wait >= hint && wait <= latest, "{headers:?}: {wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn azure_hints_by_our_own_order() {
    // Without such a classifier the more precise header wins: the last four rows differ.
    let layer = RetryLayer::new()
        .max_retry_after(Duration::MAX)
        .backoff(azure_backoff(Duration::from_millis(800), secs(120)));
    for &(headers, hint) in AZURE.iter().cycle().take(20 * AZURE.len()) {
        let hint = if headers.len() == 2 { 0.5 } else { hint };
        let wait = last_wait(layer.clone(), 0, 503, headers).await.unwrap().as_secs_f64();
        assert!(wait >= hint && wait <= hint * 1.5 + A_TICK, "{headers:?}: {wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn azure_waits() {
    // The row of its test: after three failures, a factor of 1 and a cap of 10 s give 4 s.
    let waits = [0, 2, 4, 8, 10, 10];
    for (retries, wait) in waits.into_iter().enumerate() {
        let layer = RetryLayer::new().backoff(azure_backoff(secs(1), secs(10)));
        assert_eq!(last_wait(layer, retries, 500, &[]).await, Ok(secs(wait)));
    }
}
