//! The answers of the server, in the format of the provider that it imitates.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::{Body, Piece};
use super::limit::Level;
use super::world::{Headers, Refusal, Unit, What, Words};
use crate::simulate::prompt::answer;

/// A refusal or failure.
pub(crate) fn problem(refusal: Refusal, hint: Option<Duration>, levels: &[Level]) -> Response<Body> {
    let mut response = http::Response::builder()
        .status(StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    if let Some(hint) = hint {
        let millis = hint.as_nanos().div_ceil(1_000_000);
        response = response.header("retry-after", millis.div_ceil(1_000).to_string());
        if refusal.hint == super::Hint::Exact {
            response = response.header("retry-after-ms", millis.to_string());
        }
    }
    for (name, value) in headers(levels) {
        response = response.header(name, value);
    }
    let (kind, text) = body(refusal, hint, levels);
    let response = response.header("content-type", kind).body(Body::whole(text));
    response.unwrap_or_else(|_| Response::new(Body::whole("")))
}

fn body(refusal: Refusal, hint: Option<Duration>, levels: &[Level]) -> (&'static str, String) {
    const JSON: &str = "application/json";
    let error = |message: &str, kind: &str, code: Value| {
        json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
    };
    let text = match (refusal.words, refusal.status) {
        (Words::Html, status) => {
            let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
            let title = format!("{status} {}", reason.unwrap_or_default());
            let page = format!(
                "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
                 <hr><center>nginx/1.27.3</center>\r\n</body>\r\n</html>\r\n"
            );
            return ("text/html", page);
        }
        (Words::Line, _) => return ("text/plain", "local_rate_limited".to_owned()),
        (Words::LiteLlmRequests, _) => error(
            "Rate limit exceeded for api_key: sim. Limit type: requests. Current limit: 100, Remaining: 0.",
            "None",
            json!("429"),
        ),
        (Words::LiteLlmParallel, _) => error(
            "Rate limit exceeded. Limit type: max_parallel_requests. Current limit reached, please try again later.",
            "None",
            json!("429"),
        ),
        (Words::TooLarge, _) => {
            let limit = levels.iter().map(Level::amount).min().unwrap_or(0);
            let message = format!(
                "Request too large for m in organization org-sim on tokens per min (TPM): Limit {limit}, Requested {}. \
                 The input or output tokens must be reduced in order to run successfully.",
                limit.saturating_mul(2)
            );
            error(&message, "tokens", json!("rate_limit_exceeded"))
        }
        (Words::OpenAi, 429) => {
            let tokens = levels.iter().any(|level| matches!(level.limit().unit, Unit::Tokens { .. }));
            let (name, short) = if tokens {
                ("tokens", "TPM")
            } else {
                ("requests", "RPM")
            };
            let again = match hint {
                Some(hint) => format!(" Please try again in {}s.", hint.as_secs_f64()),
                None => String::new(),
            };
            let message = format!(
                "Rate limit reached for m in organization org-sim on {name} per min ({short}).{again}"
            );
            error(&message, name, json!("rate_limit_exceeded"))
        }
        (Words::OpenAi, 402) => error(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            json!("insufficient_quota"),
        ),
        (Words::OpenAi, 503) => error(
            "The server is currently overloaded with other requests.",
            "service_unavailable_error",
            json!("server_is_overloaded"),
        ),
        (Words::OpenAi, _) => {
            error("The server had an error while processing your request", "server_error", Value::Null)
        }
    };
    (JSON, text)
}

/// The headers of answers about the limits.
fn headers(levels: &[Level]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for level in levels {
        let limit = level.limit();
        let unit = match (limit.headers, limit.unit) {
            (Headers::None, _) => continue,
            (Headers::Bare, _) => "",
            (_, Unit::Requests) => "-requests",
            (_, Unit::Tokens { .. }) => "-tokens",
        };
        let reset = match limit.headers {
            Headers::Bare => level.full_in().as_nanos().div_ceil(1_000_000_000).to_string(),
            Headers::OpenAiWrongReset => "1m0s".to_owned(),
            _ => format!("{}ms", level.full_in().as_nanos().div_ceil(1_000_000)),
        };
        all.push((format!("x-ratelimit-limit{unit}"), level.amount().to_string()));
        all.push((format!("x-ratelimit-remaining{unit}"), level.remaining().to_string()));
        all.push((format!("x-ratelimit-reset{unit}"), reset));
    }
    all
}

/// A complete answer.
pub(crate) fn whole(prompt: u64, tokens: (u64, u64), levels: &[Level]) -> Response<Body> {
    let body = json!({
        "id": format!("chatcmpl-{prompt}"),
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": answer(prompt), "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": tokens.0, "completion_tokens": tokens.1, "total_tokens": tokens.0 + tokens.1},
    });
    ok("application/json", Body::whole(body.to_string()), levels)
}

/// A head and its body.
pub(crate) fn ok(kind: &str, body: Body, levels: &[Level]) -> Response<Body> {
    let mut response = Response::builder().header("content-type", kind);
    for (name, value) in headers(levels) {
        response = response.header(name, value);
    }
    response.body(body).unwrap_or_else(|_| Response::new(Body::whole("")))
}

/// The events of a stream of `words`, or of one that has a fault.
pub(crate) fn stream(prompt: u64, words: usize, gap: Duration, fault: Option<What>) -> Vec<Piece> {
    let event = |data: &Value| Ok(Bytes::from(format!("data: {data}\n\n")));
    let chunk = |delta: Value, finish: Value| {
        json!({"id": format!("chatcmpl-{prompt}"), "object": "chat.completion.chunk", "created": 0, "model": "m",
               "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let error = |message: &str, kind: &str, code: Value| json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    match fault {
        Some(What::StreamError) => {
            let message = "The server had an error while processing your request";
            return vec![(Duration::ZERO, event(&error(message, "server_error", Value::Null)))];
        }
        Some(What::StreamRefused) => {
            let message = "Rate limit reached for m on requests per min (RPM). Please try again in 1.2s.";
            let error = error(message, "requests", json!("rate_limit_exceeded"));
            return vec![(Duration::ZERO, event(&error))];
        }
        _ => {}
    }
    let text = answer(prompt);
    let mut pieces =
        vec![(Duration::ZERO, event(&chunk(json!({"role": "assistant", "content": ""}), Value::Null)))];
    for n in 0..words.max(1) {
        let content = if n + 1 == words.max(1) { text.as_str() } else { "" };
        // Words before the last are blanks that count as content.
        let content = if content.is_empty() { " " } else { content };
        pieces.push((gap, event(&chunk(json!({"content": content}), Value::Null))));
    }
    if fault == Some(What::StreamBreaks) {
        pieces.truncate(pieces.len() / 2 + 1);
        let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset by peer");
        pieces.push((gap, Err(broken)));
        return pieces;
    }
    pieces.push((Duration::ZERO, event(&chunk(json!({}), json!("stop")))));
    pieces.push((Duration::ZERO, Ok(Bytes::from_static(b"data: [DONE]\n\n"))));
    pieces
}
