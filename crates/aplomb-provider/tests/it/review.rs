//! Found in review: each fails, and says why it should not.

use std::time::{Duration, Instant};

use aplomb_core::{Kind, Scope};
use aplomb_provider::{Generic, OpenAi, Provider, Reason, StreamEnd, StreamEvent, detect};

use crate::support::{self, Response};

const SSE: &[(&str, &str)] = &[("content-type", "text/event-stream")];

type Said = (Reason, Kind, Scope, Option<u64>);

fn judge(url: &str, status: u16, headers: &[(&str, &str)], body: &str) -> Said {
    let judgement = detect(url).judge(&Response::new(status, headers).head(), body.as_bytes());
    let outcome = judgement.outcome();
    let delay = outcome.retry_after().map(|delay| delay.as_secs());
    (judgement.reason(), outcome.kind(), outcome.scope(), delay)
}

fn stream(url: &str, headers: &[(&str, &str)], body: &str) -> (Vec<StreamEvent<'static>>, StreamEnd) {
    let response = Response::new(200, headers);
    support::read(detect(url).stream(&response.head()), [body.as_bytes()])
}

/// providers.md, OpenRouter: `X-RateLimit-{Limit,Remaining,Reset(epoch ms)}`, free 50/day; §5: `delay_s` is
/// the server's delay even when not retryable. The reset is dropped once the 429 is found to be of a day.
#[test]
fn a_used_up_day_keeps_the_reset_that_the_server_names() {
    let headers = [
        ("x-ratelimit-limit", "50"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "1696032000000"),
    ];
    let body = r#"{"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-day"}}"#;
    assert_eq!(
        judge("https://openrouter.ai/api/v1", 429, &headers, body),
        (Reason::QuotaExhausted, Kind::Exhausted, Scope::Account, Some(27_203))
    );
}

/// The same at Cerebras, whose headers name the window.
#[test]
fn a_used_up_day_at_cerebras_keeps_its_reset() {
    let headers = [
        ("x-ratelimit-remaining-tokens-day", "0"),
        ("x-ratelimit-reset-tokens-day", "33011.5"),
    ];
    let body = r#"{"message": "Tokens per day limit exceeded - too many tokens processed."}"#;
    assert_eq!(
        judge("https://api.cerebras.ai/v1", 429, &headers, body),
        (Reason::QuotaExhausted, Kind::Exhausted, Scope::Account, Some(33_011))
    );
}

/// Any status in capitals is taken for Google's form: Spring's `"status": "TOO_MANY_REQUESTS"` becomes the capacity
/// of Vertex, about the server; and what is above the limit is sent again, although its numbers say so.
#[test]
fn a_status_in_capitals_alone_is_not_googles_form() {
    let plain = r#"{"status": "TOO_MANY_REQUESTS", "message": "Too many requests"}"#;
    let said = judge("https://gateway.example.org", 429, &[], plain);
    assert_eq!(said, (Reason::RateLimited, Kind::Throttled, Scope::Account, None));
    let above = r#"{"error": {"status": "TOO_MANY_REQUESTS", "code": "rate_limit_exceeded",
        "message": "Limit 7000, Used 0, Requested 12903."}}"#;
    assert_eq!(judge("https://gateway.example.org", 429, &[], above).0, Reason::RequestTooLarge);
}

/// The scheme is looked for anywhere: that of another URL within this one decides.
#[test]
fn a_url_within_the_query_is_not_the_host() {
    assert_eq!(detect("api.openai.com/v1?from=https://example.org").name(), "openai");
    assert_eq!(detect("example.org/v1?to=https://api.openai.com").name(), "generic");
}

fn timed(name: &str, headers: &[(&str, &str)], body: &[u8], size: usize) {
    let response = Response::new(200, headers);
    let start = Instant::now();
    let mut reader = Generic.stream(&response.head());
    for chunk in body.chunks(size) {
        reader.push(chunk, &mut |_| {});
    }
    reader.finish(&mut |_| {});
    let took = start.elapsed();
    println!("{name} by {size}: {took:?}");
    assert!(took < Duration::from_secs(5), "{name} by {size}: {took:?}");
}

/// Holds: nothing takes more than linear time.
#[test]
fn hostile_bytes_take_linear_time() {
    const MIB: usize = 256 * 1024;
    let json = &[("content-type", "application/json")][..];
    let none = &[][..];
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("open lists", vec![b'['; 2 * MIB]),
        ("open objects", b"{\"a\":".repeat(MIB / 2)),
        ("choices", [&b"{\"choices\":["[..], &b"{},".repeat(MIB / 4), b"{}]}"].concat()),
        ("usages", [&b"{"[..], &b"\"usage\":{},".repeat(MIB / 12), b"\"a\":1}"].concat()),
        (
            "candidates",
            [
                &b"{\"candidates\":["[..],
                &b"{\"content\":{\"parts\":[{\"text\":\"a\"}]}},".repeat(MIB / 40),
                b"{}]}",
            ]
            .concat(),
        ),
        (
            "texts",
            [
                &b"{\"choices\":[{\"message\":{\"content\":["[..],
                &b"{\"text\":\"a\"},".repeat(MIB / 14),
                b"{}]}}]}",
            ]
            .concat(),
        ),
        ("backslashes", [&b"{\"content\":\""[..], &b"\\\\".repeat(MIB / 2 - 100), b"\"}"].concat()),
        ("cut", [&b"{\"content\":\""[..], &b"\\\\".repeat(MIB)].concat()),
        ("lines", b"data: x\n".repeat(MIB / 8)),
        ("comments", b":\n".repeat(MIB)),
        ("one line", [&b"data: "[..], &vec![b'x'; 3 * MIB]].concat()),
        ("values", b"{}".repeat(MIB)),
        ("bad values", b"{]".repeat(MIB)),
        ("half values", b"{\"a\":tru}".repeat(MIB / 8)),
        ("numbers", b"1 ".repeat(MIB)),
        ("space", vec![b' '; 2 * MIB]),
        ("events", b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n".repeat(MIB / 48)),
    ];
    for (name, body) in &bodies {
        for headers in [json, SSE, none] {
            for size in [body.len(), 1_000, 1] {
                timed(name, headers, body, size);
            }
        }
        let start = Instant::now();
        let response = Response::new(200, &[]);
        let _ = Generic.judge(&response.head(), body);
        Generic.usage(&response.head(), body);
        Generic.text(&response.head(), body);
        Generic.whole(&response.head(), body);
        Generic.estimate(body);
        Generic.ask_for_usage("/chat/completions", body);
        let _ = Generic.judge(&Response::new(500, &[]).head(), body);
        assert!(start.elapsed() < Duration::from_secs(5), "{name}: {:?}", start.elapsed());
    }
}
