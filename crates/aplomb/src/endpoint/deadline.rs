//! The deadline of a call.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aplomb_core::{LayerName, Rejection};

use crate::Report;
use crate::context::CallContext;

/// A call did not end before its deadline. An attempt in progress was dropped.
///
/// It is the error of the call or, if a response has reached the caller, the error at the end of its body.
///
/// Its `source()` is the [`Rejection`] that everything which ends a call on this side shares; the attempt
/// under way counts among its attempts.
#[derive(Clone, Debug)]
pub struct DeadlinePassed {
    elapsed: Duration,
    refused: Rejection,
}

impl DeadlinePassed {
    /// The deadline of `call` has passed.
    pub(super) fn now(call: &CallContext) -> Self {
        let report = Report::new(call.clone());
        let refused = Rejection::by(LayerName::Endpoint)
            .with_reason("deadline passed")
            .with_waited(report.queued())
            .with_attempts(report.sent(), report.last_failure());
        Self { elapsed: call.began().elapsed(), refused }
    }

    /// How long the call had taken.
    #[must_use]
    pub const fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

impl fmt::Display for DeadlinePassed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the call's deadline passed after {:.1?}", self.elapsed)
    }
}

impl Error for DeadlinePassed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.refused)
    }
}
