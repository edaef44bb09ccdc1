//! What a call costs.

use crate::Dimension;

/// What a call draws from each quota: one request and no tokens unless told otherwise.
///
/// Input and output tokens are counted apart; a quota of [`Dimension::TOKENS`] is charged both.
///
/// # Examples
///
/// ```
/// use aplomb_rate_limit::{Charge, Dimension};
///
/// let charge = Charge::request().input_tokens(1_200).output_tokens(500);
/// assert_eq!(charge.of(Dimension::REQUESTS), 1);
/// assert_eq!(charge.of(Dimension::TOKENS), 1_700);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Charge {
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    // Empty, and then without an allocation, for nearly everybody.
    others: Vec<(Dimension, u64)>,
}

impl Charge {
    /// One request, no tokens.
    pub const fn request() -> Self {
        Self { requests: 1, input_tokens: 0, output_tokens: 0, others: Vec::new() }
    }

    /// Sets how many requests the call counts as; 0 where it does not count.
    pub const fn requests(mut self, requests: u64) -> Self {
        self.requests = requests;
        self
    }

    /// Sets the input tokens.
    pub const fn input_tokens(mut self, tokens: u64) -> Self {
        self.input_tokens = tokens;
        self
    }

    /// Sets the output tokens: what is asked for at most, or what is expected.
    pub const fn output_tokens(mut self, tokens: u64) -> Self {
        self.output_tokens = tokens;
        self
    }

    /// Adds to a dimension of the caller's own.
    pub fn and(mut self, dimension: Dimension, amount: u64) -> Self {
        self.others.push((dimension, amount));
        self
    }

    /// What the call draws from a quota of `dimension`.
    #[must_use]
    pub fn of(&self, dimension: Dimension) -> u64 {
        let known = match dimension {
            Dimension::REQUESTS => self.requests,
            Dimension::TOKENS => self.input_tokens.saturating_add(self.output_tokens),
            Dimension::INPUT_TOKENS => self.input_tokens,
            Dimension::OUTPUT_TOKENS => self.output_tokens,
            _ => 0,
        };
        let others = self.others.iter().filter(|(named, _)| *named == dimension);
        others.fold(known, |sum, (_, amount)| sum.saturating_add(*amount))
    }
}

impl Default for Charge {
    fn default() -> Self {
        Self::request()
    }
}

/// Says what a request will cost, before it is sent.
///
/// A closure `Fn(&Req) -> Charge` is one.
pub trait Cost<Req> {
    /// The charge for `request`.
    fn charge(&self, request: &Req) -> Charge;
}

/// Every call costs one request and no tokens. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerRequest;

impl<Req> Cost<Req> for PerRequest {
    fn charge(&self, _: &Req) -> Charge {
        Charge::request()
    }
}

impl<Req, F: Fn(&Req) -> Charge> Cost<Req> for F {
    fn charge(&self, request: &Req) -> Charge {
        self(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_add_up_and_saturate() {
        let images = Dimension::named("images");
        let charge = Charge::request().input_tokens(u64::MAX).output_tokens(1).and(images, 2).and(images, 3);
        assert_eq!(charge.of(Dimension::TOKENS), u64::MAX);
        assert_eq!(charge.of(images), 5);
        assert_eq!(charge.of(Dimension::named("audio")), 0);
    }
}
