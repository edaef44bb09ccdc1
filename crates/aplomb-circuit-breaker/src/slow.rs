//! Which calls are slow.

use std::time::Duration;

use crate::CompletedCall;

/// How long a call may take before it counts as slow.
///
/// The time counts from when the circuit let the call through, so nothing that it waits for in queues
/// further out is taken for slowness of the peer; the readiness of the service inside is part of it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_circuit_breaker::Slow;
///
/// // Streams: twenty seconds to the first content.
/// let streams = Slow::first_content(Duration::from_secs(20));
/// // Whole answers: ten seconds, and fifty milliseconds for every token.
/// let answers = Slow::whole(Duration::from_secs(10)).per_output_token(Duration::from_millis(50));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Slow {
    measure: Measure,
    limit: Duration,
    per_output_token: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    FirstContent,
    Whole,
}

impl Slow {
    /// Slow is what takes longer than `limit` to its first content; where bodies are not watched, to its
    /// head. For streams, whose length says nothing about the peer.
    pub const fn first_content(limit: Duration) -> Self {
        Self { measure: Measure::FirstContent, limit, per_output_token: Duration::ZERO }
    }

    /// Slow is what takes longer than `limit` to its end; where bodies are not watched, to its head. For
    /// answers that come in one piece.
    pub const fn whole(limit: Duration) -> Self {
        Self { measure: Measure::Whole, limit, per_output_token: Duration::ZERO }
    }

    /// Allows so much more for each output token, where the usage of the call is known: a long answer is
    /// not a slow one. Changes nothing for [`first_content`](Self::first_content), which comes before
    /// the tokens are counted.
    pub const fn per_output_token(mut self, each: Duration) -> Self {
        self.per_output_token = each;
        self
    }

    /// Whether it can be told at the first content already.
    pub(crate) const fn is_told_by_content(&self) -> bool {
        matches!(self.measure, Measure::FirstContent)
    }

    pub(crate) fn first_content_is_slow(&self, took: Duration) -> bool {
        self.is_told_by_content() && took > self.limit
    }

    /// Whether a call that has ended was slow; not what had been told by its first content.
    pub(crate) fn was_slow(&self, call: &CompletedCall) -> bool {
        let tokens = match self.measure {
            Measure::FirstContent => None,
            Measure::Whole => call.usage().and_then(|usage| usage.output()),
        };
        let tokens = u32::try_from(tokens.unwrap_or(0)).unwrap_or(u32::MAX);
        call.took() > self.limit.saturating_add(self.per_output_token.saturating_mul(tokens))
    }
}
