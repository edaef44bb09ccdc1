//! How much a mock tells about its limits.

/// How much a mock tells about its limits and about when to come back.
///
/// Real endpoints sometimes leave hints out, and a client has to cope.
/// A `retry-after` planned with [`Fault::UnavailableFor`](crate::Fault::UnavailableFor) is always sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hints {
    /// Everything a provider sends: limit headers on every answer, and on a 429 `retry-after`. OpenAI's API also sends
    /// `retry-after-ms`, and the delay in the message. The default.
    #[default]
    All,
    /// Only `retry-after` on a 429, in whole seconds. No limit headers.
    RetryAfter,
    /// Only OpenAI's "Please try again in …" in the message. Anthropic has no such text.
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
