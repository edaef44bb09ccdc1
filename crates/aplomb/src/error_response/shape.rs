//! The bodies of errors, as different callers expect them.

use aplomb_core::Dimension;
use http::StatusCode;
use serde_json::json;

use super::refusal::Refusal;

/// The form of an error in a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// The message as plain text.
    #[default]
    Plain,
    /// As OpenAI's API: `{"error": {"message", "type", "param", "code"}}`.
    OpenAi,
    /// As Anthropic's API: `{"type": "error", "error": {"type", "message"}}`.
    Anthropic,
}

impl Shape {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; charset=utf-8",
            Self::OpenAi | Self::Anthropic => "application/json",
        }
    }

    pub(super) fn body(self, refusal: &Refusal) -> String {
        let message = &*refusal.message;
        match self {
            Self::Plain => message.to_owned(),
            Self::OpenAi => {
                let (kind, code) = of_openai(refusal);
                json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
            }
            Self::Anthropic => {
                let kind = of_anthropic(refusal.status);
                json!({"type": "error", "error": {"type": kind, "message": message}}).to_string()
            }
        }
    }
}

fn of_openai(refusal: &Refusal) -> (&'static str, Option<&'static str>) {
    match refusal.status {
        StatusCode::TOO_MANY_REQUESTS => {
            let is_requests = refusal.exhausted.is_none_or(|dimension| dimension == Dimension::REQUESTS);
            (if is_requests { "requests" } else { "tokens" }, Some("rate_limit_exceeded"))
        }
        StatusCode::PAYLOAD_TOO_LARGE => ("invalid_request_error", Some("request_too_large")),
        StatusCode::NOT_FOUND => ("invalid_request_error", Some("model_not_found")),
        StatusCode::SERVICE_UNAVAILABLE => ("service_unavailable_error", Some("server_is_overloaded")),
        StatusCode::GATEWAY_TIMEOUT => ("server_error", Some("timeout")),
        _ => ("server_error", None),
    }
}

fn of_anthropic(status: StatusCode) -> &'static str {
    match status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        _ => "api_error",
    }
}
