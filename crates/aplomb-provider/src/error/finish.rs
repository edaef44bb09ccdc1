//! Why an answer ended, in any dialect.
//!
//! Most reasons mean an end: `stop`, `length`, `tool_calls`, `content_filter`, `eos`, `end_turn`, `STOP`, … Those below mean that
//! it was broken off.

use serde_json::Value;

use crate::json::{Key, View};

/// The places of the reason in an answer or an event.
const PLACES: &[&str] = &[
    "/choices/0/finish_reason",        // OpenAI, and most others
    "/choices/0/native_finish_reason", // OpenRouter: that of the provider behind it
    "/candidates/0/finishReason",      // Google
    "/stop_reason",                    // Anthropic
    "/delta/stop_reason",              // Anthropic, as an event
    "/stopReason",                     // Bedrock
    "/done_reason",                    // Ollama
    "/finish_reason",                  // Cohere
    "/delta/finish_reason",            // Cohere, as an event
    "/details/finish_reason",          // text-generation-inference
];

/// Reasons of a choice that was broken off. Their meaning is in the table of codes.
const OF_CHOICES: &[&str] = &[
    "error",                        // OpenRouter: beside an error, or alone
    "abort",                        // vLLM: the engine gave the request up
    "network_error",                // z.ai, also behind OpenRouter
    "insufficient_system_resource", // DeepSeek: https://api-docs.deepseek.com/api/create-chat-completion
];

/// Reasons of a candidate that was broken off, where it holds nothing.
const OF_CANDIDATES: &[&str] = &[
    // The model wrote a call that is none: https://ai.google.dev/api/generate-content#FinishReason
    "MALFORMED_FUNCTION_CALL",
];

/// Reasons in an answer without choices: Cohere, <https://docs.cohere.com/reference/chat>.
const OF_ANSWERS: &[&str] = &["ERROR", "ERROR_LIMIT", "ERROR_TOXIC"];

/// The reasons that an answer or an event gives.
pub(super) fn reasons(value: &Value) -> impl Iterator<Item = &str> {
    let given = PLACES.iter().filter_map(|place| value.pointer(place)?.as_str());
    given.filter(|reason| !reason.is_empty())
}

/// Those of them that mean that it was broken off.
pub(super) fn broken_off(value: &Value) -> impl Iterator<Item = &str> {
    let tables = [OF_CHOICES, OF_CANDIDATES, OF_ANSWERS];
    reasons(value).filter(move |reason| tables.iter().any(|table| table.contains(reason)))
}

/// Returns whether a choice was broken off: by its reason, or without content by the one behind a gateway.
pub(super) fn is_choice_broken_off(choice: View<'_>, had_content: bool) -> bool {
    let is_empty = || {
        let delta = choice.at(&[Key::Delta, Key::Content]);
        delta.is_empty() && choice.at(&[Key::Message, Key::Content]).is_empty()
    };
    is_any(choice.get(Key::FinishReason), OF_CHOICES)
        || (!had_content && is_any(choice.get(Key::NativeFinishReason), OF_CHOICES) && is_empty())
}

/// Returns whether a candidate was broken off before it held anything.
pub(super) fn is_candidate_broken_off(candidate: View<'_>, had_content: bool) -> bool {
    !had_content
        && is_any(candidate.get(Key::FinishReasonOfGoogle), OF_CANDIDATES)
        && candidate.at(&[Key::Content, Key::Parts]).is_empty()
}

/// Returns whether an answer without choices gives such a reason.
pub(super) fn is_answer_broken_off(reason: View<'_>) -> bool {
    is_any(reason, OF_ANSWERS)
}

fn is_any(reason: View<'_>, table: &[&str]) -> bool {
    reason.is_text() && table.iter().any(|known| reason.is(known))
}
