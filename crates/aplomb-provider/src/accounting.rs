//! How tokens count against quotas.

use aplomb_core::Usage;

use crate::Estimate;

/// How a provider counts tokens against its quotas: what it charges when a request arrives, how it counts the
/// usage, and whether it corrects the charge.
///
/// | | charged on arrival | afterwards |
/// | --- | --- | --- |
/// | OpenAI | the larger of prompt and `max_tokens` | unchanged |
/// | Azure, Groq, Cerebras | prompt and `max_tokens` | unchanged |
/// | Bedrock | prompt and `max_tokens` | corrected to the usage |
/// | Anthropic | prompt | corrected; output counts as it is produced, cached input does not |
/// | Gemini | prompt | output does not count |
/// | all others | prompt and `max_tokens` | usage beyond that is added |
///
/// # Examples
///
/// ```
/// use aplomb_provider::{Estimate, OpenAi, Provider};
///
/// let reserved = OpenAi.accounting().reserved(&Estimate::new(200, Some(1_000)));
/// assert_eq!(reserved.total(), 1_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Accounting {
    output: Output,
    expected_output: u64,
    max_output: u64,
    output_weight: u64,
    cached_counts: bool,
    correction: Correction,
}

/// How the output is charged on arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// The larger of the prompt and the maximum output is charged.
    Larger,
    /// The maximum output is charged besides the prompt.
    Maximum,
    /// Output counts as it is produced.
    Produced,
    /// Output does not count.
    Free,
}

/// How a charge is corrected once the usage is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Correction {
    /// Not at all: the provider keeps what it charged.
    None,
    /// In both directions: a surplus is refunded, a debt is added.
    Both,
    /// A debt is added and nothing is refunded: safe for unknown providers.
    DebtOnly,
}

/// Tokens as they count against quotas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    input: u64,
    output: u64,
}

/// The expected output of a request without a maximum, or whose maximum does not count: a page and a half of text.
const EXPECTED_OUTPUT: u64 = 1_000;

impl Accounting {
    const fn new(output: Output, correction: Correction) -> Self {
        Self {
            output,
            expected_output: EXPECTED_OUTPUT,
            max_output: u64::MAX,
            output_weight: 1,
            cached_counts: true,
            correction,
        }
    }

    /// For unknown providers: prompt and maximum output are charged on arrival, debts are added.
    pub const fn unknown() -> Self {
        Self::new(Output::Maximum, Correction::DebtOnly)
    }

    /// Prompt and maximum output are charged on arrival, without a correction.
    pub const fn upfront() -> Self {
        Self::new(Output::Maximum, Correction::None)
    }

    /// The larger of prompt and maximum output is charged on arrival, without a correction.
    pub const fn larger_upfront() -> Self {
        Self::new(Output::Larger, Correction::None)
    }

    /// Prompt and maximum output are charged on arrival, and corrected to the usage.
    pub const fn reserved_then_corrected() -> Self {
        Self::new(Output::Maximum, Correction::Both)
    }

    /// Output counts as it is produced, whatever the maximum.
    pub const fn as_produced() -> Self {
        Self::new(Output::Produced, Correction::Both)
    }

    /// Output does not count.
    pub const fn input_only() -> Self {
        Self::new(Output::Free, Correction::DebtOnly)
    }

    /// Sets whether input that was read from a cache counts. Default: `true`.
    pub const fn cached_counts(mut self, counts: bool) -> Self {
        self.cached_counts = counts;
        self
    }

    /// Sets the expected output, in tokens, of a request without a maximum or whose maximum does not count. Default:
    /// 1,000.
    pub const fn expected_output(mut self, tokens: u64) -> Self {
        self.expected_output = tokens;
        self
    }

    /// Sets the maximum that is charged on arrival for the output of a request, in tokens. Default: unbounded.
    pub const fn max_output(mut self, tokens: u64) -> Self {
        self.max_output = tokens;
        self
    }

    /// Sets how many tokens of quota one output token costs. Default: 1. Bedrock counts output of some Claude models
    /// five times.
    pub const fn output_weight(mut self, weight: u64) -> Self {
        self.output_weight = weight;
        self
    }

    /// How the charge is corrected once the usage is known.
    pub const fn correction(&self) -> Correction {
        self.correction
    }

