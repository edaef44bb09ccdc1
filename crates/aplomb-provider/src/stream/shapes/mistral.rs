//! Mistral's conversations. Its chat is OpenAI's.

use super::{Said, TellContent, parts};
use crate::json::{Key, View};

/// An event of a conversation.
pub(super) fn conversation(kind: &str, value: View<'_>, tell: TellContent<'_>) -> Option<Said> {
    match kind {
        "conversation.response.done" => return Some(Said::Done),
        "conversation.response.started" => {}
        "message.output.delta" => {
            let content = value.get(Key::Content);
            tell(parts(content).or_else(|| content.get(Key::Text).text()));
        }
        "function.call.delta" => tell(None),
        _ if kind.starts_with("tool.execution.") || kind.starts_with("agent.handoff.") => tell(None),
        _ => return None,
    }
    Some(Said::PART)
}
