//! OpenAI's chat completions and responses, and everybody who copies them.

use serde_json::Value;

use super::{Said, TellContent, is_empty, parts, take, whole_text};

/// A chunk of chat completions, or a whole one.
pub(super) fn chat(value: &mut Value, tell: TellContent<'_>) -> Option<Said> {
    let choices = value.get_mut("choices")?.as_array_mut()?;
    let mut is_finished = false;
    for choice in choices {
        if let Some(text) = chunk(choice) {
            let is_first = choice["index"].as_u64().unwrap_or(0) == 0;
            is_finished = false;
            tell(text.filter(|_| is_first));
        }
        is_finished |= !choice["finish_reason"].is_null();
    }
    Some(Said::Chunk { is_finished })
}

/// What a choice adds: its text, nothing that is text, or nothing at all.
#[expect(
    clippy::option_option,
    reason = "nothing is not the same as something without text"
)]
fn chunk(choice: &mut Value) -> Option<Option<String>> {
    let text = choice.pointer("/delta/content").and_then(parts);
    let text = text.or_else(|| choice.pointer("/message/content").and_then(parts));
    let text = text.or_else(|| take(choice, "/text"));
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        return Some(Some(text));
    }
    let delta = choice.get("delta").or_else(|| choice.get("message"))?.as_object()?;
    let says = |(name, value): (&String, &Value)| name != "role" && !is_empty(value);
    delta.iter().any(says).then_some(None)
}

/// An event of responses, or a whole one.
pub(super) fn responses(kind: &str, value: &mut Value, tell: TellContent<'_>) -> Option<Said> {
    match kind {
        "keepalive" => return Some(Said::Ping),
        "response.completed" | "response.incomplete" => return Some(Said::Done),
        "response.output_text.delta" => tell(take(value, "/delta")),
        _ if kind.starts_with("response.") => {
            // Text comes in deltas; that a part is done repeats it.
            if matches!(kind.rsplit('.').next(), Some("delta" | "done")) {
                tell(None);
            }
        }
        _ if value["object"] == "response" => tell(whole_text(value)),
        _ => return None,
    }
    Some(Said::PART)
}

/// The texts of the messages among what a response puts out.
pub(super) fn output(output: &Value) -> Option<String> {
    let texts = output.as_array()?.iter().filter_map(|item| parts(item.get("content")?));
    texts.reduce(|joined, text| joined + &text)
}
