//! How much a refused client is told.

/// What a mock says about its limits and about when to come back.
///
/// Real endpoints leave hints out, now and then; a client must do without.
/// A `retry-after` planned with [`Fault::UnavailableFor`](crate::Fault::UnavailableFor) is always sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hints {
    /// All a provider sends: limit headers on every answer; on a 429 `retry-after`, and from OpenAI also `retry-after-ms` and
    /// the delay in the message. The default.
    #[default]
    All,
    /// On a 429 only `retry-after`, in whole seconds; no limit headers at all.
    RetryAfter,
    /// Only OpenAI's "Please try again in …" in the message; Anthropic has no such text.
    Text,
    /// Nothing.
    None,
}

impl Hints {
    pub(crate) fn levels(self) -> bool {
        self == Self::All
    }

    pub(crate) fn retry_after(self) -> bool {
        matches!(self, Self::All | Self::RetryAfter)
    }

    pub(crate) fn text(self) -> bool {
        matches!(self, Self::All | Self::Text)
    }
}
