//! The account of one attempt.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aplomb_core::{Exchange, Outcome, Usage};
use aplomb_provider::Reason;
use http::StatusCode;
use tokio::time::Instant;

use super::Judged;

/// What happened to an attempt: when its turn came, and what it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    queued: Duration,
    waited: Duration,
    took: Option<Duration>,
    status: Option<StatusCode>,
    outcome: Option<Outcome>,
    reason: Option<Reason>,
    cause: Option<Arc<str>>,
    usage: Option<Usage>,
}

impl Attempt {
    /// Which attempt it is; the first is 1.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// How long it waited in the queue for its turn.
    #[must_use]
    pub const fn queued(&self) -> Duration {
        self.queued
    }

    /// How long the call waited before, since the attempt before ended.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// How long it took from when it was sent until it was judged; `None` while it has not been, and where
    /// its call ended first.
    #[must_use]
    pub const fn took(&self) -> Option<Duration> {
        self.took
    }

    /// The status of its response, if there was one.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// What it came to, as far as it has been read; `None` where nothing came.
    #[must_use]
    pub const fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Why, where the provider said so.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The text of the innermost error, where the attempt ended with one: a refused connection, a timeout.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// What it consumed, as far as that has been reported.
    #[must_use]
    pub const fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. ", self.number)?;
        match self.outcome {
            None => f.write_str("no answer")?,
            Some(outcome) => write!(f, "{outcome}")?,
        }
        let status = self.status.map(|status| status.as_u16().to_string());
        let reason = self.reason.filter(|reason| *reason != Reason::Answered).map(Reason::as_str);
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

/// An attempt that has been sent.
pub(super) struct Sent {
    number: u32,
    at: Instant,
    queued: Duration,
    waited: Duration,
    took: Option<Duration>,
    judged: Option<Judged>,
}

impl Sent {
    pub(super) const fn new(number: u32, at: Instant, queued: Duration, waited: Duration) -> Self {
        Self { number, at, queued, waited, took: None, judged: None }
    }

    pub(super) fn judge(&mut self, judged: Judged, now: Instant) {
        self.took = Some(now.saturating_duration_since(self.at));
        self.judged = Some(judged);
    }

    /// What it came to, as far as it has been read by now.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let judged = self.judged.as_ref()?;
        Some(judged.exchange.as_ref().map_or(judged.outcome, Exchange::outcome))
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.judged.as_ref()?.exchange.as_ref()?.usage()
    }

    pub(super) fn account(&self) -> Attempt {
        let judged = self.judged.as_ref();
        Attempt {
            number: self.number,
            queued: self.queued,
            waited: self.waited,
            took: self.took,
            status: judged.and_then(|judged| judged.status),
            outcome: self.outcome(),
            reason: judged.and_then(|judged| judged.reason),
            cause: judged.and_then(|judged| judged.cause.clone()),
            usage: self.usage(),
        }
    }
}
