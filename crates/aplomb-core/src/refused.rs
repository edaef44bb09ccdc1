//! What every refusal of ours says.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::Outcome;

/// The account every refusal of ours carries: who refused, when to come back, what was tried before.
///
/// The refusing layers have error types of their own (an open circuit, a limit exceeded), with this
/// as their `source()`: [`find::<Refused>`](crate::find) reaches it whichever layer it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    who: &'static str,
    retry_after: Option<Duration>,
    waited: Duration,
    attempts: u32,
    last: Option<Outcome>,
}

impl Refused {
    /// A refusal by `who`, with nothing known about when to come back.
    #[must_use]
    #[inline]
    pub const fn by(who: &'static str) -> Self {
        Self { who, retry_after: None, waited: Duration::ZERO, attempts: 0, last: None }
    }

    /// Says when to come back, counted from now; `None` where nobody knows.
    #[must_use]
    #[inline]
    pub const fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// Says how long the call had waited before it was refused.
    #[must_use]
    #[inline]
    pub const fn with_waited(mut self, waited: Duration) -> Self {
        self.waited = waited;
        self
    }

    /// Says how many attempts had been sent before, and what the last one came to.
    #[must_use]
    #[inline]
    pub const fn with_attempts(mut self, attempts: u32, last: Option<Outcome>) -> Self {
        self.attempts = attempts;
        self.last = last;
        self
    }

    /// Who refused: the name of a layer.
    pub const fn who(&self) -> &'static str {
        self.who
    }

    /// How long from the refusal until a call may succeed, where that is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// How long the call waited in queues before it was refused.
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// How many attempts of this call had been sent to the peer before.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What the last attempt that was sent came to.
    pub const fn last(&self) -> Option<Outcome> {
        self.last
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused by the {}", self.who)?;
        if let Some(retry_after) = self.retry_after {
            write!(f, ", retry after {retry_after:.1?}")?;
        }
        if !self.waited.is_zero() {
            write!(f, ", waited {:.1?}", self.waited)?;
        }
        match (self.attempts, self.last) {
            (0, _) => Ok(()),
            (attempts, None) => write!(f, ", attempts sent before: {attempts}"),
            (attempts, Some(last)) => {
                write!(f, ", attempts sent before: {attempts}, the last: {last}")
            }
        }
    }
}

impl Error for Refused {}
