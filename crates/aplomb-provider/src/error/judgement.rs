//! What an answer was judged to be.

use std::fmt;

use aplomb_core::{Outcome, Scope};

use crate::Reason;

/// The longest message that is kept, in characters.
const MAX_MESSAGE: usize = 300;

/// What an answer was judged to be: the outcome that layers act on, the reason, and what the
/// provider said.
///
/// `Debug` and `Display` leave the message out, since a provider's message may repeat parts of the
/// request: log [`message`](Self::message) on purpose, or not at all.
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Judgement {
    outcome: Outcome,
    reason: Reason,
    message: Option<Box<str>>,
}

impl Judgement {
    /// Judged so, for this reason.
    pub const fn new(outcome: Outcome, reason: Reason) -> Self {
        Self { outcome, reason, message: None }
    }

    /// Answered, and nothing about it says otherwise.
    pub const fn answered() -> Self {
        Self::new(Outcome::success(), Reason::Answered)
    }

    /// The answer ended before its end.
    pub const fn truncated() -> Self {
        Self::new(Outcome::transient().with_scope(Scope::Server), Reason::Truncated)
    }

    /// Keeps what the provider said: the first 300 characters.
    pub fn with_message(mut self, message: &str) -> Self {
        let message = message.trim();
        let end = message.char_indices().nth(MAX_MESSAGE);
        let kept = end.map_or(message, |(at, _)| &message[..at]);
        self.message = (!kept.is_empty()).then(|| kept.into());
        self
    }

    /// What the attempt came to.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Why.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// What the provider said, at most 300 characters of it. It may repeat parts of the request.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl fmt::Debug for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judgement")
            .field("outcome", &self.outcome)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.outcome, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_characters_and_kept_out_of_debug() {
        let long = "ß".repeat(1_000);
        let judgement = Judgement::answered().with_message(&long);
        assert_eq!(judgement.message().unwrap().chars().count(), MAX_MESSAGE);
        assert!(!format!("{judgement:?} {judgement}").contains('ß'));
        assert_eq!(Judgement::answered().with_message("  ").message(), None);
    }
}
