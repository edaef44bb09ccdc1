//! Responses seen, documented or read in source code, with what they should come to.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aplomb_core::{Outcome, Scope, WallClock};
use aplomb_provider::{Anthropic, Generic, OpenAi, Provider, StreamEvent};
use serde_json::Value;

use crate::support::{self, Response};

/// A longer wait is not worth it.
const CAP: Duration = Duration::from_mins(2);

/// What the generic dialect gets wrong: the first by design (a 409 of an unknown server is about the
/// request), the others being matters for dialects to come.
const PENDING: &[&str] = &[
    "openai: lock timeout 409",
    "azure-openai: high demand (capacity)",
    "azure-openai: hyphenated reset header, no Retry-After",
    "gemini: limit: 0 - no quota for the model, hint useless",
    "gemini: per-DAY quota with misleading RetryInfo 36s",
    "gemini: PerMinute quotaId, no RetryInfo -> 60 s",
    "vertex-ai: Resource has been exhausted (e.g. check quota).",
    "bedrock: 429 ModelNotReadyException",
    "bedrock: 400 ServiceQuotaExceededException",
    "cohere: trial monthly cap",
    "fireworks: 200 over limit flag",
    "fireworks: 412 suspended",
];

fn samples() -> Vec<Value> {
    serde_json::from_str(include_str!("../data/provider-samples.json")).unwrap()
}

fn name(sample: &Value) -> String {
    format!("{}: {}", text(&sample["provider"]), text(&sample["case"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Judges a sample as a caller would: whether to retry, whom it concerns, and when to come back.
fn judge(provider: &dyn Provider, sample: &Value) -> (bool, &'static str, Option<f64>) {
    let headers = sample["headers"].as_object().unwrap();
    let headers = headers.iter().map(|(name, value)| (name.as_str(), text(value)));
    let status = u16::try_from(sample["status"].as_u64().unwrap()).unwrap();
    let mut response = Response::new(status, &headers.collect::<Vec<_>>());
    if let Some(now) = sample["now_unix"].as_u64() {
        response.clock = WallClock::from_fn(move || SystemTime::UNIX_EPOCH + Duration::from_secs(now));
    }
    let head = response.head();
    let body = match &sample["body"] {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let is_stream = response
        .headers
        .get("content-type")
        .is_some_and(|value| value.to_str().unwrap().starts_with("text/event-stream"));

    let (outcome, had_content): (Outcome, bool) = if is_stream {
        let (events, end) = support::read(provider.stream(&head), [body.as_bytes()]);
        (end.judgement().outcome(), events.iter().any(StreamEvent::is_content))
    } else {
        (provider.whole(&head, body.as_bytes()).judgement().outcome(), false)
    };
    let delay = outcome.retry_after();
    let retryable = outcome.is_retryable() && !had_content && delay.is_none_or(|delay| delay <= CAP);
    let scope = match outcome.scope() {
        Scope::Request => "request",
        Scope::Account => "account",
        Scope::Server => "server",
        _ => "?",
    };
    (retryable, scope, delay.map(|delay| delay.as_secs_f64()))
}

fn expected(sample: &Value) -> (bool, &str, Option<f64>) {
    let expected = &sample["expected"];
    (
        expected["retryable"].as_bool().unwrap(),
        text(&expected["scope"]),
        expected["delay_s"].as_f64(),
    )
}

#[test]
fn every_sample_of_a_known_provider_is_judged_right() {
    let mut counts = BTreeMap::new();
    for sample in samples() {
        let provider: &dyn Provider = match text(&sample["provider"]) {
            "openai" => &OpenAi,
            "anthropic" => &Anthropic,
            _ => continue,
        };
        assert_eq!(judge(provider, &sample), expected(&sample), "{}", name(&sample));
        *counts.entry(provider.name()).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([("anthropic", 13), ("openai", 25)]));
}

/// Both ways: what is pending must fail, so that the list shrinks as dialects are added.
#[test]
fn the_generic_dialect_judges_all_but_the_pending_samples_right() {
    let wrong = samples()
        .iter()
        .filter(|sample| judge(&Generic, sample) != expected(sample))
        .map(name)
        .collect::<Vec<_>>();
    assert_eq!(wrong, PENDING);
}
