//! Error bodies, in any of the common shapes.

use std::borrow::Cow;
use std::str;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use serde_json::{Map, Value};

use super::codes::{self, Code, Codes, bare};
use super::google::{self, Details};
use super::message::prefix;
use super::{body_delay, dimension, finish};
use crate::json::{Key, View};
use crate::rules::Told;
use aplomb_core::{Dimension, Reason};

type Object = Map<String, Value>;

/// The part of a message that is kept while it is judged, in bytes.
const MAX_MESSAGE: usize = 8 * 1024;

/// The contents of an error body.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ErrorBody {
    code: Option<Code>,
    /// The status in the body, which counts if the response itself is a success.
    status: Option<u16>,
    message: Option<String>,
    delay: Option<Duration>,
    dimension: Option<Dimension>,
    details: Option<Details>,
    /// Where there are rules of one's own, the words that they ask for.
    words: Option<Box<Words>>,
}

/// Words of a body that rules may ask for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Words {
    codes: Vec<String>,
    finish_reasons: Vec<String>,
}

impl ErrorBody {
    /// Reads the body of an error response in any format.
    pub(crate) fn read(body: &[u8], sent: SystemTime, codes: &Codes<'_>) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => Self::from_value(&value, sent, codes),
            Err(_) => Self::from_text(body),
        }
    }

    /// Reads a value that is an error:
    ///
    /// - `{"error": {"code", "type", "message", …}}`, also within `response`, `choices[0]` or `x_groq`
    /// - `{"delta": {"error": "…"}}`, `{"x_groq": {"error": "…"}}`
    /// - `{"error": "…"}`, alone or beside `message`
    /// - `{"type": "error", "error": {"type", "message", "details": {"error_code"}}}`
    /// - `{"code", "message", "type"}`, `{"__type", "message"}`
    /// - `{"detail": "…"}`, `{"detail": [{"msg": "…"}]}`, and RFC 9457's `{"type", "title", "detail"}`
    /// - `{"error": {"code", "status", "details": [{"@type", …}]}}`, Google's
    /// - `{"base_resp": {"status_code", "status_msg"}}`, `MiniMax`'s
    /// - `{"choices": [{"finish_reason": "abort"}]}`
    pub(crate) fn from_value(value: &Value, sent: SystemTime, codes: &Codes<'_>) -> Self {
        let Some(top) = first(value).as_object() else {
            return Self { message: value.as_str().map(cut), ..Self::default() };
        };
        let inner = [
            top.get("error"),
            value["response"].get("error"),
            value["choices"][0].get("error"),
            top.get("errors").map(first),
            top.get("base_resp"),
            value["x_groq"].get("error"),
            top.get("x_groq").filter(|outer| outer["error"].is_string()),
            top.get("delta").filter(|outer| outer["error"].is_string()),
        ];
        let inner = inner.into_iter().flatten().find_map(Value::as_object);
        let error = inner.unwrap_or(top);
        Self {
            code: code_of(error, codes)
                .or_else(|| code_of(top, codes))
                .or_else(|| finish_code(value, codes)),
            status: status_of(error).or_else(|| status_of(top)),
            message: message_of(error).or_else(|| message_of(top)).map(cut),
            dimension: dimension::in_fields(error).or_else(|| dimension::in_fields(top)),
            delay: body_delay::of(error, sent).or_else(|| body_delay::of(top, sent)),
            details: Details::of(error),
            words: codes.settings.has_rules().then(|| {
                let finish_reasons = finish::reasons(first(value)).map(str::to_owned).collect();
                let codes = code_texts(error).chain(code_texts(top));
                Box::new(Words { codes: codes.map(|code| bare(&code).to_owned()).collect(), finish_reasons })
            }),
        }
    }

    /// The parts that rules may ask for, of a response with this status and these headers.
    pub(crate) fn told<'a>(&'a self, status: Option<u16>, headers: Option<&'a HeaderMap>) -> Told<'a> {
        let words = self.words.as_deref();
        let texts = |texts: fn(&Words) -> &Vec<String>| {
            words.into_iter().flat_map(texts).map(String::as_str).collect::<Vec<_>>()
        };
        Told {
            status: status.or(self.status),
            headers,
            codes: texts(|words| &words.codes),
            message: self.message(),
            finish_reasons: texts(|words| &words.finish_reasons),
        }
    }

    /// A body that is not JSON is a message, unless it is binary, a web page or JSON that breaks off.
    fn from_text(body: &[u8]) -> Self {
        let body = &body[..body.len().min(MAX_MESSAGE)];
        let text = match str::from_utf8(body) {
            Ok(text) => text,
            // The last character may be cut off.
            Err(error) if error.error_len().is_none() => {
                str::from_utf8(&body[..error.valid_up_to()]).unwrap_or_default()
            }
            Err(_) => "",
        };
        let is_binary = |c: char| c.is_control() && !c.is_whitespace();
        let text = text.trim();
        let is_text = !text.is_empty() && !text.starts_with(['<', '{', '[']) && !text.contains(is_binary);
        Self { message: is_text.then(|| text.to_owned()), ..Self::default() }
    }

    /// The reason: by the code, in a header or the body, then by the status, of the response if it is an error
    /// or in the body.
    pub(crate) fn reason(&self, status: Option<u16>, in_header: Option<Code>, codes: &Codes<'_>) -> Reason {
        let by_status = status.or(self.status).map(|status| codes.by_status(status));
        match (in_header.or(self.code), by_status) {
            // The code is that of the limit that the request exceeds all by itself.
            (Some(code), Some(Reason::RequestTooLarge)) if code.reason == Reason::RateLimited => {
                Reason::RequestTooLarge
            }
            (Some(code), _) if code.is_exact => code.reason,
            // Google's `RESOURCE_EXHAUSTED` says more than the status, which may be that of a cancelled request.
            (_, Some(reason)) if self.details.is_some() && !is_final(reason) => Reason::RateLimited,
            (_, Some(reason)) => reason,
            (Some(code), None) => code.reason,
            (None, None) => Reason::Unknown,
        }
    }

    /// The status in the body.
    pub(crate) const fn status(&self) -> Option<u16> {
        self.status
    }

    /// The message.
    pub(crate) fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The delay, if the body has a field for it.
    pub(crate) const fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// Returns whether the body explains nothing.
    pub(crate) const fn is_silent(&self) -> bool {
        self.code.is_none() && self.message.is_none()
    }

    /// The limit that the error is about, if a field names it.
    pub(crate) const fn dimension(&self) -> Option<Dimension> {
        self.dimension
    }

    /// Google's details about quotas.
    pub(crate) const fn details(&self) -> Option<&Details> {
        self.details.as_ref()
    }
}

