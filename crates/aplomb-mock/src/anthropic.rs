//! Anthropic's messages API.

use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Content;
use crate::api::{Ask, Events, Headers, Origin, Problem, Reply, bad_gateway, request_id};
use crate::bucket::Level;
use crate::charging::Dimension;
use crate::chosen::ToolCall;
use crate::clock::{ceil_seconds, rfc3339};
use crate::hints::Hints;
use crate::limit::{Levels, Refusal};

/// From this limit on, remaining tokens are rounded to the nearest thousand, as Anthropic documents. For smaller limits
/// that would say nothing.
const ROUNDED_FROM: u64 = 10_000;

const TOO_MANY: &str =
    "Number of concurrent connections has exceeded your rate limit. Please try again later.";
const SHARED: &str = "This request would exceed the available capacity. Please try again later.";

pub(crate) fn problem(problem: &Problem, hints: Hints, origin: &Origin) -> Reply {
    let mut headers = Headers::default();
    headers.add("content-type", "application/json");
    let mut error_code = None;
    let (status, kind, message) = match problem {
        Problem::Invalid(why, _) => (400, "invalid_request_error", why.clone()),
        Problem::Unauthorized => (401, "authentication_error", "invalid x-api-key".to_owned()),
        Problem::NoSuchPath(_, path) => (404, "not_found_error", format!("Not found: {path}")),
        Problem::WrongMethod(method, path) => {
            (405, "invalid_request_error", format!("Method Not Allowed: {method} {path}"))
        }
        Problem::TooLarge => (413, "request_too_large", "Request exceeds the maximum size".to_owned()),
        Problem::QuotaExhausted => {
            error_code = Some("enforced_spend_limit_reached");
            (429, "rate_limit_error", "Your organization has reached its spend limit.".to_owned())
        }
        Problem::Throttled(refusal, model) => {
            if let Some(delay) = refusal.delay.filter(|_| hints.retry_after()) {
                headers.add("retry-after", ceil_seconds(delay));
            }
            (429, "rate_limit_error", throttled(refusal, model))
        }
        Problem::Busy { concurrency, delay } => {
            if let Some(delay) = delay {
                headers.add("retry-after", ceil_seconds(*delay));
            }
            let message = if *concurrency { TOO_MANY } else { SHARED };
            (429, "rate_limit_error", message.to_owned())
        }
        Problem::InternalError => (500, "api_error", "Internal server error".to_owned()),
        Problem::BadGateway => return bad_gateway(),
        Problem::Unavailable(delay) => {
            if let Some(delay) = delay {
                headers.add("retry-after", ceil_seconds(*delay));
            }
            (503, "api_error", "Service unavailable".to_owned())
        }
        Problem::Overloaded | Problem::Full => (529, "overloaded_error", "Overloaded".to_owned()),
    };
    let details = error_code.map(|code| json!({"error_code": code}));
    let body = json!({
        "type": "error",
        "error": {"type": kind, "message": message, "details": details},
        "request_id": request_id(origin),
    });
    Reply {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers,
        body: Bytes::from(body.to_string()),
    }
}

fn throttled(refusal: &Refusal, model: &str) -> String {
    let Refusal { limit, requested, .. } = refusal;
    let name = match refusal.dimension {
        Dimension::Requests => "requests",
        Dimension::Tokens => "tokens",
        Dimension::InputTokens => "input tokens",
        Dimension::OutputTokens => "output tokens",
    };
    let advice = "For details, refer to: https://docs.claude.com/en/api/rate-limits.";
    if refusal.delay.is_none() {
        return format!(
            "This request of {requested} {name} is larger than your organization's rate limit of {limit} {name} per minute \
             (org: org-mock, model: {model}). {advice}"
        );
    }
    format!(
        "This request would exceed your organization's rate limit of {limit} {name} per minute (org: org-mock, model: \
         {model}). {advice}"
    )
}

