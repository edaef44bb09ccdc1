//! What an answer consumed.

/// The tokens a call consumed, as the provider counted them.
///
/// A dimension the provider did not report is `None`, which is not the same as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    input: Option<u64>,
    cached_input: Option<u64>,
    output: Option<u64>,
}

impl Usage {
    /// Nothing reported.
    pub const fn unknown() -> Self {
        Self { input: None, cached_input: None, output: None }
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

    /// Input and output together, where both are known.
    pub fn total(&self) -> Option<u64> {
        Some(self.input?.saturating_add(self.output?))
    }

    /// Takes over what `later` reports and keeps the rest, as a stream reports in pieces.
    #[must_use]
    pub fn updated_by(self, later: Self) -> Self {
        Self {
            input: later.input.or(self.input),
            cached_input: later.cached_input.or(self.cached_input),
            output: later.output.or(self.output),
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
    }
}
