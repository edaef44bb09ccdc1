//! OpenAI's chat completions API, and the errors of all its APIs.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Content;
use crate::api::{Ask, Events, Headers, Origin, Problem, Reply, bad_gateway};
use crate::bucket::Level;
use crate::charging::Dimension;
use crate::clock::{ceil_millis, ceil_seconds, go_duration, unix_seconds};
use crate::hints::Hints;
use crate::limit::{Levels, Refusal};

const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const SERVER_ERROR: &str = "The server had an error while processing your request";
const OVERLOADED: &str = "The server is currently overloaded with other requests. Sorry about that! You can retry your \
                          request, or contact us through our help center if the error persists.";
const NO_QUOTA: &str = "You exceeded your current quota, please check your plan and billing details. For more information on \
                        this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.";

const TOO_MANY: &str = "Too many concurrent requests. Please retry your request later.";
const SHARED: &str = "The model is at capacity. Please retry your request later.";

pub(crate) fn problem(problem: &Problem, hints: Hints) -> Reply {
    let mut headers = Headers::default();
    headers.add("content-type", "application/json");
    let invalid = "invalid_request_error";
    let (status, message, kind, param, code) = match problem {
        Problem::Invalid(why, param) => (400, why.clone(), invalid, *param, None),
        Problem::Unauthorized => {
            let message = "Incorrect API key provided. You can find your API key at \
                           https://platform.openai.com/account/api-keys.";
            (401, message.to_owned(), invalid, None, Some("invalid_api_key"))
        }
        Problem::NoSuchPath(method, path) => {
            (404, format!("Invalid URL ({method} {path})"), invalid, None, None)
        }
        Problem::WrongMethod(method, path) => {
            let message = format!("Not allowed to {method} on {path}.");
            (405, message, invalid, None, Some("method_not_supported"))
        }
        Problem::TooLarge => (413, "Request body is too large.".to_owned(), invalid, None, None),
        Problem::QuotaExhausted => {
            (429, NO_QUOTA.to_owned(), "insufficient_quota", None, Some("insufficient_quota"))
        }
        Problem::Throttled(refusal, model) => {
            hint(refusal, hints, &mut headers);
            let kind = if refusal.dimension == Dimension::Requests {
                "requests"
            } else {
                "tokens"
            };
            let code = Some("rate_limit_exceeded");
            (429, throttled(refusal, model, hints), kind, None, code)
        }
        Problem::InternalError => (500, SERVER_ERROR.to_owned(), "server_error", None, None),
        Problem::BadGateway => return bad_gateway(),
        Problem::Unavailable(_) | Problem::Full => {
            if let Problem::Unavailable(Some(delay)) = problem {
                headers.add("retry-after", ceil_seconds(*delay));
            }
            let code = Some("server_is_overloaded");
            (503, OVERLOADED.to_owned(), "service_unavailable_error", None, code)
        }
        Problem::Busy { concurrency, delay } => {
            if let Some(delay) = delay {
                headers.add("retry-after", ceil_seconds(*delay));
            }
            let message = if *concurrency { TOO_MANY } else { SHARED };
            (429, message.to_owned(), "rate_limit_error", None, Some("rate_limit_exceeded"))
        }
        Problem::Overloaded => (529, OVERLOADED.to_owned(), "server_error", None, None),
    };
    let body = json!({"error": {"message": message, "type": kind, "param": param, "code": code}});
    Reply {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers,
        body: Bytes::from(body.to_string()),
    }
}

fn hint(refusal: &Refusal, hints: Hints, headers: &mut Headers) {
    let Some(delay) = refusal.delay.filter(|_| hints.retry_after()) else {
        return;
    };
    headers.add("retry-after", ceil_seconds(delay));
    if hints == Hints::All {
        headers.add("retry-after-ms", ceil_millis(delay));
    }
}

fn throttled(refusal: &Refusal, model: &str, hints: Hints) -> String {
    let Refusal { limit, used, requested, .. } = refusal;
    let (name, short) = dimension(refusal.dimension);
    let per = if refusal.period == MINUTE {
        format!("min ({short})")
    } else {
        go_duration(refusal.period)
    };
    let on = format!("for {model} in organization org-mock on {name} per {per}");
    let visit = "Visit https://platform.openai.com/account/rate-limits to learn more.";
    match refusal.delay {
        None => format!(
            "Request too large {on}: Limit {limit}, Requested {requested}. The input or output tokens must be reduced in \
             order to run successfully. {visit}"
        ),
        Some(delay) => {
            let reached =
                format!("Rate limit reached {on}: Limit {limit}, Used {used}, Requested {requested}.");
            if hints.text() {
                format!("{reached} Please try again in {}. {visit}", go_duration(delay))
            } else {
                format!("{reached} {visit}")
            }
        }
    }
}