/// Returns whether the body of a success, or an event of a stream that may have had content, says that it is an error.
pub(crate) fn is_error_answer(value: View<'_>, had_content: bool) -> bool {
    let value = value.first_or_self();
    // Every answer is read here, so its members are scanned once.
    for (key, member) in value.parts() {
        let is_error = match key {
            Key::Error => is_error(member),
            Key::Choices => {
                let choice = member.first();
                is_error(choice.get(Key::Error)) || finish::is_choice_broken_off(choice, had_content)
            }
            Key::Response | Key::XGroq => is_error(member.get(Key::Error)),
            Key::Type | Key::EventType => member.is("error"),
            Key::Object => {
                member.is("error") || (member.is("response") && value.get(Key::Status).is("failed"))
            }
            Key::BaseResp => member.get(Key::StatusCode).count().is_some_and(|code| code != 0),
            Key::Candidates => finish::is_candidate_broken_off(member.first(), had_content),
            // Cohere, in either version.
            Key::FinishReason => finish::is_answer_broken_off(member),
            Key::Delta => finish::is_answer_broken_off(member.get(Key::FinishReason)),
            _ => false,
        };
        if is_error {
            return true;
        }
    }
    false
}

/// The code in the finish reason.
fn finish_code(value: &Value, codes: &Codes<'_>) -> Option<Code> {
    finish::broken_off(first(value)).find_map(|reason| codes.known(reason))
}

