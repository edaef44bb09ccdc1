//! What can be set about how responses are read.

use std::sync::Arc;

use crate::estimate::{CharactersPerToken, Tokenizer};
use crate::{Head, Judgement, Provider, Reason};

/// How responses are read, where that can be seen in more than one way.
///
/// A [`Tuned`] provider reads with them. Clones share the codes and the tokenizer.
///
/// # Examples
///
/// ```
/// use aplomb_provider::{DailyQuota, Gemini, Reason, Settings, Tuned};
///
/// let settings = Settings::new()
///     .daily_quota(DailyQuota::FollowHint)
///     .code("tenant_asleep", Reason::Overloaded);
/// let gemini = Tuned::new(Gemini, settings);
/// # drop(gemini);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Settings {
    daily_quota: DailyQuota,
    ignores_text: bool,
    ignores_should_retry: bool,
    /// Shared, since every reader of a stream has a clone.
    codes: Option<Arc<Vec<OwnCode>>>,
    tokenizer: Option<Arc<dyn Tokenizer>>,
}

/// A code in lower case, and what it means.
type OwnCode = (Box<str>, Reason);

/// What a used-up quota per day comes to, where the server names a short delay all the same.
///
/// Google's does: its `RetryInfo` says 36 s when the day's requests are gone. Its own command line
/// client gives up at once; others found that the quota often had been freed by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DailyQuota {
    /// Exhausted: nothing more is sent for long. The default.
    #[default]
    GiveUp,
    /// Throttled until the delay has passed; exhausted where none is named.
    FollowHint,
}

impl Settings {
    /// The defaults: a used-up day is exhausted, texts are read for delays, `x-should-retry` is
    /// believed, no codes of one's own, a token for four characters.
    pub const fn new() -> Self {
        Self {
            daily_quota: DailyQuota::GiveUp,
            ignores_text: false,
            ignores_should_retry: false,
            codes: None,
            tokenizer: None,
        }
    }

    /// Sets what a used-up quota per day comes to.
    pub const fn daily_quota(mut self, daily_quota: DailyQuota) -> Self {
        self.daily_quota = daily_quota;
        self
    }

    /// Sets whether messages are read at all: for delays, and for what a provider has no code for.
    pub const fn text(mut self, text: bool) -> Self {
        self.ignores_text = !text;
        self
    }

    /// Sets whether the server's `x-should-retry` has the last word.
    pub const fn should_retry(mut self, should_retry: bool) -> Self {
        self.ignores_should_retry = !should_retry;
        self
    }

    /// Adds an error code, in any case, and what it means. It goes before all others.
    pub fn code(mut self, code: &str, reason: Reason) -> Self {
        let codes = Arc::make_mut(self.codes.get_or_insert_default());
        codes.push((code.to_ascii_lowercase().into(), reason));
        self
    }

    /// Sets what counts the tokens of a text, for estimates.
    pub fn tokenizer(mut self, tokenizer: impl Tokenizer + 'static) -> Self {
        self.tokenizer = Some(Arc::new(tokenizer));
        self
    }

    pub(crate) fn follows_daily_hints(&self) -> bool {
        self.daily_quota == DailyQuota::FollowHint
    }

    pub(crate) const fn reads_text(&self) -> bool {
        !self.ignores_text
    }

    pub(crate) const fn believes_should_retry(&self) -> bool {
        !self.ignores_should_retry
    }

    /// What a code in lower case means to the user.
    pub(crate) fn known(&self, code: &str) -> Option<Reason> {
        let known = self.codes.iter().flat_map(|codes| codes.iter()).find(|(known, _)| **known == *code);
        known.map(|&(_, reason)| reason)
    }
}

/// A provider that reads with [`Settings`] of its own.
#[derive(Clone, Debug, Default)]
pub struct Tuned<P> {
    provider: P,
    settings: Settings,
}

impl<P: Provider> Tuned<P> {
    /// Lets `provider` read with `settings`.
    #[must_use]
    pub const fn new(provider: P, settings: Settings) -> Self {
        Self { provider, settings }
    }
}

impl<P: Provider> Provider for Tuned<P> {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn judge(&self, head: &Head<'_>, body: &[u8]) -> Judgement {
        self.provider.judge(&head.with_settings(&self.settings), body)
    }

    fn limits(&self, head: &Head<'_>) -> Vec<aplomb_core::Reading> {
        self.provider.limits(&head.with_settings(&self.settings))
    }

    fn usage(&self, head: &Head<'_>, body: &[u8]) -> Option<aplomb_core::Usage> {
        self.provider.usage(&head.with_settings(&self.settings), body)
    }

    fn stream(&self, head: &Head<'_>) -> Box<dyn crate::StreamReader> {
        self.provider.stream(&head.with_settings(&self.settings))
    }

    fn whole(&self, head: &Head<'_>, body: &[u8]) -> crate::StreamEnd {
        self.provider.whole(&head.with_settings(&self.settings), body)
    }

    fn text(&self, head: &Head<'_>, body: &[u8]) -> Option<String> {
        self.provider.text(&head.with_settings(&self.settings), body)
    }

    fn estimate(&self, body: &[u8]) -> crate::Estimate {
        match &self.settings.tokenizer {
            Some(tokenizer) => self.provider.estimate_with(body, tokenizer),
            None => self.provider.estimate_with(body, &CharactersPerToken::default()),
        }
    }

    fn ask_for_usage(&self, path: &str, body: &[u8]) -> Option<Vec<u8>> {
        self.provider.ask_for_usage(path, body)
    }

    fn estimate_with(&self, body: &[u8], tokenizer: &dyn Tokenizer) -> crate::Estimate {
        self.provider.estimate_with(body, tokenizer)
    }

    fn accounting(&self) -> crate::Accounting {
        self.provider.accounting()
    }
}
