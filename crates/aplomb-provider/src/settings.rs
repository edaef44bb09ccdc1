//! How responses are read, as far as it can be set.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use aplomb_core::{Dimension, Outcome, Reason, Usage};

use crate::estimate::CharactersPerToken;
use crate::rules::{CheckedRule, Told};
use crate::{InvalidRule, Rule, Tokenizer};

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
    rules: Option<Arc<[CheckedRule]>>,
    usage_paths: Option<Arc<Vec<UsagePath>>>,
    tokenizer: Option<Arc<dyn Tokenizer>>,
}

/// The tokens counted at a place, and the JSON pointer to it.
type UsagePath = (Dimension, Box<str>);

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
    /// additional codes, no rules, four characters per token.
    pub const fn new() -> Self {
        Self {
            daily_quota: DailyQuota::GiveUp,
            ignores_text: false,
            ignores_should_retry: false,
            codes: None,
            rules: None,
            usage_paths: None,
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

    /// Sets rules of one's own. The first one that a response meets counts.
    ///
    /// # Errors
    ///
    /// If a rule cannot be applied. The error names it.
    pub fn rules(mut self, rules: impl IntoIterator<Item = Rule>) -> Result<Self, InvalidRule> {
        let rules = rules.into_iter().map(CheckedRule::new).collect::<Result<Vec<_>, _>>()?;
        self.rules = (!rules.is_empty()).then(|| rules.into());
        Ok(self)
    }

    /// Adds a place where answers and events count tokens: the names of members, with dots between them, such as
    /// `stats.tokens.in`. [`INPUT_TOKENS`](Dimension::INPUT_TOKENS), [`OUTPUT_TOKENS`](Dimension::OUTPUT_TOKENS) and the total
    /// ([`TOKENS`](Dimension::TOKENS)) can be counted; other dimensions are ignored. What is found there takes precedence over the known
    /// places.
    pub fn usage_path(mut self, dimension: Dimension, path: &str) -> Self {
        let path = path.split('.').map(|name| name.replace('~', "~0").replace('/', "~1"));
        let pointer = path.fold(String::new(), |pointer, name| pointer + "/" + &name);
        let paths = Arc::make_mut(self.usage_paths.get_or_insert_default());
        paths.push((dimension, pointer.into()));
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

    pub(crate) const fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    pub(crate) const fn has_usage_paths(&self) -> bool {
        self.usage_paths.is_some()
    }

    /// The first rule that is met, applied to a response that was judged to be this without it.
    pub(crate) fn by_rules(&self, told: &Told<'_>, judged: (Outcome, Reason)) -> Option<(Outcome, Reason)> {
        let mut rules = self.rules.iter().flat_map(|rules| rules.iter());
        rules.find_map(|rule| Some(rule.means(judged, rule.met(told)?)))
    }

    /// The usage at the user's places in an answer or an event.
    pub(crate) fn own_usage(&self, answer: &[u8]) -> Option<Usage> {
        let paths = self.usage_paths.as_ref()?;
        let answer = serde_json::from_slice::<serde_json::Value>(answer).ok()?;
        let mut usage = None;
        for (dimension, path) in paths.iter() {
            let Some(count) = answer.pointer(path).and_then(serde_json::Value::as_u64) else {
                continue;
            };
            let so_far = usage.unwrap_or_default();
            usage = match *dimension {
                Dimension::INPUT_TOKENS => Some(Usage::with_input(so_far, count)),
                Dimension::OUTPUT_TOKENS => Some(Usage::with_output(so_far, count)),
                Dimension::TOKENS => Some(Usage::with_total(so_far, count)),
                _ => usage,
            };
        }
        usage
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
            .field("rules", &self.rules.as_ref().map_or(0, |rules| rules.len()))
            .finish_non_exhaustive()
    }
}
