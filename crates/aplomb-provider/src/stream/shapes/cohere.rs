//! Cohere's chat: typed events in version 2, lines of JSON in version 1.

use super::{Said, TellContent, tell_text};
use crate::json::{Key, View};

const TEXT: &[Key] = &[Key::Delta, Key::Message, Key::Content, Key::Text];

/// An event of either version.
pub(super) fn chat(kind: &str, value: View<'_>, tell: TellContent<'_>) -> Option<Said> {
    match kind {
        "message-end" => return Some(Said::Done),
        "message-start" | "content-end" | "tool-call-end" | "citation-start" | "citation-end" => {}
        "content-start" => tell_text(value.at(TEXT).text(), tell),
        "content-delta" => tell(value.at(TEXT).text()),
        "tool-plan-delta" | "tool-call-start" | "tool-call-delta" => tell(None),
        _ => return first_version(value, tell),
    }
    Some(Said::PART)
}

fn first_version(value: View<'_>, tell: TellContent<'_>) -> Option<Said> {
    match &*value.get(Key::EventType).text()?.read() {
        "stream-end" => return Some(Said::Done),
        "text-generation" => tell(value.get(Key::Text).text()),
        "tool-calls-generation" | "tool-calls-chunk" => tell(None),
        "stream-start" | "search-queries-generation" | "search-results" | "citation-generation" => {}
        _ => return None,
    }
    Some(Said::Unmarked { is_finished: false })
}
