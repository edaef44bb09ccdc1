//! The shapes of events, chunks and answers.

mod bedrock;
mod openai;
mod vendors;

use crate::Text;
use crate::json::{Key, View};

/// Receives each piece of content: its text, or `None` if it is not text.
type EmitContent<'a> = &'a mut dyn FnMut(Option<Text<'_>>);

/// The kind of an event of a known shape, besides its content and usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    /// A sign of life.
    Ping,
    /// The end marker.
    Done,
    /// A part of a stream that has an end marker. It may say why its choice ended.
    Chunk { is_last: bool },
    /// A part of a stream that has no end marker.
    Unmarked { is_last: bool },
}

impl EventKind {
    /// A part that says nothing about the end.
    const PART: Self = Self::Chunk { is_last: false };

    /// Returns whether it is a part of a stream, and not its last one.
    pub(super) const fn is_part(self) -> bool {
        matches!(self, Self::Chunk { is_last: false } | Self::Unmarked { is_last: false })
    }
}

/// Reads an event, a chunk or a complete answer in whichever shape matches.
pub(super) fn read(kind: &str, value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    // A shape is read only where one of its names is there, or a kind.
    let names = value.names();
    let (is_typed, has) = (!kind.is_empty(), |keys: &[Key]| names.any(keys));
    when(has(&[Key::Choices]), || openai::chat(value, emit))
        .or_else(|| when(is_typed || has(&[Key::Object]), || openai::responses(kind, value, emit)))
        .or_else(|| when(is_typed, || openai::media(kind, value, emit)))
        .or_else(|| when(is_typed, || vendors::anthropic(kind, value, emit)))
        .or_else(|| when(has(vendors::GOOGLE), || vendors::google(value, emit)))
        .or_else(|| when(is_typed || has(&[Key::EventType]), || vendors::cohere(kind, value, emit)))
        .or_else(|| when(is_typed, || vendors::mistral(kind, value, emit)))
        .or_else(|| when(has(&[Key::Done]), || vendors::ollama(value, emit)))
        .or_else(|| when(has(&[Key::Token, Key::GeneratedText]), || vendors::tgi(value, emit)))
        .or_else(|| when(has(&[Key::Output]), || vendors::llm_engine(value, emit)))
        .or_else(|| when(is_typed, || bedrock::converse_stream(kind, value, emit)))
        .or_else(|| when(has(&[Key::StopReason]), || bedrock::converse(value, emit)))
        .or_else(|| when(has(bedrock::FAMILIES), || bedrock::family(value, emit)))
}

#[inline]
fn when(applies: bool, read: impl FnOnce() -> Option<EventKind>) -> Option<EventKind> {
    if applies { read() } else { None }
}

/// The text of a complete answer in any shape.
pub(crate) fn answer_text(value: View<'_>) -> Option<Text<'_>> {
    let value = value.first_or_self();
    let choice = value.get(Key::Choices).first();
    let output = value.get(Key::Output);
    let google = || vendors::google_text(value.get(Key::Candidates).first().at(&[Key::Content, Key::Parts]));
    let converse = || joined(output.at(&[Key::Message, Key::Content]));
    let llm_engine = || output.get(Key::Text).text();
    let cohere = || joined(value.at(&[Key::Message, Key::Content]));
    let bare = || match value.get(Key::Response) {
        response if response.is_there() => response.text(),
        _ => value.get(Key::Text).text(),
    };
    joined(choice.at(&[Key::Message, Key::Content]))
        .or_else(|| choice.get(Key::Text).text())
        .or_else(|| joined(value.get(Key::Content)))
        .or_else(|| openai::output_text(output))
        .or_else(google)
        .or_else(converse)
        .or_else(llm_engine)
        .or_else(cohere)
        .or_else(|| value.get(Key::GeneratedText).text())
        .or_else(|| value.get(Key::Generation).text())
        .or_else(|| value.get(Key::Results).first().get(Key::OutputText).text())
        .or_else(|| value.get(Key::Outputs).first().get(Key::Text).text())
        .or_else(bare)
}

/// A string, or the joined texts of a list of parts.
fn joined(value: View<'_>) -> Option<Text<'_>> {
    let texts = || value.items().filter_map(|part| part.get(Key::Text).text());
    value.text().or_else(|| texts().reduce(Text::and))
}

/// Reports a text unless it is missing or empty.
fn emit_text(text: Option<Text<'_>>, emit: EmitContent<'_>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        emit(Some(text));
    }
}
