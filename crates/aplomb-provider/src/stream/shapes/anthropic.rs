//! Anthropic's messages.

use super::{Said, TellContent, tell_text, whole_text};
use crate::json::{Key, View};

/// An event of messages, or a whole one.
pub(super) fn messages(kind: &str, value: View<'_>, tell: TellContent<'_>) -> Option<Said> {
    match kind {
        "ping" => return Some(Said::Ping),
        "message_stop" => return Some(Said::Done),
        "message_start" | "message_delta" | "content_block_stop" => {}
        "content_block_start" => tell_text(value.at(&[Key::ContentBlock, Key::Text]).text(), tell),
        "content_block_delta" => tell(value.at(&[Key::Delta, Key::Text]).text()),
        "message" => tell(whole_text(value)),
        _ => return None,
    }
    Some(Said::PART)
}