/// An object whose members are all `null` is not an error: jobs have one while nothing has failed.
fn is_error(value: View<'_>) -> bool {
    let is_set = |(_, part): (Key, View<'_>)| !part.is_null();
    (value.is_object() && value.parts().any(is_set)) || (value.is_text() && !value.is_empty())
}

/// Returns whether a reason stands even if a quota is named beside it.
const fn is_final(reason: Reason) -> bool {
    matches!(reason, Reason::RequestTooLarge | Reason::QuotaExhausted)
}

/// Some servers answer with a list of what would have been the chunks of a stream.
fn first(value: &Value) -> &Value {
    value.get(0).unwrap_or(value)
}

/// The most significant code: one of the user's, one in a gateway's metadata about the requests in flight, one
/// that says the account is exhausted, otherwise the first known one, exact codes before broad ones.
fn code_of(error: &Object, codes: &Codes<'_>) -> Option<Code> {
    if let Some(code) = error.get("status_code").and_then(Value::as_u64).and_then(codes::of_base_resp) {
        return Some(code);
    }
    let lookup = |text: Cow<'_, str>| codes.known(bare(&text));
    let known = || code_texts(error).filter_map(lookup);
    let at_once = || specific(error).into_iter().flatten().filter_map(text_of).filter_map(lookup);
    code_texts(error)
        .find_map(|text| codes.own(bare(&text)))
        .or_else(|| at_once().find(|code| code.reason == Reason::TooManyAtOnce))
        .or_else(|| known().find(|code| code.reason == Reason::QuotaExhausted))
        .or_else(|| known().find(|code| code.is_exact))
        .or_else(|| known().next())
}

/// The codes in a gateway's metadata. Those beside them repeat the status, or are broader.
fn specific(error: &Object) -> [Option<&Value>; 2] {
    let metadata = error.get("metadata");
    ["reason", "limit_source"].map(|name| metadata?.get(name))
}

/// The codes of an error, in all places that providers have for them.
fn code_texts(error: &Object) -> impl Iterator<Item = Cow<'_, str>> {
    let within = |outer: &str, name: &str| error.get(outer).and_then(|outer| outer.get(name));
    let [reason, limit_source] = specific(error);
    let places = [
        within("details", "error_code"),  // Anthropic
        reason,                           // OpenRouter
        limit_source,                     // OpenRouter
        within("metadata", "error_type"), // OpenRouter
        within("innererror", "code"),     // Azure
        error.get("code"),                // OpenAI and most others
        error.get("type"),                // OpenAI, Anthropic
        error.get("error_type"),          // text-generation-inference
        error.get("status"),              // Google
        error.get("__type"),              // AWS
        error.get("error"),               // Fireworks
    ];
    let texts = places.into_iter().flatten().filter_map(text_of);
    texts.chain(google::reasons(error).map(Cow::Borrowed))
}

/// A code, which may be a number in JSON.
fn text_of(code: &Value) -> Option<Cow<'_, str>> {
    let number = || code.as_u64().map(|number| Cow::Owned(number.to_string()));
    code.as_str().map(Cow::Borrowed).or_else(number)
}

fn status_of(error: &Object) -> Option<u16> {
    let places = ["code", "status", "status_code", "raw_status_code"];
    places
        .iter()
        .filter_map(|name| match error.get(*name)? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) if text.len() == 3 => text.parse().ok(),
            _ => None,
        })
        .filter_map(|number| u16::try_from(number).ok())
        .find(|number| (400..=599).contains(number))
}

fn message_of(error: &Object) -> Option<&str> {
    let detail = error.get("detail");
    let places = [
        error.get("message"),
        error.get("Message"),
        error.get("status_msg"),
        error.get("error"),
        detail,
        detail.and_then(|detail| detail.get(0)?.get("msg")),
        error.get("title"),
    ];
    places
        .into_iter()
        .flatten()
        .find_map(|value| value.as_str().filter(|text| !text.is_empty()))
}

fn cut(text: &str) -> String {
    prefix(text, MAX_MESSAGE).to_owned()
}
