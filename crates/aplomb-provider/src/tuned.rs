//! A provider with settings.

use aplomb_core::{Classification, Reading, Usage};

use crate::{Accounting, AnyReader, Estimate, Head, Provider, Settings, StreamEnd, StreamReader, Tokenizer};

/// A provider that reads responses with [`Settings`] other than the defaults.
#[derive(Clone, Debug, Default)]
pub struct Tuned<P> {
    provider: P,
    settings: Settings,
}

impl<P: Provider> Tuned<P> {
    /// Makes `provider` read with `settings`.
    #[must_use]
    pub const fn new(provider: P, settings: Settings) -> Self {
        Self { provider, settings }
    }
}

#[warn(
    clippy::missing_trait_methods,
    reason = "a default would hide the inner provider's own method"
)]
impl<P: Provider> Provider for Tuned<P> {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn judge(&self, head: &Head<'_>, body: &[u8]) -> Classification {
        self.provider.judge(&head.with_settings(&self.settings), body)
    }

    fn judges_success(&self) -> bool {
        // A rule may be met by a success.
        self.settings.has_rules() || self.provider.judges_success()
    }

    fn limits(&self, head: &Head<'_>) -> Vec<Reading> {
        self.provider.limits(&head.with_settings(&self.settings))
    }

    fn usage(&self, head: &Head<'_>, body: &[u8]) -> Option<Usage> {
        self.provider.usage(&head.with_settings(&self.settings), body)
    }

    fn stream(&self, head: &Head<'_>) -> Box<dyn StreamReader> {
        self.provider.stream(&head.with_settings(&self.settings))
    }

    fn reader(&self, head: &Head<'_>) -> AnyReader {
        self.provider.reader(&head.with_settings(&self.settings))
    }

    fn ending(&self, head: &Head<'_>, body: &[u8]) -> StreamEnd {
        self.provider.ending(&head.with_settings(&self.settings), body)
    }

    fn text(&self, head: &Head<'_>, body: &[u8]) -> Option<String> {
        self.provider.text(&head.with_settings(&self.settings), body)
    }

    fn estimate(&self, path: &str, body: &[u8], tokenizer: Option<&dyn Tokenizer>) -> Estimate {
        self.provider.estimate(path, body, tokenizer.or(self.settings.own_tokenizer()))
    }

    fn include_usage(&self, path: &str, body: &[u8]) -> Option<Vec<u8>> {
        self.provider.include_usage(path, body)
    }

    fn accounting(&self) -> Accounting {
        self.provider.accounting()
    }
}