fn dimension(dimension: Dimension) -> (&'static str, &'static str) {
    match dimension {
        Dimension::Requests => ("requests", "RPM"),
        Dimension::Tokens => ("tokens", "TPM"),
        // Groq's words: OpenAI has no such limits.
        Dimension::InputTokens => ("input tokens", "ITPM"),
        Dimension::OutputTokens => ("output tokens", "OTPM"),
    }
}

pub(crate) fn levels(levels: &Levels, headers: &mut Headers) {
    let mut add = |name: &str, level: Option<Level>| {
        if let Some(level) = level {
            headers.add(format!("x-ratelimit-limit-{name}"), level.limit);
            headers.add(format!("x-ratelimit-remaining-{name}"), level.remaining);
            headers.add(format!("x-ratelimit-reset-{name}"), go_duration(level.full_in));
        }
    };
    add("requests", levels.requests);
    add("tokens", levels.tightest());
}

pub(crate) fn whole(ask: &Ask, answer: &Content, origin: &Origin) -> Bytes {
    let body = json!({
        "id": id(origin),
        "object": "chat.completion",
        "created": created(origin.date),
        "model": ask.model,
        "choices": [{
            "index": 0,
            "message": message(answer),
            "logprobs": null,
            "finish_reason": finish_reason(answer),
        }],
        "usage": usage(answer),
    });
    Bytes::from(body.to_string())
}

pub(crate) fn events(ask: &Ask, answer: &Content, origin: &Origin) -> Events {
    let opening = if answer.tool_calls.is_empty() {
        json!({"role": "assistant", "content": ""})
    } else {
        json!({"role": "assistant", "content": null, "tool_calls": tool_calls(answer)})
    };
    let opening = vec![chunk(ask, origin, &opening, None)];
    let mut closing = vec![chunk(ask, origin, &json!({}), Some(finish_reason(answer)))];
    if ask.include_usage {
        let mut last = skeleton(ask, origin);
        last["choices"] = json!([]);
        last["usage"] = usage(answer);
        closing.push(event(&last.to_string()));
    }
    closing.push(event("[DONE]"));
    let error =
        json!({"error": {"message": SERVER_ERROR, "type": "server_error", "param": null, "code": null}});
    Events {
        opening,
        delta: |ask, origin, _, text| chunk(ask, origin, &json!({"content": text}), None),
        closing,
        error: event(&error.to_string()),
        ping: Bytes::from_static(b": keep-alive\n\n"),
    }
}

fn chunk(ask: &Ask, origin: &Origin, delta: &Value, finish_reason: Option<&str>) -> Bytes {
    let mut chunk = skeleton(ask, origin);
    chunk["choices"] =
        json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
    if ask.include_usage {
        chunk["usage"] = Value::Null;
    }
    event(&chunk.to_string())
}

fn skeleton(ask: &Ask, origin: &Origin) -> Value {
    json!({
        "id": id(origin),
        "object": "chat.completion.chunk",
        "created": created(origin.date),
        "model": ask.model,
    })
}

fn event(data: &str) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

fn message(answer: &Content) -> Value {
    if answer.tool_calls.is_empty() {
        return json!({"role": "assistant", "content": answer.words.join(" "), "refusal": null});
    }
    json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": tool_calls(answer)})
}

fn tool_calls(answer: &Content) -> Value {
    let calls = answer.tool_calls.iter().enumerate().map(|(index, call)| {
        let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
        json!({"index": index, "id": call.id, "type": "function", "function": function})
    });
    calls.collect()
}

fn usage(answer: &Content) -> Value {
    let input = answer.input_tokens;
    json!({
        "prompt_tokens": input,
        "completion_tokens": answer.words.len(),
        "total_tokens": input + answer.words.len() as u64,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    })
}

fn finish_reason(answer: &Content) -> &'static str {
    match answer {
        Content { cut: true, .. } => "length",
        Content { tool_calls, .. } if !tool_calls.is_empty() => "tool_calls",
        Content { .. } => "stop",
    }
}

fn id(origin: &Origin) -> String {
    format!("chatcmpl-mock{:016x}", origin.id)
}

pub(crate) fn created(date: SystemTime) -> u64 {
    unix_seconds(date)
}
