//! Cohere's chat: typed events in version 2, lines of JSON in version 1.

use serde_json::Value;

use super::{Said, TellContent, take, tell_text};

/// An event of either version.
pub(super) fn chat(kind: &str, value: &mut Value, tell: TellContent<'_>) -> Option<Said> {
    match kind {
        "message-end" => return Some(Said::Done),
        "message-start" | "content-end" | "tool-call-end" | "citation-start" | "citation-end" => {}
        "content-start" => tell_text(take(value, "/delta/message/content/text"), tell),
        "content-delta" => tell(take(value, "/delta/message/content/text")),
        "tool-plan-delta" | "tool-call-start" | "tool-call-delta" => tell(None),
        _ => return first_version(value, tell),
    }
    Some(Said::PART)
}

fn first_version(value: &mut Value, tell: TellContent<'_>) -> Option<Said> {
    match value["event_type"].as_str()? {
        "stream-end" => return Some(Said::Done),
        "text-generation" => tell(take(value, "/text")),
        "tool-calls-generation" | "tool-calls-chunk" => tell(None),
        "stream-start" | "search-queries-generation" | "search-results" | "citation-generation" => {}
        _ => return None,
    }
    Some(Said::Unmarked { is_finished: false })
}
