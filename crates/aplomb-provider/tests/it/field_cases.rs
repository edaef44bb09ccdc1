//! Responses that went wrong in the field, with the expected judgement.

use std::time::{Duration, SystemTime};

use aplomb_core::{Classification, Classify, HttpClassifier, Kind, Reason, Scope, WallClock};
use aplomb_provider::{Provider, StreamEnd, StreamEvent, detect};
use serde_json::Value;

use crate::aws_streams;
use crate::support::{self, Response};

const GENERIC: &str = "https://gateway.example.org";

/// The URLs of the providers in the cases.
const URLS: &[(&str, &str)] = &[
    ("anthropic", "https://api.anthropic.com"),
    ("bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com"),
    ("gemini", "https://generativelanguage.googleapis.com"),
    ("openrouter", "https://openrouter.ai/api/v1"),
];

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("../data/field-cases.json")).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The provider at the host of a case, and the generic one, which must agree.
fn providers(case: &Value) -> Vec<&'static dyn Provider> {
    let host = case["host"].as_str();
    let url = URLS.iter().find(|(name, _)| case["provider"] == **name).map(|&(_, url)| url);
    let own = detect(host.or(url).unwrap_or(GENERIC));
    let any = ["https://api.openai.com/v1", "https://api.anthropic.com", GENERIC];
    match text(&case["provider"]) {
        "any" => any.map(detect).to_vec(),
        _ => vec![own, detect(GENERIC)],
    }
}

fn response(case: &Value) -> Response {
    let headers = case["headers"].as_array().unwrap();
    let headers: Vec<_> = headers.iter().map(|header| (text(&header[0]), text(&header[1]))).collect();
    let mut response = Response::new(u16::try_from(case["status"].as_u64().unwrap()).unwrap(), &headers);
    // 2026-11-30 14:59:30 UTC
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_050_770);
    response.clock = WallClock::from_fn(move || now);
    response
}

