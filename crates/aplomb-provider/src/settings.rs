//! How responses are read, as far as it can be set.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use aplomb_core::Reason;

use crate::Tokenizer;
use crate::estimate::CharactersPerToken;

/// How responses are read, where there is more than one interpretation.
///
/// Apply them with [`Tuned`](crate::Tuned). Clones share the codes and the tokenizer.
///
/// # Examples
///
/// ```
/// use aplomb_provider::{DailyQuota, Gemini, Settings, Tuned};
/// use aplomb_core::Reason;
///
/// let settings = Settings::new()
///     .daily_quota(DailyQuota::FollowHint)
///     .code("tenant_asleep", Reason::Overloaded);
/// let gemini = Tuned::new(Gemini, settings);
/// # drop(gemini);
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Settings {
    daily_quota: DailyQuota,
    ignores_text: bool,
    ignores_should_retry: bool,
    /// Shared, because every stream reader has a clone.
    codes: Option<Arc<Vec<OwnCode>>>,
    tokenizer: Option<Arc<dyn Tokenizer>>,
}

/// A code in lower case and its meaning.
type OwnCode = (Box<str>, Reason);

/// The meaning of an exhausted daily quota when the server names a short delay anyway.
///
/// Google does: its `RetryInfo` says 36 s when the day's requests are used up. Google's command line client
/// gives up at once; others found that some quota had often been freed by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DailyQuota {
    /// Exhausted: nothing is sent for a long time. The default.
    #[default]
    GiveUp,
    /// Throttled until the delay is over; exhausted if no delay is named.
    FollowHint,
}

impl Settings {
    /// The defaults: an exhausted daily quota is final, messages are read, `x-should-retry` is obeyed, no
    /// additional codes, four characters per token.
    pub const fn new() -> Self {
        Self {
            daily_quota: DailyQuota::GiveUp,
            ignores_text: false,
            ignores_should_retry: false,
            codes: None,
            tokenizer: None,
        }
    }

    /// Sets the meaning of an exhausted daily quota. Default: [`DailyQuota::GiveUp`].
    pub const fn daily_quota(mut self, daily_quota: DailyQuota) -> Self {
        self.daily_quota = daily_quota;
        self
    }

    /// Sets whether error messages are read: for delays, and for what the provider has no code for. Default:
    /// `true`.
    pub const fn text(mut self, text: bool) -> Self {
        self.ignores_text = !text;
        self
    }

    /// Sets whether `x-should-retry` is obeyed. Default: `true`.
    pub const fn should_retry(mut self, should_retry: bool) -> Self {
        self.ignores_should_retry = !should_retry;
        self
    }

    /// Adds an error code, in any case, and its meaning. It takes precedence over the built-in codes.
    pub fn code(mut self, code: &str, reason: Reason) -> Self {
        let codes = Arc::make_mut(self.codes.get_or_insert_default());
        codes.push((code.to_ascii_lowercase().into(), reason));
        self
    }

    /// Sets the tokenizer for estimates. Default: four [characters per token](Self::characters_per_token).
    pub fn tokenizer(mut self, tokenizer: impl Tokenizer + 'static) -> Self {
        self.tokenizer = Some(Arc::new(tokenizer));
        self
    }

    /// Estimates one token for this many characters, rounded up. Default: 4, which is close for English and too many for code
    /// and most other scripts: Chinese has one or two characters per token.
    pub fn characters_per_token(self, characters: NonZeroU32) -> Self {
        self.tokenizer(CharactersPerToken::new(characters))
    }

    pub(crate) fn follows_daily_hints(&self) -> bool {
        self.daily_quota == DailyQuota::FollowHint
    }

    pub(crate) const fn reads_text(&self) -> bool {
        !self.ignores_text
    }

    pub(crate) const fn obeys_should_retry(&self) -> bool {
        !self.ignores_should_retry
    }

    pub(crate) fn own_tokenizer(&self) -> Option<&dyn Tokenizer> {
        self.tokenizer.as_deref()
    }

    /// The user's meaning of a code in lower case.
    pub(crate) fn own_code(&self, code: &str) -> Option<Reason> {
        let (_, reason) = self.codes.as_ref()?.iter().find(|(known, _)| **known == *code)?;
        Some(*reason)
    }
}

/// Without the tokenizer, which may be a closure.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("daily_quota", &self.daily_quota)
            .field("text", &!self.ignores_text)
            .field("should_retry", &!self.ignores_should_retry)
            .field("codes", &self.codes)
            .finish_non_exhaustive()
    }
}
