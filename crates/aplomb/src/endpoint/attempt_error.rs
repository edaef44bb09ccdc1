//! The error of an attempt, with its record.

use std::any::Any;
use std::error::Error;
use std::fmt;

use aplomb_core::{BoxError, Exchange};

/// The error of an attempt that was sent. It has been judged: the layers outside read the result from the record,
/// which also has the usage of a response that broke off. The caller of the endpoint gets the error inside.
#[derive(Debug)]
pub(super) struct AttemptError {
    error: BoxError,
    exchange: Exchange,
}

impl AttemptError {
    pub(super) fn new(error: BoxError, exchange: Exchange) -> Self {
        Self { error, exchange }
    }

    /// The record of the attempt that ended with `error`, if it was sent.
    pub(super) fn exchange<E: 'static>(error: &E) -> Option<&Exchange> {
        let error: &dyn Any = error;
        Some(&error.downcast_ref::<BoxError>()?.downcast_ref::<Self>()?.exchange)
    }

    /// The error inside.
    pub(super) fn unwrap(error: BoxError) -> BoxError {
        match error.downcast::<Self>() {
            Ok(attempt) => attempt.error,
            Err(error) => error,
        }
    }
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for AttemptError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}
