//! The tokens that a response consumed.

/// The tokens that a call consumed, as the provider counted them.
///
/// A count that the provider did not report is `None`, which is not the same as zero.
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

    /// Sets all input tokens, including those read from a cache.
    #[must_use]
    pub const fn with_input(mut self, tokens: u64) -> Self {
        self.input = Some(tokens);
        self
    }

    /// Sets the part of the input tokens that was read from a cache.
    #[must_use]
    pub const fn with_cached_input(mut self, tokens: u64) -> Self {
        self.cached_input = Some(tokens);
        self
    }

    /// Sets the output tokens, including reasoning.
    #[must_use]
    pub const fn with_output(mut self, tokens: u64) -> Self {
        self.output = Some(tokens);
        self
    }

    /// Sets the part of the output tokens that was spent on reasoning.
    #[must_use]
    pub const fn with_reasoning(mut self, tokens: u64) -> Self {
        self.reasoning = Some(tokens);
        self
    }

    /// Sets the total that the provider reports.
    #[must_use]
    pub const fn with_total(mut self, tokens: u64) -> Self {
        self.total = Some(tokens);
        self
    }

    /// All input tokens, including those read from a cache.
    pub const fn input(&self) -> Option<u64> {
        self.input
    }

    /// The input tokens that were read from a cache.
    pub const fn cached_input(&self) -> Option<u64> {
        self.cached_input
    }

    /// The output tokens, including reasoning.
    pub const fn output(&self) -> Option<u64> {
        self.output
    }

    /// The output tokens that were spent on reasoning.
    pub const fn reasoning(&self) -> Option<u64> {
        self.reasoning
    }

    /// The sum of input and output if both are known, otherwise the reported total.
    pub fn total(&self) -> Option<u64> {
        let sum = self.input.zip(self.output).map(|(input, output)| input.saturating_add(output));
        sum.or(self.total)
    }

    /// Merges a later report into this one: its counts replace those reported before. Streams report usage
    /// in pieces.
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
    fn a_later_report_replaces_the_counts_it_contains() {
        let first = Usage::unknown().with_input(10).with_output(1);
        let last = Usage::unknown().with_output(40);
        let both = first.updated_by(last);
        assert_eq!(both.total(), Some(50));
        assert_eq!(Usage::unknown().with_input(3).total(), None);
        assert_eq!(
            both.with_total(7).total(),
            Some(50),
            "a reported total is stale when later counts arrive"
        );
        assert_eq!(Usage::unknown().with_input(3).with_total(7).total(), Some(7));
    }
}