fn body(case: &Value) -> Vec<u8> {
    let Some(hex) = case["body_hex"].as_str() else {
        return text(&case["body"]).as_bytes().to_vec();
    };
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// The judgement of a response: of an error by its head and body, of a success by its end.
struct Judged {
    classification: Classification,
    had_content: bool,
}

fn judge(provider: &dyn Provider, case: &Value) -> Judged {
    let (response, body) = (response(case), body(case));
    let head = response.head();
    let ending = provider.ending(&head, &body);
    if !response.status.is_success() {
        let classification = provider.judge(&head, &body);
        assert_eq!(ending, StreamEnd::Failed(classification.clone()));
        return Judged { classification, had_content: false };
    }
    let (events, end) = support::read(provider.stream(&head), body.chunks(5));
    assert_eq!(end, support::read(provider.stream(&head), [&body[..]]).1);
    assert_eq!(end.classification().outcome().kind(), ending.classification().outcome().kind());
    let had_content = events.iter().any(StreamEvent::is_content);
    Judged { classification: end.classification(), had_content }
}

fn check(provider: &dyn Provider, case: &Value) {
    let name = format!("{} at {}", text(&case["id"]), provider.name());
    let Judged { classification, had_content } = judge(provider, case);
    let (outcome, expected) = (classification.outcome(), &case["expected"]);
    let kind = outcome.kind();
    match expected["kind"].as_str() {
        None => {}
        Some("exhausted") => assert_eq!(kind, Kind::Exhausted, "{name}"),
        Some("throttled") => assert_eq!(kind, Kind::Throttled, "{name}"),
        Some("permanent") => assert_eq!(kind, Kind::Permanent, "{name}"),
        Some("transient or throttled") => assert!(outcome.is_retryable(), "{name}"),
        Some("failed") => assert_ne!(kind, Kind::Success, "{name}"),
        Some("transient" | "failed, retried") => assert_eq!(kind, Kind::Transient, "{name}"),
        Some(other) => panic!("{name}: {other}"),
    }
    match expected["scope"].as_str() {
        None => {}
        Some("account") => assert_eq!(outcome.scope(), Scope::Account, "{name}"),
        Some("server") => assert_eq!(outcome.scope(), Scope::Server, "{name}"),
        Some("request") => assert_eq!(outcome.scope(), Scope::Request, "{name}"),
        Some(other) => panic!("{name}: {other}"),
    }
    match expected["stream"].as_str() {
        None => {}
        Some("complete") => assert!(outcome.is_success(), "{name}"),
        Some("failed") => assert!(!outcome.is_success(), "{name}"),
        Some("retried before content") => assert!(outcome.is_retryable() && !had_content, "{name}"),
        Some("failed after content, not sent again") => {
            assert!(!outcome.is_success() && had_content, "{name}");
        }
        Some(other) => panic!("{name}: {other}"),
    }
    if let Some(delay) = expected["delay_s"].as_f64() {
        assert_eq!(outcome.retry_after(), Some(Duration::from_secs_f64(delay)), "{name}");
    }
    if expected["delay"].is_string() {
        assert_eq!(outcome.retry_after(), Some(Duration::from_secs(30)), "{name}");
    }
    if expected["reason"] == "TooManyAtOnce" {
        assert_eq!(classification.reason(), Some(Reason::TooManyAtOnce), "{name}");
        assert_eq!(outcome.retry_after(), None, "{name}: the window is not a delay");
    }
    if let Some(limit) = expected["limit"].as_u64() {
        let readings = provider.limits(&response(case).head());
        let [reading] = readings.as_slice() else {
            panic!("{name}: {readings:?}")
        };
        assert_eq!((reading.limit(), reading.remaining()), (Some(limit), expected["remaining"].as_u64()));
        assert_eq!(reading.window().map(|window| window.as_secs()), expected["window_s"].as_u64());
    }
    let is_binary = |message: &str| message.contains(|c: char| c.is_control() || c == '\u{FFFD}');
    assert!(!classification.message().is_some_and(is_binary), "{name}");
}

/// The cases that are no single response. Returns what was found.
fn check_script(id: &str) -> Option<String> {
    Some(match id {
        // hyper and h2 report it so; `tests/sockets/transport.rs` plays it over real sockets.
        "refused-stream" => {
            let errors = [
                "stream error received: refused stream before processing any application logic",
                "connection error received: not a result of an error",
                "operation was canceled: connection closed",
            ];
            for text in errors {
                let error = std::io::Error::other(text);
                let judged = Classify::<http::Response<()>, _>::classify(&HttpClassifier::new(), Err(&error));
                let outcome = judged.outcome();
                assert!(outcome.is_retryable() && outcome.is_unprocessed(), "{text}");
            }
            "unprocessed: sent again".to_owned()
        }
        // The batch tries the key again; see `run_tests` in the examples.
        "a-burst-of-401-for-a-good-key" => {
            let refused = Response::new(401, &[("content-type", "application/json")]);
            let judged = detect(GENERIC).judge(&refused.head(), br#"{"error": {"message": "no"}}"#);
            assert_eq!(judged.outcome().kind(), Kind::Unauthorized);
            "unauthorized: tried again where the key has worked".to_owned()
        }
        "binary-frames" => {
            let [start, delta, ..] = aws_streams::converse();
            let exception = aws_streams::exception("throttlingException");
            let (before, failed) = aws_streams::read(&exception);
            assert!(
                failed.classification().outcome().is_retryable()
                    && !before.iter().any(StreamEvent::is_content)
            );
            let (after, failed) = aws_streams::read(&[start.clone(), delta.clone(), exception].concat());
            assert!(matches!(failed, StreamEnd::Failed(_)) && after.iter().any(StreamEvent::is_content));
            assert_eq!(aws_streams::read(&[start, delta].concat()).1, StreamEnd::Truncated);
            let (events, end) = aws_streams::read(&aws_streams::converse().concat());
            assert!(events.iter().any(|event| matches!(event, StreamEvent::Usage(_))));
            assert_eq!(end, StreamEnd::Complete);
            "throttled before content, failed after it, truncated where it is cut; usage".to_owned()
        }
        _ => return None,
    })
}

/// The judgement of a case, in one line.
fn told(Judged { classification, had_content }: &Judged) -> String {
    let outcome = classification.outcome();
    let reason = classification.reason().map_or("", Reason::as_str);
    let delay = outcome.retry_after().map_or_else(String::new, |delay| format!(", {delay:?}"));
    let content = if *had_content { ", after content" } else { "" };
    format!("{}, {}, {reason}{delay}{content}", outcome.kind(), outcome.scope())
}

/// `cargo test -p aplomb-provider --test it every_case -- --nocapture` prints the table.
#[test]
fn every_case_is_judged_right() {
    let cases = cases();
    println!("| case | judged |\n| --- | --- |");
    for case in &cases {
        let id = text(&case["id"]);
        let result = check_script(id).unwrap_or_else(|| {
            for provider in providers(case) {
                check(provider, case);
            }
            told(&judge(providers(case)[0], case))
        });
        println!("| {id} | {result} |");
    }
    assert_eq!(cases.len(), 25);
}
