//! How many tokens a text has.

use std::num::NonZeroU32;

use crate::json::{Kind, Text, count_characters};

/// Counts the tokens of texts. Closures `Fn(&str) -> u64` are tokenizers.
///
/// # Examples
///
/// ```
/// use aplomb_provider::{Generic, Provider};
///
/// let words = |text: &str| text.split_whitespace().count() as u64;
/// let estimate = Generic.estimate("/v1/completions", br#"{"prompt": "one two three"}"#, Some(&words));
/// assert_eq!(estimate.input(), 3);
/// ```
pub trait Tokenizer: Send + Sync {
    /// Returns the number of tokens of `text`, one of the pieces that a prompt consists of.
    fn tokens(&self, text: &str) -> u64;
}

impl<F: Fn(&str) -> u64 + Send + Sync> Tokenizer for F {
    fn tokens(&self, text: &str) -> u64 {
        self(text)
    }
}

/// A fixed number of characters per token, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CharactersPerToken(NonZeroU32);

impl CharactersPerToken {
    pub(super) const FOUR: Self = Self(NonZeroU32::MIN.saturating_add(3));

    /// One token for this many characters.
    pub(crate) const fn new(characters: NonZeroU32) -> Self {
        Self(characters)
    }

    fn of_characters(self, characters: usize) -> u64 {
        u64::try_from(characters).unwrap_or(u64::MAX).div_ceil(self.0.get().into())
    }
}

impl Tokenizer for CharactersPerToken {
    fn tokens(&self, text: &str) -> u64 {
        self.of_characters(text.chars().count())
    }
}

/// Counts the tokens of strings as they are written in JSON.
#[derive(Clone, Copy)]
pub(super) enum Counter<'a> {
    /// Characters can be counted without decoding the string.
    Characters(CharactersPerToken),
    Custom(&'a dyn Tokenizer),
}

impl Counter<'_> {
    /// The tokens of a valid string without its quotes.
    pub(super) fn tokens(self, kind: Kind, raw: &[u8]) -> u64 {
        match self {
            Self::Characters(each) => each.of_characters(count_characters(kind, raw)),
            Self::Custom(tokenizer) => tokenizer.tokens(&Text::written(raw).read()),
        }
    }
}
