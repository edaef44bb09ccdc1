//! What an answer consumed.

/// The tokens a call consumed, as the provider counted them.
///
/// A dimension the provider did not report is `None`, which is not the same as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    input: Option<u64>,
    cached_input: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    total: Option<u64>,
}

impl Usage {
    /// Nothing reported.
    pub const fn unknown() -> Self {
        Self { input: None, cached_input: None, output: None, reasoning: None, total: None }
    }

    /// Sets all input tokens, those read from a cache included.
    #[must_use]
    pub const fn with_input(mut self, tokens: u64) -> Self {
        self.input = Some(tokens);
        self
    }

    /// Sets the input tokens that were read from a cache, a part of the input.
    #[must_use]
    pub const fn with_cached_input(mut self, tokens: u64) -> Self {
        self.cached_input = Some(tokens);
        self
    }

    /// Sets the output tokens, reasoning included.
    #[must_use]
    pub const fn with_output(mut self, tokens: u64) -> Self {
        self.output = Some(tokens);
        self
    }

    /// Sets the output tokens that nobody sees, spent on reasoning: a part of the output.
    #[must_use]
    pub const fn with_reasoning(mut self, tokens: u64) -> Self {
        self.reasoning = Some(tokens);
        self
    }

    /// Sets the sum, where a provider reports one of its own.
    #[must_use]
    pub const fn with_total(mut self, tokens: u64) -> Self {
        self.total = Some(tokens);
        self
    }

    /// All input tokens, those read from a cache included.
    pub const fn input(&self) -> Option<u64> {
        self.input
    }

    /// The input tokens that were read from a cache.
    pub const fn cached_input(&self) -> Option<u64> {
        self.cached_input
    }

    /// The output tokens, reasoning included.
    pub const fn output(&self) -> Option<u64> {
        self.output
    }

    /// The output tokens that were spent on reasoning.
    pub const fn reasoning(&self) -> Option<u64> {
        self.reasoning
    }

    /// Input and output together, where both are known; or else the sum that was reported.
    pub fn total(&self) -> Option<u64> {
        let sum = self.input.zip(self.output).map(|(input, output)| input.saturating_add(output));
        sum.or(self.total)
    }

    /// Takes over what `later` reports and keeps the rest, as a stream reports in pieces.
    #[must_use]
    pub fn updated_by(self, later: Self) -> Self {
        Self {
            input: later.input.or(self.input),
            cached_input: later.cached_input.or(self.cached_input),
            output: later.output.or(self.output),
            reasoning: later.reasoning.or(self.reasoning),
            total: later.total.or(self.total),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_report_wins_where_it_says_something() {
        let first = Usage::unknown().with_input(10).with_output(1);
        let last = Usage::unknown().with_output(40);
        let both = first.updated_by(last);
        assert_eq!(both.total(), Some(50));
        assert_eq!(Usage::unknown().with_input(3).total(), None);
        assert_eq!(both.with_total(7).total(), Some(50), "a sum goes stale while a stream goes by");
        assert_eq!(Usage::unknown().with_input(3).with_total(7).total(), Some(7));
    }
}
