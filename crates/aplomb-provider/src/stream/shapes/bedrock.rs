//! Shapes at Bedrock: those of its Converse API, and those of the model families that it serves with `InvokeModel`.
//!
//! Anthropic's, OpenAI's, `DeepSeek`'s, AI21's, Qwen's and Cohere's newer models have the shapes that they have elsewhere. The others are in
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html>.

use super::{EmitContent, EventKind, answer_text, emit_text};
use crate::json::{Key, View};

/// An event of Bedrock's Converse API. `messageStop` says why it is the last one before the usage.
pub(super) fn converse_stream(kind: &str, value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    match kind {
        "converse.contentBlockDelta" => emit(value.at(&[Key::Delta, Key::Text]).text()),
        "converse.messageStop" => return Some(EventKind::Unmarked { is_last: true }),
        _ if kind.starts_with("converse.") => {}
        _ => return None,
    }
    Some(EventKind::Unmarked { is_last: false })
}

/// A complete answer of Bedrock's Converse API.
pub(super) fn converse(value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    value.get(Key::StopReason).text()?;
    emit(answer_text(value));
    Some(EventKind::Unmarked { is_last: true })
}

/// Names in a chunk or an answer of a model family; each has one of them.
pub(super) const FAMILIES: &[Key] = &[
    Key::Generation,
    Key::OutputText,
    Key::Results,
    Key::Outputs,
    Key::IsFinished,
    Key::MessageStart,
    Key::ContentBlockStart,
    Key::ContentBlockDelta,
    Key::ContentBlockStop,
    Key::MessageStop,
    Key::Metadata,
];

/// A chunk or an answer of a model family. The last chunk says why it is the last.
pub(super) fn family(value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    let is_given = |reason: View<'_>| reason.is_text() && !reason.is_empty();
    // Llama: `{"generation": "Hi", "stop_reason": null}`.
    if let Some(text) = value.get(Key::Generation).text() {
        emit_text(Some(text), emit);
        return Some(EventKind::Unmarked { is_last: is_given(value.get(Key::StopReasonOfModels)) });
    }
    // Titan: `{"outputText": "Hi", "completionReason": null}`; an answer is in a list.
    let titan = match value.get(Key::Results).first() {
        result if result.is_there() => result,
        _ => value,
    };
    if let Some(text) = titan.get(Key::OutputText).text() {
        emit_text(Some(text), emit);
        return Some(EventKind::Unmarked { is_last: is_given(titan.get(Key::CompletionReason)) });
    }
    // Mistral: `{"outputs": [{"text": "Hi", "stop_reason": null}]}`.
    let mistral = value.get(Key::Outputs).first();
    if let Some(text) = mistral.get(Key::Text).text() {
        emit_text(Some(text), emit);
        return Some(EventKind::Unmarked { is_last: is_given(mistral.get(Key::StopReasonOfModels)) });
    }
    // Cohere's older models: `{"text": "Hi", "is_finished": false}`.
    if let Some(is_last) = value.get(Key::IsFinished).as_bool() {
        emit_text(value.get(Key::Text).text(), emit);
        return Some(EventKind::Unmarked { is_last });
    }
    nova(value, emit)
}

/// Nova: the events of Converse, each in an object that is named for it.
fn nova(value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    let delta = value.get(Key::ContentBlockDelta);
    if delta.is_object() {
        emit(delta.at(&[Key::Delta, Key::Text]).text());
    }
    let is_last = value.get(Key::MessageStop).is_object();
    let names = [Key::MessageStart, Key::ContentBlockStart, Key::ContentBlockStop];
    let is_usage = value.at(&[Key::Metadata, Key::Usage]).is_object();
    let is_part = delta.is_object() || is_usage || names.iter().any(|&name| value.get(name).is_object());
    (is_part || is_last).then_some(EventKind::Unmarked { is_last })
}
