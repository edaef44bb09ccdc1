//! Answers that the user of the mock chooses.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;

use crate::api::{Ask, Headers};

/// A request that is about to be answered, see [`Builder::answer_with`](crate::Builder::answer_with).
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    ask: &'a Ask,
}

impl Asked<'_> {
    /// The path of the URL.
    pub fn path(&self) -> &str {
        &self.ask.path
    }

    /// The model; empty for a path of no API.
    pub fn model(&self) -> &str {
        &self.ask.model
    }

    /// The text of the last user message, of a response's input, or of the first text to embed.
    pub fn prompt(&self) -> &str {
        &self.ask.prompt
    }

    /// Returns whether a stream was asked for.
    pub fn is_stream(&self) -> bool {
        self.ask.stream
    }

    /// The body, as it was sent.
    pub fn body(&self) -> &[u8] {
        &self.ask.body
    }

    /// The body as JSON; `null` if it is something else.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.ask.body).unwrap_or_default()
    }
}

/// An answer of your choice, see [`Builder::answer_with`](crate::Builder::answer_with).
///
/// Text and tool calls are put into the format of the API that was asked, and streamed if that was asked for.
#[derive(Debug)]
#[must_use]
pub struct Answer {
    pub(crate) content: Chosen,
    pub(crate) status: StatusCode,
    pub(crate) headers: Headers,
}

#[derive(Debug)]
pub(crate) enum Chosen {
    Usual,
    Text(String),
    ToolCalls(Vec<ToolCall>),
    Json(Value),
}

/// The call of a tool.
#[derive(Clone, Debug)]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

impl Answer {
    fn new(content: Chosen) -> Self {
        Self { content, status: StatusCode::OK, headers: Headers::default() }
    }

    /// The answer that the request would get without a choice.
    pub fn usual() -> Self {
        Self::new(Chosen::Usual)
    }

    /// This text. A stream sends it word by word.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Chosen::Text(text.into()))
    }

    /// A call of a tool with these arguments. Its id is `call_mock1`.
    pub fn tool_call(name: impl Into<String>, arguments: Value) -> Self {
        Self::new(Chosen::ToolCalls(Vec::new())).and_tool_call(name, arguments)
    }

    /// A further call of a tool; text is replaced. Its id counts up.
    pub fn and_tool_call(mut self, name: impl Into<String>, arguments: Value) -> Self {
        let mut calls = match self.content {
            Chosen::ToolCalls(calls) => calls,
            _ => Vec::new(),
        };
        let id = format!("call_mock{}", calls.len() + 1);
        calls.push(ToolCall { id, name: name.into(), arguments });
        self.content = Chosen::ToolCalls(calls);
        self
    }

    /// This JSON as it is, also where a stream was asked for.
    pub fn json(json: Value) -> Self {
        Self::new(Chosen::Json(json))
    }

    /// Sets the status. Default: 200. An invalid one becomes 500.
    pub fn status(mut self, status: u16) -> Self {
        self.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self
    }

    /// Adds a header. One with an invalid name or value is left out.
    pub fn header(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.headers.add(name, value);
        self
    }
}

/// Chooses answers.
#[derive(Clone)]
pub(crate) struct Chooser(pub(crate) Arc<dyn Fn(&Asked<'_>) -> Answer + Send + Sync>);

impl Chooser {
    pub(crate) fn choose(&self, ask: &Ask) -> Answer {
        (self.0)(&Asked { ask })
    }
}

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chooser")
    }
}
