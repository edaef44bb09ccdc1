//! What the events of each dialect's streams mean.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::StreamEvent::{Content, Done, Error, Other, Ping, Usage};
use crate::error_body::ErrorBody;
use crate::judge::{self, Rules};
use crate::usage::{self, Counts};
use crate::{Head, StreamEvent};

type Tell<'a> = &'a mut dyn FnMut(StreamEvent);

/// Whose events are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    OpenAi,
    Anthropic,
    /// All of them, and nothing strange is held against a server.
    Any,
}

/// What the events of a stream mean.
#[derive(Debug)]
pub(crate) struct Shape {
    speaks: Speaks,
    rules: &'static Rules,
    sent: SystemTime,
    counts: Counts,
    /// Some event was of a known shape.
    is_known: bool,
    /// Some event carried data.
    has_data: bool,
    /// The last choice that had content has said why it ended.
    is_finished: bool,
}

impl Shape {
    pub(crate) fn new(speaks: Speaks, rules: &'static Rules, head: &Head<'_>) -> Self {
        Self {
            speaks,
            rules,
            sent: head.sent(),
            counts: Counts::default(),
            is_known: false,
            has_data: false,
            is_finished: false,
        }
    }

    /// Whether a stream may end here without its end marker. An unknown server may leave the marker
    /// out after it has finished, or speak a dialect of its own, of which the end is not known.
    pub(crate) fn may_end_here(&self) -> bool {
        self.speaks == Speaks::Any && (self.is_finished || (self.has_data && !self.is_known))
    }

    pub(crate) fn event(&mut self, name: &str, data: Option<&[u8]>, tell: Tell<'_>) {
        let Some(data) = data.map(<[u8]>::trim_ascii) else {
            return self.too_long(name, tell);
        };
        if data == b"[DONE]" && self.speaks != Speaks::Anthropic {
            return tell(Done);
        }
        match serde_json::from_slice::<Value>(data) {
            Ok(mut value) => self.value(name, &mut value, tell),
            Err(_) if name == "error" => {
                let text = json!({"message": String::from_utf8_lossy(data)});
                tell(Error(judge::event(&text, self.sent, self.rules)));
            }
            Err(_) if data.is_empty() => tell(Ping),
            // Cut off, most likely.
            Err(_) if data.starts_with(b"{") => tell(Other),
            Err(_) => self.strange(tell),
        }
    }

    /// What was not kept still has its name: the last event of a long answer repeats all of it.
    fn too_long(&mut self, name: &str, tell: Tell<'_>) {
        match name {
            "error" | "response.failed" => tell(Error(judge::event(&Value::Null, self.sent, self.rules))),
            "response.completed" | "response.incomplete" => tell(Done),
            _ => {
                self.has_data = true;
                tell(Content(None));
            }
        }
    }

    fn value(&mut self, name: &str, value: &mut Value, tell: Tell<'_>) {
        let kind = value["type"].as_str().unwrap_or(name).to_owned();
        let failed = name == "error" || kind == "error" || kind == "response.failed";
        if failed || ErrorBody::in_answer(value).is_some() {
            return tell(Error(judge::event(value, self.sent, self.rules)));
        }
        self.has_data = true;
        let is_known = match self.speaks {
            Speaks::OpenAi => self.chat(value, tell) || responses(&kind, value, tell),
            Speaks::Anthropic => self.messages(&kind, value, tell),
            Speaks::Any => {
                self.chat(value, tell) || responses(&kind, value, tell) || self.messages(&kind, value, tell)
            }
        };
        if is_known {
            self.is_known = true;
        } else {
            self.strange(tell);
        }
    }

    /// From an unknown server anything may be content, and then nothing must be retried.
    fn strange(&mut self, tell: Tell<'_>) {
        if self.speaks == Speaks::Any {
            self.has_data = true;
            tell(Content(None));
        } else {
            tell(Other);
        }
    }

