//! Anthropic's messages.

use serde_json::Value;

use super::{Said, TellContent, take, tell_text, whole_text};

/// An event of messages, or a whole one.
pub(super) fn messages(kind: &str, value: &mut Value, tell: TellContent<'_>) -> Option<Said> {
    match kind {
        "ping" => return Some(Said::Ping),
        "message_stop" => return Some(Said::Done),
        "message_start" | "message_delta" | "content_block_stop" => {}
        "content_block_start" => tell_text(take(value, "/content_block/text"), tell),
        "content_block_delta" => tell(take(value, "/delta/text")),
        "message" => tell(whole_text(value)),
        _ => return None,
    }
    Some(Said::PART)
}
