//! One attempt of a call.

use std::fmt;
use std::time::Duration;

use aplomb_core::{Classification, ExchangeState, Outcome, Reason, Usage};
use http::StatusCode;

use crate::context::SentAttempt;

/// One attempt of a call: when it was sent, and its result as far as it is known.
#[derive(Clone, Debug)]
pub struct Attempt {
    number: u32,
    queued: Duration,
    waited: Duration,
    took: Option<Duration>,
    result: Option<Classification>,
    usage: Option<Usage>,
}

impl Attempt {
    pub(crate) fn of((sent, exchange): (SentAttempt, ExchangeState)) -> Self {
        Self {
            number: sent.number,
            queued: sent.queued(),
            waited: sent.waited(),
            took: sent.took(),
            result: sent.took().map(|_| exchange.result().clone()),
            usage: exchange.usage(),
        }
    }

    /// The number of the attempt; the first is 1.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// How long it waited in the queue to be admitted.
    #[must_use]
    pub const fn queued(&self) -> Duration {
        self.queued
    }

    /// How long the call waited before it, since the attempt before ended.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// How long it took from when it was sent until it was judged; `None` if the call ended before.
    #[must_use]
    pub const fn took(&self) -> Option<Duration> {
        self.took
    }

    /// The status of its response, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.result.as_ref()?.status()
    }

    /// Its outcome, as far as it is known; `None` if it was not answered.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.result.as_ref().map(Classification::outcome)
    }

    /// The reason, if the provider gave one.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.result.as_ref()?.reason()
    }

    /// The text of the innermost error, if the attempt ended with one: a refused connection, a timeout.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.result.as_ref()?.cause()
    }

    /// Its usage, as far as it was reported.
    #[must_use]
    pub const fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. ", self.number)?;
        match self.outcome() {
            None => f.write_str("no answer")?,
            Some(outcome) => write!(f, "{outcome}")?,
        }
        let status = self.status().map(|status| status.as_u16().to_string());
        let reason = self.reason().filter(|reason| *reason != Reason::Answered).map(Reason::as_str);
        let took = self.took.map(|took| format!("after {took:.1?}"));
        let mut details = [status.as_deref(), reason, self.cause(), took.as_deref()].into_iter().flatten();
        if let Some(first) = details.next() {
            write!(f, " ({first}")?;
            details.try_for_each(|detail| write!(f, ", {detail}"))?;
            f.write_str(")")?;
        }
        Ok(())
    }
}
