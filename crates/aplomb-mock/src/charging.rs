//! How tokens count against the limits, and when.

use crate::size::Size;

/// How tokens count against the limits: what a request is charged on admission, and how that is corrected.
///
/// | | charged on admission | afterwards |
/// | --- | --- | --- |
/// | [`Larger`](Self::Larger) | the larger of the prompt and `max_tokens` | kept |
/// | [`Sum`](Self::Sum), the default | the prompt and `max_tokens` | kept |
/// | [`Produced`](Self::Produced) | the prompt | output counts as it is produced |
/// | [`Corrected`](Self::Corrected) | the prompt and `max_tokens` | what was not produced comes back at the end |
///
/// A prompt is charged its true tokens ([`input_factor`](crate::Builder::input_factor)). A request without `max_tokens` is
/// charged for the longest possible answer, except with `Larger`: there only for its prompt. A failed answer counts as far as
/// it was produced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Charging {
    /// As [OpenAI](https://platform.openai.com/docs/guides/rate-limits) counts. Separate limits of input and output, which
    /// OpenAI does not have, count as with `Sum`.
    Larger,
    /// As [Azure](https://learn.microsoft.com/azure/ai-services/openai/how-to/quota) and Groq count.
    #[default]
    Sum,
    /// As [Anthropic](https://docs.claude.com/en/api/rate-limits) counts: `max_tokens` does not matter. A word of a stream
    /// counts when it is sent, an answer without a stream when it is made. An answer under way may exceed the limit; then
    /// requests are refused until the debt is paid.
    Produced,
    /// As [Bedrock](https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html) counts: when the answer
    /// ends, or its client goes away, output that was not produced is given back.
    Corrected,
}

/// Tokens, for each kind of limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) total: u64,
}

/// A limited quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    Requests,
    /// Input and output together.
    Tokens,
    InputTokens,
    OutputTokens,
}

impl Dimension {
    /// The cost of one request to this limit.
    pub(crate) fn cost(self, charge: &Charge) -> u64 {
        match self {
            Self::Requests => 1,
            Self::Tokens => charge.total,
            Self::InputTokens => charge.input,
            Self::OutputTokens => charge.output,
        }
    }
}

impl Charge {
    /// This much output.
    pub(crate) fn output(tokens: u64) -> Self {
        Self { input: 0, output: tokens, total: tokens }
    }
}

impl Charging {
    pub(crate) fn on_admission(self, size: &Size) -> Charge {
        let (input, longest) = (size.input, size.longest);
        let sum = Charge { input, output: longest, total: input.saturating_add(longest) };
        match self {
            Self::Larger => Charge { total: input.max(size.bound.unwrap_or(0)), ..sum },
            Self::Sum | Self::Corrected => sum,
            Self::Produced => Charge { input, output: 0, total: input },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_charges_in_its_own_way() {
        let charged = |charging: Charging, input, bound: Option<u64>| {
            let size = Size { input, bound, longest: bound.unwrap_or(32), words: 8, cut: false };
            let Charge { input, output, total } = charging.on_admission(&size);
            (input, output, total)
        };
        for (charging, bounded, open) in [
            (Charging::Larger, (20, 50, 50), (20, 32, 20)),
            (Charging::Sum, (20, 50, 70), (20, 32, 52)),
            (Charging::Produced, (20, 0, 20), (20, 0, 20)),
            (Charging::Corrected, (20, 50, 70), (20, 32, 52)),
        ] {
            assert_eq!(charged(charging, 20, Some(50)), bounded, "{charging:?}");
            assert_eq!(charged(charging, 20, None), open, "{charging:?}");
        }
        assert_eq!(charged(Charging::Larger, 90, Some(50)).2, 90);
        assert_eq!(charged(Charging::Sum, 1, Some(u64::MAX)).2, u64::MAX);
    }
}