    /// The charge of a request on arrival.
    #[must_use]
    pub fn reserved(&self, estimate: &Estimate) -> Tokens {
        let input = estimate.input();
        let bound = estimate.output();
        let output = match self.output {
            Output::Larger => bound.unwrap_or(0).saturating_sub(input),
            Output::Maximum => bound.unwrap_or(self.expected_output),
            Output::Produced => bound.unwrap_or(u64::MAX).min(self.expected_output),
            Output::Free => 0,
        };
        Tokens { input, output: output.min(self.max_output) }
    }

    /// The part of a usage that counts against quotas. What was not reported stays unknown, so that nothing is
    /// refunded for it.
    #[must_use]
    pub fn counted(&self, usage: &Usage) -> Usage {
        let used = self.used(usage);
        let input = usage.input().map_or(Usage::unknown(), |_| Usage::unknown().with_input(used.input));
        match (usage.output(), self.output) {
            (None, Output::Free) | (Some(_), _) => input.with_output(used.output),
            (None, _) => match usage.total() {
                Some(total) => input.with_total(total),
                None => input,
            },
        }
    }

    /// The tokens of a usage that count against quotas. What was not reported counts as zero.
    #[must_use]
    pub fn used(&self, usage: &Usage) -> Tokens {
        let cached = if self.cached_counts {
            0
        } else {
            usage.cached_input().unwrap_or(0)
        };
        let input = usage.input().unwrap_or(0).saturating_sub(cached);
        let output = usage.output().unwrap_or(0).saturating_mul(self.output_weight);
        let output = if self.output == Output::Free { 0 } else { output };
        Tokens { input, output }
    }
}

impl Tokens {
    /// Input tokens.
    pub const fn input(&self) -> u64 {
        self.input
    }

    /// Output tokens.
    pub const fn output(&self) -> u64 {
        self.output
    }

    /// Input and output tokens together.
    pub const fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_on_arrival() {
        let (bounded, open) = (Estimate::new(200, Some(5_000)), Estimate::new(200, None));
        for (accounting, of_bounded, of_open) in [
            (Accounting::larger_upfront(), 5_000, 200),
            (Accounting::upfront(), 5_200, 1_200),
            (Accounting::upfront().max_output(3_000), 3_200, 1_200),
            (Accounting::reserved_then_corrected(), 5_200, 1_200),
            (Accounting::as_produced(), 1_200, 1_200),
            (Accounting::as_produced().expected_output(50), 250, 250),
            (Accounting::input_only(), 200, 200),
            (Accounting::unknown(), 5_200, 1_200),
        ] {
            assert_eq!(accounting.reserved(&bounded).total(), of_bounded, "{accounting:?}");
            assert_eq!(accounting.reserved(&open).total(), of_open, "{accounting:?}");
        }
        let long_prompt = Estimate::new(9_000, Some(100));
        assert_eq!(Accounting::larger_upfront().reserved(&long_prompt).total(), 9_000);
    }

    #[test]
    fn usage_that_counts() {
        let usage = Usage::unknown().with_input(1_000).with_cached_input(900).with_output(50);
        let used = |accounting: Accounting| {
            let tokens = accounting.used(&usage);
            (tokens.input(), tokens.output())
        };
        assert_eq!(used(Accounting::unknown()), (1_000, 50));
        assert_eq!(used(Accounting::as_produced().cached_counts(false)), (100, 50));
        assert_eq!(used(Accounting::reserved_then_corrected().output_weight(5)), (1_000, 250));
        assert_eq!(used(Accounting::input_only()), (1_000, 0));
        assert_eq!(Accounting::unknown().used(&Usage::unknown()), Tokens::default());
    }

    #[test]
    fn unreported_usage_stays_unknown() {
        let produced = Accounting::as_produced().cached_counts(false);
        let begun = Usage::unknown().with_input(1_000).with_cached_input(900);
        assert_eq!(produced.counted(&begun), Usage::unknown().with_input(100));
        assert_eq!(produced.counted(&begun.with_output(7)).total(), Some(107));
        assert_eq!(Accounting::input_only().counted(&begun).total(), Some(1_000));
        let sum = Usage::unknown().with_total(12);
        assert_eq!(Accounting::unknown().counted(&sum).total(), Some(12));
        assert_eq!(produced.counted(&Usage::unknown()), Usage::unknown());
    }
}
