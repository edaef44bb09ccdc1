//! Whose events look like what.

mod anthropic;
mod cohere;
mod google;
mod native;
mod openai;

use serde_json::Value;

/// Is told of each piece of content: its text, or nothing where it is no text.
pub(super) type TellContent<'a> = &'a mut dyn FnMut(Option<String>);

/// What an event of a known shape says, besides its content and usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A sign of life.
    Ping,
    /// The answer is whole.
    Done,
    /// A part of a stream that has a marker at its end. What it holds may say why it ended.
    Chunk { is_finished: bool },
    /// A part of a stream that has none.
    Unmarked { is_finished: bool },
}

impl Said {
    /// A part that says nothing of the end.
    const PART: Self = Self::Chunk { is_finished: false };
}

/// Reads an event or a chunk, or a whole answer, in whichever shape it has the marks of.
pub(super) fn read(kind: &str, value: &mut Value, tell: TellContent<'_>) -> Option<Said> {
    openai::chat(value, tell)
        .or_else(|| openai::responses(kind, value, tell))
        .or_else(|| anthropic::messages(kind, value, tell))
        .or_else(|| google::candidates(value, tell))
        .or_else(|| cohere::chat(kind, value, tell))
        .or_else(|| native::ollama(value, tell))
        .or_else(|| native::tgi(value, tell))
        .or_else(|| native::converse(value, tell))
}

/// The text of a whole answer, in any of the shapes.
pub(crate) fn whole_text(value: &Value) -> Option<String> {
    let value = value.get(0).unwrap_or(value);
    let choice = &value["choices"][0];
    let candidate = || google::text(&value["candidates"][0]["content"]["parts"]);
    let converse = || parts(&value["output"]["message"]["content"]);
    let cohere = || parts(&value["message"]["content"]);
    parts(&choice["message"]["content"])
        .or_else(|| owned(&choice["text"]))
        .or_else(|| parts(&value["content"]))
        .or_else(|| openai::output(&value["output"]))
        .or_else(candidate)
        .or_else(converse)
        .or_else(cohere)
        .or_else(|| owned(&value["generated_text"]))
        .or_else(|| owned(value.get("response").unwrap_or(&value["text"])))
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

fn owned(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Takes a string out of its place.
fn take(value: &mut Value, pointer: &str) -> Option<String> {
    match value.pointer_mut(pointer)?.take() {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Tells of a text that is there.
fn tell_text(text: Option<String>, tell: TellContent<'_>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        tell(Some(text));
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
