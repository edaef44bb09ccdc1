//! Gemini's candidates, at both of Google's hosts. The last chunk says why it is the last; there is no
//! other marker.

use serde_json::Value;

use super::{Said, TellContent};

/// A chunk, or a whole answer.
pub(super) fn candidates(value: &mut Value, tell: TellContent<'_>) -> Option<Said> {
    let was_blocked = !value["promptFeedback"]["blockReason"].is_null();
    let candidates = value.get("candidates").and_then(Value::as_array);
    if candidates.is_none() && !was_blocked && value.get("usageMetadata").is_none() {
        return None;
    }
    let mut is_finished = was_blocked;
    for (index, candidate) in candidates.into_iter().flatten().enumerate() {
        let parts = &candidate["content"]["parts"];
        if parts.as_array().is_some_and(|parts| parts.iter().any(says)) {
            is_finished = false;
            tell(text(parts).filter(|_| index == 0));
        }
        is_finished |= !candidate["finishReason"].is_null();
    }
    Some(Said::Unmarked { is_finished })
}

fn says(part: &Value) -> bool {
    part["text"] != "" && part.as_object().is_some_and(|part| !part.is_empty())
}

/// The texts of the parts that are no thoughts.
pub(super) fn text(parts: &Value) -> Option<String> {
    let spoken = parts.as_array()?.iter().filter(|part| part["thought"] != true);
    let texts = spoken.filter_map(|part| part["text"].as_str()).filter(|text| !text.is_empty());
    texts.map(str::to_owned).reduce(|joined, text| joined + &text)
}
