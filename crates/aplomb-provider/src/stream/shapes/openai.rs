//! OpenAI's APIs, which many others copy.

use super::{EmitContent, EventKind, answer_text, joined};
use crate::Text;
use crate::json::{Key, View};

/// A chunk of a chat completion, or a complete one.
pub(super) fn chat(value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    let choices = value.get(Key::Choices);
    if !choices.is_list() && !choices.is_null() {
        return None;
    }
    let mut is_last = false;
    for choice in choices.items() {
        if let Some(text) = content(choice) {
            let is_first_choice = choice.get(Key::Index).count().unwrap_or(0) == 0;
            is_last = false;
            emit(text.filter(|_| is_first_choice));
        }
        // Some servers send an empty one with every chunk.
        is_last |= !choice.get(Key::FinishReason).is_empty();
    }
    Some(EventKind::Chunk { is_last })
}

/// The content that a choice adds: its text, `None` within if it is not text, or nothing.
#[expect(
    clippy::option_option,
    reason = "no content differs from content without text"
)]
fn content(choice: View<'_>) -> Option<Option<Text<'_>>> {
    let (delta, message) = (choice.get(Key::Delta), choice.get(Key::Message));
    let text = joined(delta.get(Key::Content));
    let text = text.or_else(|| joined(message.get(Key::Content)));
    let text = text.or_else(|| choice.get(Key::Text).text());
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        return Some(Some(text));
    }
    let added = if delta.is_there() { delta } else { message };
    let is_content = |(name, value): (Key, View<'_>)| name != Key::Role && !value.is_empty();
    (added.is_object() && added.parts().any(is_content)).then_some(None)
}

/// An event of the Responses API, or a complete response.
pub(super) fn responses(kind: &str, value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    match kind {
        "keepalive" => return Some(EventKind::Ping),
        "response.completed" | "response.incomplete" => return Some(EventKind::Done),
        "response.output_text.delta" => emit(value.get(Key::Delta).text()),
        _ if kind.starts_with("response.") => {
            // The text comes in deltas; the end of a part repeats it.
            if matches!(kind.rsplit('.').next(), Some("delta" | "done")) {
                emit(None);
            }
        }
        _ if value.get(Key::Object).is("response") => emit(answer_text(value)),
        _ => return None,
    }
    Some(EventKind::PART)
}

/// An event of the image, speech or transcription API.
pub(super) fn media(kind: &str, value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    let is_image = kind.starts_with("image_generation.") || kind.starts_with("image_edit.");
    match kind {
        "speech.audio.done" => return Some(EventKind::Done),
        // It repeats the deltas, if there were any.
        "transcript.text.done" => {
            emit(None);
            return Some(EventKind::Done);
        }
        "transcript.text.delta" => emit(value.get(Key::Delta).text()),
        "transcript.text.segment" | "speech.audio.delta" => emit(None),
        _ if is_image => {
            emit(None);
            // One for each image, and no marker after them.
            return Some(EventKind::Unmarked { is_last: kind.ends_with(".completed") });
        }
        _ => return None,
    }
    Some(EventKind::PART)
}

/// The text of the messages in the output of a response.
pub(super) fn output_text(output: View<'_>) -> Option<Text<'_>> {
    let texts = output.items().filter_map(|item| joined(item.get(Key::Content)));
    texts.reduce(Text::and)
}
