//! The error of a call.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aplomb_core::{BoxError, Outcome, Rejection, find};

use crate::Report;

/// A call of an [`Endpoint`](crate::Endpoint) failed without a response.
///
/// Its `source()` is the error that ended the call. [`find`](crate::find) finds
/// [`CircuitOpen`](crate::circuit_breaker::CircuitOpen), [`RateLimited`](crate::rate_limit::RateLimited),
/// [`AtCapacity`](crate::concurrency::AtCapacity), [`DeadlinePassed`](crate::DeadlinePassed),
/// [`TimedOut`](crate::TimedOut), [`BrokenAnswer`](crate::BrokenAnswer),
/// [`HookFailed`](crate::HookFailed), and the client's own errors. A response of the provider is never an error,
/// whatever its status, unless it is a [`BrokenAnswer`](crate::BrokenAnswer).
pub struct EndpointError(Box<Failed>);

struct Failed {
    cause: BoxError,
    report: Report,
}

impl EndpointError {
    pub(crate) fn new(cause: BoxError, report: Report) -> Self {
        Self(Box::new(Failed { cause, report }))
    }

    /// The attempts of the call, and where its time went.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.0.report
    }

    /// The error that ended the call.
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0.cause
    }

    /// The error that ended the call, without the report.
    #[must_use]
    pub fn into_cause(self) -> BoxError {
        self.0.cause
    }

    /// The details of the rejection, if the call was ended on this side: by which layer, and when to come back.
    #[must_use]
    pub fn refused(&self) -> Option<&Rejection> {
        find::<Rejection>(self)
    }

    /// The outcome of the last attempt, if one was sent and answered.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.0.report.outcome()
    }

    /// How long from the failure until a call may succeed, if the rejecting layer or the server said so.
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

/// Two fields, with the report in one line: a program whose `main` returns the error prints this.
impl fmt::Debug for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointError")
            .field("report", &format_args!("{}", self.0.report))
            .field("cause", &self.0.cause)
            .finish()
    }
}

impl Error for EndpointError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.cause())
    }
}
