//! The own shapes of servers that mostly speak OpenAI's: Ollama, text-generation-inference, Scale's LLM
//! Engine; and of Bedrock's Converse.

use super::{Said, TellContent, tell_text, whole_text};
use crate::json::{Key, View};

/// Ollama's lines: `{"message": {"content": "…"}, "done": false}`, `{"response": "…", "done": true}`.
pub(super) fn ollama(value: View<'_>, tell: TellContent<'_>) -> Option<Said> {
    let is_finished = value.get(Key::Done).as_bool()?;
    let message = value.get(Key::Message);
    let has_calls = message.get(Key::ToolCalls).is_list() || message.get(Key::Thinking).is_text();
    let text = message.get(Key::Content).text().or_else(|| value.get(Key::Response).text());
    if has_calls {
        tell(text.filter(|text| !text.is_empty()));
    } else {
        tell_text(text, tell);
    }
    Some(Said::Unmarked { is_finished })
}

/// `{"token": {"text": "…"}, "generated_text": null}`; the last repeats the whole text.
pub(super) fn tgi(value: View<'_>, tell: TellContent<'_>) -> Option<Said> {
    let token = value.get(Key::Token);
    if token.is_object() {
        let is_special = token.get(Key::Special).as_bool() == Some(true);
        tell_text(token.get(Key::Text).text().filter(|_| !is_special), tell);
        let is_finished = !value.get(Key::GeneratedText).is_null();
        return Some(Said::Unmarked { is_finished });
    }
    value.get(Key::GeneratedText).text()?;
    tell_text(whole_text(value), tell);
    Some(Said::Unmarked { is_finished: true })
}

/// Scale's: `{"output": {"text": "…", "finished": false, "num_completion_tokens": 1}}`. Each says whether it
/// is the last; a whole answer does not.
pub(super) fn llm_engine(value: View<'_>, tell: TellContent<'_>) -> Option<Said> {
    let output = value.get(Key::Output);
    let is_finished = output.get(Key::Finished).as_bool()?;
    tell_text(output.get(Key::Text).text(), tell);
    Some(Said::Unmarked { is_finished })
}

/// A whole answer of Bedrock's Converse.
pub(super) fn converse(value: View<'_>, tell: TellContent<'_>) -> Option<Said> {
    value.get(Key::StopReason).text()?;
    tell(whole_text(value));
    Some(Said::Unmarked { is_finished: true })
}
