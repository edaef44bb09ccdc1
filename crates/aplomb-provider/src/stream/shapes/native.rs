//! The own shapes of servers that mostly speak OpenAI's: Ollama, text-generation-inference; and of
//! Bedrock's Converse.

use serde_json::Value;

use super::{Said, TellContent, take, tell_text, whole_text};

/// Ollama's lines: `{"message": {"content": "…"}, "done": false}`, `{"response": "…", "done": true}`.
pub(super) fn ollama(value: &mut Value, tell: TellContent<'_>) -> Option<Said> {
    let is_finished = value.get("done")?.as_bool()?;
    let has_calls = value["message"]["tool_calls"].is_array() || value["message"]["thinking"].is_string();
    let text = take(value, "/message/content").or_else(|| take(value, "/response"));
    if has_calls {
        tell(text.filter(|text| !text.is_empty()));
    } else {
        tell_text(text, tell);
    }
    Some(Said::Unmarked { is_finished })
}

/// `{"token": {"text": "…"}, "generated_text": null}`; the last repeats the whole text.
pub(super) fn tgi(value: &mut Value, tell: TellContent<'_>) -> Option<Said> {
    if value.get("token").is_some_and(Value::is_object) {
        let is_special = value["token"]["special"] == true;
        tell_text(take(value, "/token/text").filter(|_| !is_special), tell);
        let is_finished = !value["generated_text"].is_null();
        return Some(Said::Unmarked { is_finished });
    }
    value["generated_text"].is_string().then(|| {
        tell_text(whole_text(value), tell);
        Said::Unmarked { is_finished: true }
    })
}

/// A whole answer of Bedrock's Converse.
pub(super) fn converse(value: &mut Value, tell: TellContent<'_>) -> Option<Said> {
    value["stopReason"].as_str()?;
    tell(whole_text(value));
    Some(Said::Unmarked { is_finished: true })
}
