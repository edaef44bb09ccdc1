//! Whose events look like what.

mod anthropic;
mod cohere;
mod google;
mod mistral;
mod native;
mod openai;

use crate::Text;
use crate::json::{Key, View};

/// Is told of each piece of content: its text, or nothing where it is no text.
pub(super) type TellContent<'a> = &'a mut dyn FnMut(Option<Text<'_>>);

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
pub(super) fn read(kind: &str, value: View<'_>, tell: TellContent<'_>) -> Option<Said> {
    openai::chat(value, tell)
        .or_else(|| openai::responses(kind, value, tell))
        .or_else(|| openai::media(kind, value, tell))
        .or_else(|| anthropic::messages(kind, value, tell))
        .or_else(|| google::candidates(value, tell))
        .or_else(|| cohere::chat(kind, value, tell))
        .or_else(|| mistral::conversation(kind, value, tell))
        .or_else(|| native::ollama(value, tell))
        .or_else(|| native::tgi(value, tell))
        .or_else(|| native::llm_engine(value, tell))
        .or_else(|| native::converse(value, tell))
}

/// The text of a whole answer, in any of the shapes.
pub(crate) fn whole_text(value: View<'_>) -> Option<Text<'_>> {
    let value = value.first_or_self();
    let choice = value.get(Key::Choices).first();
    let output = value.get(Key::Output);
    let candidate = || google::text(value.get(Key::Candidates).first().at(&[Key::Content, Key::Parts]));
    let converse = || parts(output.at(&[Key::Message, Key::Content]));
    let llm_engine = || output.get(Key::Text).text();
    let cohere = || parts(value.at(&[Key::Message, Key::Content]));
    let bare = || match value.get(Key::Response) {
        response if response.is_there() => response.text(),
        _ => value.get(Key::Text).text(),
    };
    parts(choice.at(&[Key::Message, Key::Content]))
        .or_else(|| choice.get(Key::Text).text())
        .or_else(|| parts(value.get(Key::Content)))
        .or_else(|| openai::output(output))
        .or_else(candidate)
        .or_else(converse)
        .or_else(llm_engine)
        .or_else(cohere)
        .or_else(|| value.get(Key::GeneratedText).text())
        .or_else(bare)
}

/// A string, or the texts of a list of parts, joined.
fn parts(value: View<'_>) -> Option<Text<'_>> {
    let texts = || value.items().filter_map(|part| part.get(Key::Text).text());
    value.text().or_else(|| texts().reduce(Text::and))
}

/// Tells of a text that is there.
fn tell_text(text: Option<Text<'_>>, tell: TellContent<'_>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        tell(Some(text));
    }
}
