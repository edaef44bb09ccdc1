//! OpenAI's chat completions and responses, and everybody who copies them.

use super::{Said, TellContent, parts, whole_text};
use crate::Text;
use crate::json::{Key, View};

/// A chunk of chat completions, or a whole one.
pub(super) fn chat(value: View<'_>, tell: TellContent<'_>) -> Option<Said> {
    let choices = value.get(Key::Choices);
    if !choices.is_list() {
        return None;
    }
    let mut is_finished = false;
    for choice in choices.items() {
        if let Some(text) = chunk(choice) {
            let is_first = choice.get(Key::Index).count().unwrap_or(0) == 0;
            is_finished = false;
            tell(text.filter(|_| is_first));
        }
        is_finished |= !choice.get(Key::FinishReason).is_null();
    }
    Some(Said::Chunk { is_finished })
}

/// What a choice adds: its text, nothing that is text, or nothing at all.
#[expect(
    clippy::option_option,
    reason = "nothing is not the same as something without text"
)]
fn chunk(choice: View<'_>) -> Option<Option<Text<'_>>> {
    let (delta, message) = (choice.get(Key::Delta), choice.get(Key::Message));
    let text = parts(delta.get(Key::Content));
    let text = text.or_else(|| parts(message.get(Key::Content)));
    let text = text.or_else(|| choice.get(Key::Text).text());
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        return Some(Some(text));
    }
    let said = if delta.is_there() { delta } else { message };
    let says = |(name, value): (Key, View<'_>)| name != Key::Role && !value.is_empty();
    (said.is_object() && said.parts().any(says)).then_some(None)
}

/// An event of responses, or a whole one.
pub(super) fn responses(kind: &str, value: View<'_>, tell: TellContent<'_>) -> Option<Said> {
    match kind {
        "keepalive" => return Some(Said::Ping),
        "response.completed" | "response.incomplete" => return Some(Said::Done),
        "response.output_text.delta" => tell(value.get(Key::Delta).text()),
        _ if kind.starts_with("response.") => {
            // Text comes in deltas; that a part is done repeats it.
            if matches!(kind.rsplit('.').next(), Some("delta" | "done")) {
                tell(None);
            }
        }
        _ if value.get(Key::Object).is("response") => tell(whole_text(value)),
        _ => return None,
    }
    Some(Said::PART)
}

/// An event of images, speech and transcriptions.
pub(super) fn media(kind: &str, value: View<'_>, tell: TellContent<'_>) -> Option<Said> {
    let is_image = kind.starts_with("image_generation.") || kind.starts_with("image_edit.");
    match kind {
        "speech.audio.done" => return Some(Said::Done),
        // It repeats the deltas, if there were any.
        "transcript.text.done" => {
            tell(None);
            return Some(Said::Done);
        }
        "transcript.text.delta" => tell(value.get(Key::Delta).text()),
        "transcript.text.segment" | "speech.audio.delta" => tell(None),
        _ if is_image => {
            tell(None);
            // There may be one for each of several images, and no marker after them.
            return Some(Said::Unmarked { is_finished: kind.ends_with(".completed") });
        }
        _ => return None,
    }
    Some(Said::PART)
}

/// The texts of the messages among what a response puts out.
pub(super) fn output(output: View<'_>) -> Option<Text<'_>> {
    let texts = output.items().filter_map(|item| parts(item.get(Key::Content)));
    texts.reduce(Text::and)
}
