//! The deadline of a call, waits, retries and the body of its answer included.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aplomb_core::{LayerName, Rejection};

use crate::Report;

/// A call did not end before its deadline. An attempt that was under way has been dropped.
///
/// It is what ended the call, or, where an answer has begun to reach the caller, the error that the
/// body of the answer ends with.
///
/// Its `source()` is the [`Rejection`] that everything which ends a call on this side shares; the attempt
/// under way counts among its attempts.
#[derive(Clone, Debug)]
pub struct DeadlinePassed {
    elapsed: Duration,
    refused: Rejection,
}

impl DeadlinePassed {
    /// The deadline of the call that `report` is about has passed.
    pub(super) fn now(report: &Report) -> Self {
        let refused = Rejection::by(LayerName::Endpoint)
            .with_reason("deadline passed")
            .with_waited(report.queued())
            .with_attempts(report.sent(), report.last_failure());
        Self { elapsed: report.began().elapsed(), refused }
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
