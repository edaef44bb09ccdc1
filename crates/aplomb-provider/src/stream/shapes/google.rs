//! Gemini's candidates, at both of Google's hosts. The last chunk says why it is the last; there is no
//! other marker.

use super::{Said, TellContent};
use crate::Text;
use crate::json::{Key, View};

/// A chunk, or a whole answer.
pub(super) fn candidates(value: View<'_>, tell: TellContent<'_>) -> Option<Said> {
    let was_blocked = !value.at(&[Key::PromptFeedback, Key::BlockReason]).is_null();
    let candidates = value.get(Key::Candidates);
    if !candidates.is_list() && !was_blocked && !value.get(Key::UsageMetadata).is_there() {
        return None;
    }
    let mut is_finished = was_blocked;
    for (index, candidate) in candidates.items().enumerate() {
        let parts = candidate.at(&[Key::Content, Key::Parts]);
        if parts.items().any(says) {
            is_finished = false;
            tell(text(parts).filter(|_| index == 0));
        }
        is_finished |= !candidate.get(Key::FinishReasonOfGoogle).is_null();
    }
    Some(Said::Unmarked { is_finished })
}

fn says(part: View<'_>) -> bool {
    !part.get(Key::Text).is("") && part.is_object() && !part.is_empty()
}

/// The texts of the parts that are no thoughts.
pub(super) fn text(parts: View<'_>) -> Option<Text<'_>> {
    let spoken = parts.items().filter(|part| part.get(Key::Thought).as_bool() != Some(true));
    let texts = spoken.filter_map(|part| part.get(Key::Text).text()).filter(|text| !text.is_empty());
    texts.reduce(Text::and)
}
