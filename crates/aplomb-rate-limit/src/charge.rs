//! The cost of a call.

use std::sync::Arc;

use aplomb_core::{Dimension, InMemory, RequestHead};
use bytes::Bytes;

/// The cost of a call: what it draws from each quota. One request and no tokens, unless more is added.
///
/// Input and output tokens are counted separately; a quota of [`Dimension::TOKENS`] is charged both.
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
    // Nearly always empty, without an allocation.
    others: Vec<(Dimension, u64)>,
    /// True if anybody has said what the call costs beside requests.
    is_known: bool,
}

impl Charge {
    /// One request, no tokens.
    pub const fn request() -> Self {
        Self {
            requests: 1,
            input_tokens: 0,
            output_tokens: 0,
            others: Vec::new(),
            is_known: true,
        }
    }

    /// One request, with an unknown cost in all other dimensions.
    const fn of_unknown_cost() -> Self {
        let mut charge = Self::request();
        charge.is_known = false;
        charge
    }

    /// Sets how many requests the call counts as; 0 if it does not count.
    pub const fn requests(mut self, requests: u64) -> Self {
        self.requests = requests;
        self
    }

    /// Sets the input tokens.
    pub const fn input_tokens(mut self, tokens: u64) -> Self {
        self.input_tokens = tokens;
        self
    }

    /// Sets the output tokens: the most that is asked for, or what is expected.
    pub const fn output_tokens(mut self, tokens: u64) -> Self {
        self.output_tokens = tokens;
        self
    }

    /// Adds to a dimension: one of the above, or one of the caller's own.
    pub fn and(mut self, dimension: Dimension, amount: u64) -> Self {
        let counted = match Counted::from(dimension) {
            Counted::Requests => &mut self.requests,
            Counted::Input => &mut self.input_tokens,
            Counted::Output => &mut self.output_tokens,
            Counted::Tokens | Counted::Other(_) => {
                self.others.push((dimension, amount));
                return self;
            }
        };
        *counted = counted.saturating_add(amount);
        self
    }

    /// The cost in `dimension`.
    #[must_use]
    pub fn of(&self, dimension: Dimension) -> u64 {
        self.counted(Counted::from(dimension))
    }

    /// Returns whether it is unknown what the call draws from a quota that counts this.
    #[inline]
    pub(crate) fn is_unknown(&self, counted: Counted) -> bool {
        !self.is_known && counted != Counted::Requests
    }

    #[inline]
    pub(crate) fn counted(&self, counted: Counted) -> u64 {
        let (known, dimension) = match counted {
            Counted::Requests => (self.requests, Dimension::REQUESTS),
            Counted::Tokens => (self.input_tokens.saturating_add(self.output_tokens), Dimension::TOKENS),
            Counted::Input => (self.input_tokens, Dimension::INPUT_TOKENS),
            Counted::Output => (self.output_tokens, Dimension::OUTPUT_TOKENS),
            Counted::Other(dimension) => (0, dimension),
        };
        if self.others.is_empty() {
            return known;
        }
        let others = self.others.iter().filter(|(named, _)| *named == dimension);
        others.fold(known, |sum, (_, amount)| sum.saturating_add(*amount))
    }
}

/// A dimension that has been looked up: names are compared when a quota is made, not for every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Requests,
    Tokens,
    Input,
    Output,
    Other(Dimension),
}

impl Counted {
    /// Returns whether it is what `whole` counts, or a part of it.
    pub(crate) fn is_part_of(self, whole: Dimension) -> bool {
        let whole = Self::from(whole);
        self == whole || (whole == Self::Tokens && matches!(self, Self::Input | Self::Output))
    }
}

impl From<Dimension> for Counted {
    fn from(dimension: Dimension) -> Self {
        match dimension {
            Dimension::REQUESTS => Self::Requests,
            Dimension::TOKENS => Self::Tokens,
            Dimension::INPUT_TOKENS => Self::Input,
            Dimension::OUTPUT_TOKENS => Self::Output,
            other => Self::Other(other),
        }
    }
}

impl Default for Charge {
    fn default() -> Self {
        Self::request()
    }
}

/// Estimates the cost of a request before it is sent.
///
/// A closure `Fn(&Req) -> Charge` implements it.
pub trait Cost<Req> {
    /// The charge for `request`.
    fn charge(&self, request: &Req) -> Charge;
}

/// A call costs the [`Charge`] in its request's extensions, or else one request. The default.
///
/// If a quota of anything but requests is configured, a call without a charge is rejected: it would never draw from the
/// quota. Use `|_: &_| Charge::request()` if calls cost no tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerRequest;

impl<Req: RequestHead> Cost<Req> for PerRequest {
    fn charge(&self, request: &Req) -> Charge {
        let own = request.extensions().and_then(|extensions| extensions.get::<Charge>());
        own.cloned().unwrap_or(Charge::of_unknown_cost())
    }
}

/// Estimates the cost of a call from the bytes of its body: a [`Cost`] made of a closure. `None` stands for a body that is not in
/// memory, but a stream.
///
/// # Examples
///
/// ```
/// use aplomb_rate_limit::{Charge, Cost, Dimension, FromBody};
/// use bytes::Bytes;
///
/// // Four bytes to a token, and an answer of at most 500 tokens.
/// let cost = FromBody(|body: Option<Bytes>| {
///     let bytes = body.map_or(4_000, |body| body.len() as u64);
///     Charge::request().input_tokens(bytes / 4).output_tokens(500)
/// });
/// let request = http::Request::new("a prompt of some length".to_owned());
/// assert_eq!(cost.charge(&request).of(Dimension::TOKENS), 505);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct FromBody<F>(pub F);

impl<Req: InMemory, F: Fn(Option<Bytes>) -> Charge> Cost<Req> for FromBody<F> {
    fn charge(&self, request: &Req) -> Charge {
        (self.0)(request.body_bytes())
    }
}

impl<Req, F: Fn(&Req) -> Charge> Cost<Req> for F {
    fn charge(&self, request: &Req) -> Charge {
        self(request)
    }
}

/// Shares a cost, or hides its type.
impl<Req, C: Cost<Req> + ?Sized> Cost<Req> for Arc<C> {
    fn charge(&self, request: &Req) -> Charge {
        (**self).charge(request)
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

    #[test]
    fn tokens_named_by_their_dimension_count_as_tokens() {
        let charge = Charge::request()
            .and(Dimension::INPUT_TOKENS, 100)
            .and(Dimension::OUTPUT_TOKENS, 20)
            .and(Dimension::TOKENS, 3)
            .and(Dimension::REQUESTS, 1);
        assert_eq!((charge.of(Dimension::INPUT_TOKENS), charge.of(Dimension::TOKENS)), (100, 123));
        assert_eq!(charge.of(Dimension::REQUESTS), 2);
    }
}
