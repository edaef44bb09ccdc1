//! Durations, resets and refills from tests of official SDKs and reports of users.

use std::time::Duration;

use aplomb_core::{Dimension, Reason};
use aplomb_provider::{Generic, Groq, OpenAi, Provider};
use serde_json::{Value, json};

use crate::support::Response;

fn rows(table: &str) -> Vec<Vec<Value>> {
    let all: Value = serde_json::from_str(include_str!("../data/sdk-conformance.json")).unwrap();
    let rows = all[table]["rows"].as_array().unwrap().clone();
    rows.into_iter().map(|row| row.as_array().unwrap().clone()).collect()
}

/// In every place where providers write durations.
#[test]
fn duration_strings() {
    let rows = rows("duration_strings");
    assert_eq!(rows.len(), 10);
    for row in rows {
        let (text, expected) = (row[0].as_str().unwrap(), row[1].as_f64().filter(|seconds| *seconds > 0.0));
        let seconds = |delay: Option<Duration>| delay.map(|delay| delay.as_secs_f64());

        let headers = [
            ("x-ratelimit-limit-tokens", "9"),
            ("x-ratelimit-reset-tokens", text),
        ];
        let readings = OpenAi.limits(&Response::new(200, &headers).head());
        assert_eq!(seconds(readings[0].reset()), expected, "{text}");

        let throttled = Response::new(429, &[]);
        let body = json!({"error": {"details": [{"retryDelay": text}]}}).to_string();
        let hint = Generic.judge(&throttled.head(), body.as_bytes()).outcome().retry_after();
        assert_eq!(seconds(hint), expected, "{text}");

        let body = json!({"error": {"message": format!("Please try again in {text}. Visit https://x")}});
        let hint = Generic.judge(&throttled.head(), body.to_string().as_bytes()).outcome().retry_after();
        assert_eq!(seconds(hint), expected, "{text}");
    }
}

/// `reset = (limit - remaining) × 60 / limit` is the time until the bucket is full, not a delay.
#[test]
fn a_reset_is_the_time_until_full() {
    for row in rows("openai_reset_formula") {
        let [limit, remaining] = [&row[0], &row[1]].map(|count| count.as_u64().unwrap());
        let reset = row[2].as_f64().unwrap();
        let text = format!("{}ms", reset * 1e3);
        let (told_limit, told_remaining) = (limit.to_string(), remaining.to_string());
        let headers = [
            ("x-ratelimit-limit-tokens", told_limit.as_str()),
            ("x-ratelimit-remaining-tokens", &told_remaining),
            ("x-ratelimit-reset-tokens", &text),
        ];
        let response = Response::new(429, &headers);
        let readings = OpenAi.limits(&response.head());
        let [reading] = readings.as_slice() else {
            panic!("{readings:?}")
        };
        assert_eq!(reading.dimension(), Dimension::TOKENS);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let until_full = (limit - remaining) as f64 * 60.0 / limit as f64;
        let told = reading.reset().unwrap().as_secs_f64();
        assert!((told - until_full).abs() < 1e-3, "{told} {until_full}");
        for provider in [&OpenAi as &dyn Provider, &Groq, &Generic] {
            assert_eq!(provider.judge(&response.head(), b"").outcome().retry_after(), None);
        }
    }
}

/// `delay = (used + requested - limit) × window / limit`, as in the messages. A request above the limit is permanent
/// even if they name a delay.
#[test]
fn reported_refills() {
    let rows = rows("continuous_refill_formula");
    assert_eq!(rows.len(), 6);
    for row in rows {
        let number = |at: usize| row[at].as_u64().unwrap();
        let (limit, used, requested, window) = (number(2), number(3), number(4), number(5));
        let delay = row[6].as_f64().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let refilled = (used + requested - limit) as f64 * window as f64 / limit as f64;
        assert!((refilled - delay).abs() < 1e-3);
        let judge = |requested: u64| {
            let message = format!(
                "Rate limit reached for m in organization o on tokens per min (TPM): Limit {limit}, Used {used}, \
                 Requested {requested}. Please try again in {delay}s."
            );
            let body =
                json!({"error": {"type": "tokens", "code": "rate_limit_exceeded", "message": message}});
            OpenAi.judge(&Response::new(429, &[]).head(), body.to_string().as_bytes())
        };
        assert_eq!(judge(requested).outcome().retry_after(), Some(Duration::from_secs_f64(delay)));
        assert_eq!(judge(requested).reason(), Some(Reason::RateLimited));
        assert_eq!(judge(limit + 1).reason(), Some(Reason::RequestTooLarge));
        assert!(!judge(limit + 1).outcome().is_retryable());
    }
}
