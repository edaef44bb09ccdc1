//! An attempt that failed after part of its answer.

use std::error::Error;
use std::fmt;

use aplomb_core::{BoxError, Exchange};

/// The error of an attempt whose answer had reported what it consumed: that is owed all the same. Its caller is
/// given the error within.
#[derive(Debug)]
pub(super) struct Spent {
    pub(super) error: BoxError,
    pub(super) exchange: Exchange,
}

impl Spent {
    /// The error, with what was consumed before it where anything was.
    pub(super) fn wrap(error: BoxError, exchange: &Exchange) -> BoxError {
        if exchange.usage().is_some() {
            Box::new(Self { error, exchange: exchange.clone() })
        } else {
            error
        }
    }

    /// The error as it was.
    pub(super) fn unwrap(error: BoxError) -> BoxError {
        match error.downcast::<Self>() {
            Ok(spent) => spent.error,
            Err(error) => error,
        }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Spent {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}
