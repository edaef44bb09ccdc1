//! Shapes other than OpenAI's.

use super::{EmitContent, EventKind, answer_text, emit_text, joined};
use crate::Text;
use crate::json::{Key, View};

/// An event of Anthropic's Messages API, or a complete message.
pub(super) fn anthropic(kind: &str, value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    match kind {
        "ping" => return Some(EventKind::Ping),
        "message_stop" => return Some(EventKind::Done),
        "message_start" | "message_delta" | "content_block_stop" => {}
        "content_block_start" => emit_text(value.at(&[Key::ContentBlock, Key::Text]).text(), emit),
        "content_block_delta" => emit(value.at(&[Key::Delta, Key::Text]).text()),
        "message" => emit(answer_text(value)),
        _ => return None,
    }
    Some(EventKind::PART)
}

/// Names in a chunk of Google's; each has one of them.
pub(super) const GOOGLE: &[Key] = &[Key::Candidates, Key::PromptFeedback, Key::UsageMetadata];

/// A chunk of Gemini or Vertex AI, or a complete answer. The last chunk says why it is the last; there is no
/// other marker.
pub(super) fn google(value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    let was_blocked = !value.at(&[Key::PromptFeedback, Key::BlockReason]).is_null();
    let candidates = value.get(Key::Candidates);
    if !candidates.is_list() && !was_blocked && !value.get(Key::UsageMetadata).is_there() {
        return None;
    }
    let has_content = |part: View<'_>| !part.get(Key::Text).is("") && part.is_object() && !part.is_empty();
    let mut is_last = was_blocked;
    for (index, candidate) in candidates.items().enumerate() {
        let parts = candidate.at(&[Key::Content, Key::Parts]);
        if parts.items().any(has_content) {
            is_last = false;
            emit(google_text(parts).filter(|_| index == 0));
        }
        is_last |= !candidate.get(Key::FinishReasonOfGoogle).is_empty();
    }
    Some(EventKind::Unmarked { is_last })
}

/// The text of the parts that are not thoughts.
pub(super) fn google_text(parts: View<'_>) -> Option<Text<'_>> {
    let spoken = parts.items().filter(|part| part.get(Key::Thought).as_bool() != Some(true));
    let texts = spoken.filter_map(|part| part.get(Key::Text).text()).filter(|text| !text.is_empty());
    texts.reduce(Text::and)
}

const COHERE_TEXT: &[Key] = &[Key::Delta, Key::Message, Key::Content, Key::Text];

/// An event of Cohere's chat: typed events in version 2, lines of JSON in version 1.
pub(super) fn cohere(kind: &str, value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    match kind {
        "message-end" => return Some(EventKind::Done),
        "message-start" | "content-end" | "tool-call-end" | "citation-start" | "citation-end" => {}
        "content-start" => emit_text(value.at(COHERE_TEXT).text(), emit),
        "content-delta" => emit(value.at(COHERE_TEXT).text()),
        "tool-plan-delta" | "tool-call-start" | "tool-call-delta" => emit(None),
        _ => return cohere_v1(value, emit),
    }
    Some(EventKind::PART)
}

fn cohere_v1(value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    match &*value.get(Key::EventType).text()?.read() {
        "stream-end" => return Some(EventKind::Done),
        "text-generation" => emit(value.get(Key::Text).text()),
        "tool-calls-generation" | "tool-calls-chunk" => emit(None),
        "stream-start" | "search-queries-generation" | "search-results" | "citation-generation" => {}
        _ => return None,
    }
    Some(EventKind::Unmarked { is_last: false })
}

/// An event of Mistral's conversations. Its chat is OpenAI's.
pub(super) fn mistral(kind: &str, value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    match kind {
        "conversation.response.done" => return Some(EventKind::Done),
        "conversation.response.started" => {}
        "message.output.delta" => {
            let content = value.get(Key::Content);
            emit(joined(content).or_else(|| content.get(Key::Text).text()));
        }
        "function.call.delta" => emit(None),
        _ if kind.starts_with("tool.execution.") || kind.starts_with("agent.handoff.") => emit(None),
        _ => return None,
    }
    Some(EventKind::PART)
}

/// A line of Ollama: `{"message": {"content": "…"}, "done": false}`, `{"response": "…", "done": true}`.
pub(super) fn ollama(value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    let is_last = value.get(Key::Done).as_bool()?;
    let message = value.get(Key::Message);
    let has_calls = message.get(Key::ToolCalls).is_list() || message.get(Key::Thinking).is_text();
    let text = message.get(Key::Content).text().or_else(|| value.get(Key::Response).text());
    if has_calls {
        emit(text.filter(|text| !text.is_empty()));
    } else {
        emit_text(text, emit);
    }
    Some(EventKind::Unmarked { is_last })
}

/// An event of text-generation-inference: `{"token": {"text": "…"}, "generated_text": null}`; the last one
/// repeats the whole text.
pub(super) fn tgi(value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    let token = value.get(Key::Token);
    if token.is_object() {
        let is_special = token.get(Key::Special).as_bool() == Some(true);
        emit_text(token.get(Key::Text).text().filter(|_| !is_special), emit);
        let is_last = !value.get(Key::GeneratedText).is_null();
        return Some(EventKind::Unmarked { is_last });
    }
    value.get(Key::GeneratedText).text()?;
    emit_text(answer_text(value), emit);
    Some(EventKind::Unmarked { is_last: true })
}

/// An event of Scale's LLM Engine: `{"output": {"text": "…", "finished": false}}`. A complete answer has no
/// `finished`.
pub(super) fn llm_engine(value: View<'_>, emit: EmitContent<'_>) -> Option<EventKind> {
    let output = value.get(Key::Output);
    let is_last = output.get(Key::Finished).as_bool()?;
    emit_text(output.get(Key::Text).text(), emit);
    Some(EventKind::Unmarked { is_last })
}