pub(crate) fn levels(levels: &Levels, date: SystemTime, headers: &mut Headers) {
    let mut add = |name: &str, level: Option<Level>, rounded: bool| {
        if let Some(level) = level {
            let remaining = if rounded {
                nearest_thousand(level)
            } else {
                level.remaining
            };
            headers.add(format!("anthropic-ratelimit-{name}-limit"), level.limit);
            headers.add(format!("anthropic-ratelimit-{name}-remaining"), remaining);
            headers.add(format!("anthropic-ratelimit-{name}-reset"), rfc3339(date + level.full_in));
        }
    };
    add("requests", levels.requests, false);
    add("tokens", levels.tightest(), true);
    // A limit of all tokens limits both input and output.
    add("input-tokens", levels.input_tokens.or(levels.tokens), true);
    add("output-tokens", levels.output_tokens.or(levels.tokens), true);
}

fn nearest_thousand(level: Level) -> u64 {
    if level.limit < ROUNDED_FROM {
        return level.remaining;
    }
    (level.remaining.saturating_add(500) / 1_000 * 1_000).min(level.limit)
}

pub(crate) fn whole(ask: &Ask, answer: &Content, origin: &Origin) -> Bytes {
    let mut message = message(ask, answer, origin, answer.words.len());
    message["content"] = if answer.tool_calls.is_empty() {
        json!([{"type": "text", "text": answer.words.join(" ")}])
    } else {
        answer.tool_calls.iter().map(|call| tool_use(call, &call.arguments)).collect()
    };
    message["stop_reason"] = stop_reason(answer).into();
    Bytes::from(message.to_string())
}

pub(crate) fn events(ask: &Ask, answer: &Content, origin: &Origin) -> Events {
    let start = json!({"type": "message_start", "message": message(ask, answer, origin, 1)});
    let block =
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let delta = json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(answer), "stop_sequence": null},
        "usage": {"output_tokens": answer.words.len()},
    });
    if !answer.tool_calls.is_empty() {
        return tool_events(&answer.tool_calls, &start, &delta);
    }
    let ping = event(&json!({"type": "ping"}));
    Events {
        opening: vec![event(&start), event(&block), ping.clone()],
        delta: |_, _, _, text| {
            let delta = json!({"type": "text_delta", "text": text});
            event(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
        },
        closing: vec![
            event(&json!({"type": "content_block_stop", "index": 0})),
            event(&delta),
            event(&json!({"type": "message_stop"})),
        ],
        error: overloaded(),
        ping,
    }
}

fn tool_use(call: &ToolCall, input: &Value) -> Value {
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
}

/// A stream of tool calls, each a block in one piece.
fn tool_events(calls: &[ToolCall], start: &Value, end: &Value) -> Events {
    let mut opening = vec![event(start)];
    for (index, call) in calls.iter().enumerate() {
        let block = tool_use(call, &json!({}));
        let delta = json!({"type": "input_json_delta", "partial_json": call.arguments.to_string()});
        opening.extend([
            event(&json!({"type": "content_block_start", "index": index, "content_block": block})),
            event(&json!({"type": "content_block_delta", "index": index, "delta": delta})),
            event(&json!({"type": "content_block_stop", "index": index})),
        ]);
    }
    Events {
        opening,
        delta: |_, _, _, _| Bytes::new(),
        closing: vec![event(end), event(&json!({"type": "message_stop"}))],
        error: overloaded(),
        ping: event(&json!({"type": "ping"})),
    }
}

fn overloaded() -> Bytes {
    event(&json!({
        "type": "error",
        "error": {"details": null, "type": "overloaded_error", "message": "Overloaded"},
    }))
}

fn event(data: &Value) -> Bytes {
    let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// A message without content.
fn message(ask: &Ask, answer: &Content, origin: &Origin, output_tokens: usize) -> Value {
    json!({
        "id": format!("msg_mock{:016x}", origin.id),
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {
            "input_tokens": answer.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
        },
    })
}

fn stop_reason(answer: &Content) -> &'static str {
    match answer {
        Content { cut: true, .. } => "max_tokens",
        Content { tool_calls, .. } if !tool_calls.is_empty() => "tool_use",
        Content { .. } => "end_turn",
    }
}
