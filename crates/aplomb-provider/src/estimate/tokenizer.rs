//! How many tokens a text comes to.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Counts the tokens of texts.
///
/// A closure becomes one with [`tokenizer`].
pub trait Tokenizer: fmt::Debug + Send + Sync {
    /// The tokens of `text`: one of the pieces a prompt is made of.
    fn tokens(&self, text: &str) -> u64;
}

/// So many characters to a token, rounded up: 4 unless set.
///
/// Four are near for English, and few for code and most other scripts: Chinese comes to one or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CharactersPerToken(NonZeroU32);

impl CharactersPerToken {
    /// So many characters to a token.
    #[must_use]
    pub const fn new(characters: NonZeroU32) -> Self {
        Self(characters)
    }
}

impl Default for CharactersPerToken {
    fn default() -> Self {
        Self(NonZeroU32::MIN.saturating_add(3))
    }
}

impl Tokenizer for CharactersPerToken {
    fn tokens(&self, text: &str) -> u64 {
        let characters = text.chars().count();
        u64::try_from(characters).unwrap_or(u64::MAX).div_ceil(self.0.get().into())
    }
}

/// Makes a tokenizer of a closure.
///
/// # Examples
///
/// ```
/// use aplomb_provider::{Generic, Provider, tokenizer};
///
/// let words = tokenizer(|text: &str| text.split_whitespace().count() as u64);
/// let estimate = Generic.estimate_with(br#"{"prompt": "one two three"}"#, &words);
/// assert_eq!(estimate.input(), 3);
/// ```
pub const fn tokenizer<F: Fn(&str) -> u64 + Send + Sync>(count: F) -> TokenizerFn<F> {
    TokenizerFn(count)
}

/// A closure that counts tokens. Made by [`tokenizer`].
#[derive(Clone, Copy)]
pub struct TokenizerFn<F>(F);

impl<F: Fn(&str) -> u64 + Send + Sync> Tokenizer for TokenizerFn<F> {
    fn tokens(&self, text: &str) -> u64 {
        (self.0)(text)
    }
}

impl<F> fmt::Debug for TokenizerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenizerFn").finish_non_exhaustive()
    }
}

impl<T: Tokenizer + ?Sized> Tokenizer for Arc<T> {
    fn tokens(&self, text: &str) -> u64 {
        (**self).tokens(text)
    }
}
