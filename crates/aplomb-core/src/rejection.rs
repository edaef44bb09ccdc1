//! Details common to every rejection by an aplomb layer.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::short_duration::Short;
use crate::{LayerName, Outcome};

/// Details common to every rejection by an aplomb layer: which layer, when to come back, what was tried
/// before.
///
/// Layers reject calls with error types of their own, for example an open circuit or an exceeded rate limit.
/// Their `source()` is a `Rejection`, so [`find::<Rejection>`](crate::find) finds it whichever layer
/// rejected the call.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_core::{BoxError, LayerName, Rejection, find};
///
/// fn retry_after(error: &BoxError) -> Option<Duration> {
///     find::<Rejection>(&**error)?.retry_after()
/// }
///
/// let rejection = Rejection::by(LayerName::RateLimit).with_retry_after(Some(Duration::from_secs(2)));
/// assert_eq!(rejection.to_string(), "rejected by the rate limit, retry after 2.0 s");
/// assert_eq!(retry_after(&rejection.into()), Some(Duration::from_secs(2)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    layer: LayerName,
    reason: Option<&'static str>,
    retry_after: Option<Duration>,
    waited: Duration,
    attempts: u32,
    /// Apart: most calls are rejected before their first attempt, and errors should be small.
    last: Option<Box<Outcome>>,
}

impl Rejection {
    /// A rejection by `layer`, with nothing else known.
    #[must_use]
    #[inline]
    pub const fn by(layer: LayerName) -> Self {
        Self {
            layer,
            reason: None,
            retry_after: None,
            waited: Duration::ZERO,
            attempts: 0,
            last: None,
        }
    }

    /// Adds the reason, in a few words: "closed".
    #[must_use]
    #[inline]
    pub const fn with_reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Adds the time from now until a call may succeed; `None` if it is not known.
    #[must_use]
    #[inline]
    pub const fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// Adds how long the call waited in queues before it was rejected.
    #[must_use]
    #[inline]
    pub const fn with_waited(mut self, waited: Duration) -> Self {
        self.waited = waited;
        self
    }

    /// Adds how many attempts of the call had been sent, and the outcome of the last one.
    #[must_use]
    #[inline]
    pub fn with_attempts(mut self, attempts: u32, last: Option<Outcome>) -> Self {
        self.attempts = attempts;
        self.last = last.map(Box::new);
        self
    }

    /// The layer that rejected the call.
    pub const fn layer(&self) -> LayerName {
        self.layer
    }

    /// The reason in a few words, if the layer's own error does not give it.
    pub const fn reason(&self) -> Option<&'static str> {
        self.reason
    }

    /// The time from the rejection until a call may succeed, if it is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// How long the call waited in queues before it was rejected.
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// How many attempts of the call had been sent before.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The outcome of the last attempt that was sent.
    pub fn last(&self) -> Option<Outcome> {
        self.last.as_deref().copied()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rejected by the {}", self.layer)?;
        if let Some(reason) = self.reason {
            write!(f, ": {reason}")?;
        }
        if let Some(retry_after) = self.retry_after {
            write!(f, ", retry after {}", Short(retry_after))?;
        }
        if !self.waited.is_zero() {
            write!(f, ", waited {}", Short(self.waited))?;
        }
        match (self.attempts, self.last()) {
            (0, _) => Ok(()),
            (1, None) => f.write_str(", 1 attempt before"),
            (1, Some(last)) => write!(f, ", 1 attempt before: {last}"),
            (attempts, None) => write!(f, ", {attempts} attempts before"),
            (attempts, Some(last)) => write!(f, ", {attempts} attempts before, the last: {last}"),
        }
    }
}

impl Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_who_rejected_and_what_was_tried() {
        let plain = Rejection::by(LayerName::Endpoint).with_reason("closed");
        assert_eq!(plain.to_string(), "rejected by the endpoint: closed");
        let rich = Rejection::by(LayerName::CircuitBreaker)
            .with_retry_after(Some(Duration::from_millis(1_250)))
            .with_waited(Duration::from_millis(40))
            .with_attempts(2, Some(Outcome::transient()));
        assert_eq!(
            rich.to_string(),
            "rejected by the circuit breaker, retry after 1.2 s, waited 40 ms, \
             2 attempts before, the last: transient failure"
        );
    }
}
