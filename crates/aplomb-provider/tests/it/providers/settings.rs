//! The same errors under other settings.

use aplomb_core::{Kind, Reason};
use aplomb_provider::{DailyQuota, Gemini, OpenAi, Provider, Settings, Tuned};
use serde_json::json;

use super::{BEDROCK, Case, GEMINI, OPENAI, case, error, google};
use crate::support::Response;

#[test]
fn settings_change_how_errors_are_read() {
    let day = google(
        429,
        "RESOURCE_EXHAUSTED",
        "m",
        &json!([
        {"violations": [{"quotaId": "GenerateRequestsPerDay"}]}, {"retryDelay": "36s"}]),
    );
    let by = |settings: Settings, case: &Case| case.by(&Tuned::new(Gemini, settings));
    let daily = case(GEMINI, 429, day);
    assert_eq!(by(Settings::new(), &daily).1, Kind::Exhausted);
    let followed = by(Settings::new().daily_quota(DailyQuota::FollowHint), &daily);
    assert_eq!((followed.1, followed.3), (Kind::Throttled, Some(36.0)));

    let worded = case(OPENAI, 429, error("rate_limit_exceeded", "Limit 5, Requested 9. Try again in 9s."));
    assert_eq!(by(Settings::new(), &worded).0, Reason::RequestTooLarge);
    let unread = by(Settings::new().text(false), &worded);
    assert_eq!((unread.0, unread.3), (Reason::RateLimited, None));

    let own = Settings::new()
        .code("Tenant_Asleep", Reason::Overloaded)
        .code("1300", Reason::QuotaExhausted);
    assert_eq!(by(own.clone(), &case(OPENAI, 400, error("tenant_asleep", "m"))).0, Reason::Overloaded);
    assert_eq!(by(own.clone(), &case(OPENAI, 429, error("1300", "m"))).0, Reason::QuotaExhausted);
    let header = case(BEDROCK, 400, json!({})).with(&[("x-amzn-errortype", "Tenant_Asleep:x")]);
    assert_eq!(by(own, &header).0, Reason::Overloaded);

    let told = Response::new(500, &[("x-should-retry", "false")]);
    let deaf = Tuned::new(OpenAi, Settings::new().should_retry(false));
    assert!(!OpenAi.judge(&told.head(), b"").outcome().is_retryable());
    assert!(deaf.judge(&told.head(), b"").outcome().is_retryable());

    let words = |text: &str| text.split_whitespace().count() as u64;
    let counted = Tuned::new(OpenAi, Settings::new().tokenizer(words));
    let prompt = br#"{"prompt": "one two three"}"#;
    assert_eq!(counted.estimate("/v1/completions", prompt, None).input(), 3);
    assert_eq!(counted.estimate("/v1/completions", prompt, Some(&|_: &str| 7)).input(), 7);
    assert_eq!(counted.name(), "openai");
}

/// An error in a stream is read with the same settings.
#[test]
fn settings_reach_into_streams() {
    let settings = Settings::new().code("tenant_asleep", Reason::Overloaded);
    let response = Response::new(200, &[]);
    let mut reader = Tuned::new(OpenAi, settings).stream(&response.head());
    reader.push(b"data: {\"error\": {\"code\": \"tenant_asleep\"}}\n\n", &mut |_| {});
    assert_eq!(reader.finish(&mut |_| {}).classification().reason(), Some(Reason::Overloaded));
}
