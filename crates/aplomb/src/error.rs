//! The error of a call.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aplomb_core::{BoxError, Outcome, Rejection, find};

use crate::Report;

/// A call of an [`Endpoint`](crate::Endpoint) failed without a response: why, and what happened until then.
///
/// Its `source()` is what ended the call, as it was: [`find`](crate::find) reaches
/// [`CircuitOpen`](crate::circuit_breaker::CircuitOpen), [`Exceeded`](crate::rate_limit::Exceeded),
/// [`AtCapacity`](crate::concurrency::AtCapacity), [`DeadlinePassed`](crate::DeadlinePassed),
/// [`TimedOut`](crate::TimedOut), [`BrokenAnswer`](crate::BrokenAnswer),
/// [`HookFailed`](crate::HookFailed), and the client's own errors. What the provider answers is never an
/// error, whatever its status, but for an error inside a good answer.
#[derive(Debug)]
pub struct EndpointError(Box<Failed>);

#[derive(Debug)]
struct Failed {
    cause: BoxError,
    report: Report,
}

impl EndpointError {
    pub(crate) fn new(cause: BoxError, report: Report) -> Self {
        Self(Box::new(Failed { cause, report }))
    }

    /// What happened until then.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.0.report
    }

    /// What ended the call.
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0.cause
    }

    /// What ended the call, without the account.
    #[must_use]
    pub fn into_cause(self) -> BoxError {
        self.0.cause
    }

    /// The refusal, where the call was ended on this side: who refused it, and when to come back.
    #[must_use]
    pub fn refused(&self) -> Option<&Rejection> {
        find::<Rejection>(self)
    }

    /// What the last attempt that was sent came to, if there was one that was answered.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.0.report.outcome()
    }

    /// How long from the failure until a call may succeed, where that is known: what refused the call says
    /// so, or the server did.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.refused() {
            Some(refused) => refused.retry_after(),
            None => self.outcome()?.retry_after(),
        }
    }
}

/// One line with the report. The error that ended the call is the `source()`, and not repeated.
impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refused() {
            Some(refused) => write!(f, "call ended by the {}", refused.layer())?,
            None => f.write_str("call failed")?,
        }
        write!(f, " ({})", self.0.report)
    }
}

impl Error for EndpointError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.cause())
    }
}