    /// A chunk of OpenAI's chat completions.
    fn chat(&mut self, value: &mut Value, tell: Tell<'_>) -> bool {
        let usage = usage::openai(&value["usage"]);
        let Some(choices) = value.get_mut("choices").and_then(Value::as_array_mut) else {
            return false;
        };
        let mut is_other = usage.is_none();
        for choice in choices {
            if let Some(text) = chunk(choice) {
                let is_first = choice["index"].as_u64().unwrap_or(0) == 0;
                self.is_finished = false;
                is_other = false;
                tell(Content(text.filter(|_| is_first)));
            }
            self.is_finished |= !choice["finish_reason"].is_null();
        }
        if let Some(usage) = usage {
            tell(Usage(usage));
        }
        if is_other {
            tell(Other);
        }
        true
    }

    /// An event of Anthropic's messages.
    fn messages(&mut self, kind: &str, value: &mut Value, tell: Tell<'_>) -> bool {
        match kind {
            "ping" => tell(Ping),
            "message_stop" => tell(Done),
            "message_start" => self.count(&value["message"]["usage"], tell),
            "message_delta" => self.count(&value["usage"], tell),
            "content_block_start" => match string(value, "/content_block/text") {
                Some(text) if !text.is_empty() => tell(Content(Some(text))),
                _ => tell(Other),
            },
            "content_block_delta" => tell(Content(string(value, "/delta/text"))),
            "content_block_stop" => tell(Other),
            _ => return false,
        }
        true
    }

    fn count(&mut self, usage: &Value, tell: Tell<'_>) {
        self.counts.update(usage);
        match self.counts.usage() {
            Some(usage) => tell(Usage(usage)),
            None => tell(Other),
        }
    }
}

/// What a choice of a chunk adds: its text, nothing that is text, or nothing at all.
#[expect(
    clippy::option_option,
    reason = "nothing is not the same as something without text"
)]
fn chunk(choice: &mut Value) -> Option<Option<String>> {
    let text = choice.pointer("/delta/content").and_then(parts);
    let text = text.or_else(|| string(choice, "/text"));
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        return Some(Some(text));
    }
    let delta = choice["delta"].as_object()?;
    let says = |(name, value): (&String, &Value)| name != "role" && !is_empty(value);
    delta.iter().any(says).then_some(None)
}

/// An event of OpenAI's responses.
fn responses(kind: &str, value: &mut Value, tell: Tell<'_>) -> bool {
    match kind {
        "keepalive" => tell(Ping),
        "response.completed" | "response.incomplete" => {
            if let Some(usage) = usage::openai(&value["response"]["usage"]) {
                tell(Usage(usage));
            }
            tell(Done);
        }
        "response.output_text.delta" => tell(Content(string(value, "/delta"))),
        _ if !kind.starts_with("response.") => return false,
        // Text comes in deltas; that a part is done repeats it.
        _ if matches!(kind.rsplit('.').next(), Some("delta" | "done")) => tell(Content(None)),
        _ => tell(Other),
    }
    true
}

/// The text of a whole answer, in any of the shapes.
pub(crate) fn text(value: &Value) -> Option<String> {
    let choice = &value["choices"][0];
    let messages = || parts(value.get("content")?);
    let responses = || {
        let items = value["output"].as_array()?;
        let texts = items.iter().filter_map(|item| parts(item.get("content")?));
        texts.reduce(|joined, text| joined + &text)
    };
    parts(&choice["message"]["content"])
        .or_else(|| choice["text"].as_str().map(str::to_owned))
        .or_else(messages)
        .or_else(responses)
}

/// A string, or the texts of a list of parts, joined.
fn parts(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            texts.map(str::to_owned).reduce(|joined, text| joined + &text)
        }
        _ => None,
    }
}

/// Takes a string out of its place.
fn string(value: &mut Value, pointer: &str) -> Option<String> {
    match value.pointer_mut(pointer)?.take() {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}
