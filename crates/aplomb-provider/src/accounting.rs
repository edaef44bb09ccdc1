//! What counts against which quota.

use aplomb_core::Usage;

use crate::Estimate;

/// How a provider counts tokens against its quotas: what it reserves when a request arrives, what an
/// answer comes to, and what becomes of the difference.
///
/// | | reserved on arrival | afterwards |
/// | --- | --- | --- |
/// | OpenAI | the larger of prompt and `max_tokens` | stays |
/// | Azure, Groq, Cerebras | prompt and `max_tokens` | stays |
/// | Bedrock | prompt and `max_tokens` | corrected to what was used |
/// | Anthropic | prompt | corrected; output counts as it is produced, input from a cache does not |
/// | Gemini | prompt | output does not count |
/// | everybody else | prompt and `max_tokens` | what was used beyond is added |
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
    most_output: u64,
    output_weight: u64,
    cached_counts: bool,
    correction: Correction,
}

/// How output counts when a request arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// The larger of the prompt and the most output is charged.
    Larger,
    /// The most output is charged besides the prompt.
    Reserved,
    /// Output counts as it is produced.
    Produced,
    /// Output does not count.
    Free,
}

/// What becomes of the difference between what was reserved and what was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Correction {
    /// Nothing: the provider keeps what it has reserved.
    None,
    /// Both ways: a surplus comes back, a debt is added.
    Both,
    /// A debt is added, and nothing comes back: right with everybody whose ways are not known.
    DebtOnly,
}

/// Tokens as a quota counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    input: u64,
    output: u64,
}

/// What an answer is expected to come to where the request does not bound it, or where the bound does
/// not count: a page and a half of text.
const EXPECTED: u64 = 1_000;

impl Accounting {
    const fn new(output: Output, correction: Correction) -> Self {
        Self {
            output,
            expected_output: EXPECTED,
            most_output: u64::MAX,
            output_weight: 1,
            cached_counts: true,
            correction,
        }
    }

    /// For who is not known: prompt and most output are reserved, debts are added.
    pub const fn unknown() -> Self {
        Self::new(Output::Reserved, Correction::DebtOnly)
    }

    /// Prompt and most output are charged when the request arrives, and that is that.
    pub const fn upfront() -> Self {
        Self::new(Output::Reserved, Correction::None)
    }

    /// The larger of prompt and most output is charged when the request arrives, and that is that.
    pub const fn larger_upfront() -> Self {
        Self::new(Output::Larger, Correction::None)
    }

    /// Prompt and most output are reserved, and corrected to what was used.
    pub const fn reserved_then_corrected() -> Self {
        Self::new(Output::Reserved, Correction::Both)
    }

    /// Output counts as it is produced, whatever the request allows.
    pub const fn as_produced() -> Self {
        Self::new(Output::Produced, Correction::Both)
    }

    /// Output does not count.
    pub const fn input_only() -> Self {
        Self::new(Output::Free, Correction::DebtOnly)
    }

    /// Sets whether input that was read from a cache counts. It does unless set.
    pub const fn cached_counts(mut self, counts: bool) -> Self {
        self.cached_counts = counts;
        self
    }

    /// Sets what an answer is expected to come to, in tokens, where the request does not bound it or
    /// the bound does not count. 1,000 unless set.
    pub const fn expected_output(mut self, tokens: u64) -> Self {
        self.expected_output = tokens;
        self
    }

    /// Sets the most that is reserved for the output of one request, in tokens. Not bounded unless set.
    pub const fn most_output(mut self, tokens: u64) -> Self {
        self.most_output = tokens;
        self
    }

    /// Sets how many tokens of quota one token of output comes to. 1 unless set; Bedrock counts those
    /// of some Claude models five times.
    pub const fn output_weight(mut self, weight: u64) -> Self {
        self.output_weight = weight;
        self
    }

    /// What becomes of the difference between [`reserved`](Self::reserved) and [`used`](Self::used).
    pub const fn correction(&self) -> Correction {
        self.correction
    }

    /// What a request is charged before it is answered.
    #[must_use]
    pub fn reserved(&self, estimate: &Estimate) -> Tokens {
        let input = estimate.input();
        let bound = estimate.output();
        let output = match self.output {
            Output::Larger => bound.unwrap_or(0).saturating_sub(input),
            Output::Reserved => bound.unwrap_or(self.expected_output),
            Output::Produced => bound.unwrap_or(u64::MAX).min(self.expected_output),
            Output::Free => 0,
        };
        Tokens { input, output: output.min(self.most_output) }
    }

    /// What of a usage counts against quotas, as a usage: what was not reported stays unknown, so that
    /// nothing is given back for it.
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

    /// What an answer has come to. What it did not report counts nothing.
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
    /// Those of the input.
    pub const fn input(&self) -> u64 {
        self.input
    }

    /// Those of the output.
    pub const fn output(&self) -> u64 {
        self.output
    }

    /// All of them, as a quota counts that does not tell them apart.
    pub const fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reserves_in_its_own_way() {
        let (bounded, open) = (Estimate::new(200, Some(5_000)), Estimate::new(200, None));
        for (accounting, of_bounded, of_open) in [
            (Accounting::larger_upfront(), 5_000, 200),
            (Accounting::upfront(), 5_200, 1_200),
            (Accounting::upfront().most_output(3_000), 3_200, 1_200),
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
    fn what_counts_of_an_answer() {
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
    fn what_was_not_reported_stays_unknown() {
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
