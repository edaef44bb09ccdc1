//! The last lines of a run.

use std::fmt::{self, Display};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The result of a run.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) answered: u64,
    /// Answered by an earlier run.
    pub(crate) before: u64,
    pub(crate) failed: u64,
    /// Lines of the input that are no prompts.
    pub(crate) bad: u64,
    pub(crate) took: Duration,
    pub(crate) ended: Ended,
    pub(crate) requests: u64,
    /// Requests that were answered with 429.
    pub(crate) throttled: u64,
}

/// Why a run ended.
#[derive(Debug, Default)]
pub(crate) enum Ended {
    /// All prompts are done.
    #[default]
    Complete,
    /// It was stopped. Unfinished prompts have no result.
    Stopped,
    /// There was no reason to send anything more: the remaining prompts failed for this reason.
    Hopeless(Arc<str>),
    /// The input could not be read to its end.
    Unreadable(io::Error),
    /// The results could not be written.
    Unwritable,
}

impl Summary {
    /// Returns whether every prompt is answered.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.ended, Ended::Complete) && self.failed == 0 && self.bad == 0
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ended {
            // Why results cannot be written is reported elsewhere.
            Ended::Complete | Ended::Unwritable => {}
            Ended::Stopped => writeln!(f, "stopped; run it again with the same --output to continue")?,
            Ended::Hopeless(reason) => writeln!(f, "given up: {reason}")?,
            Ended::Unreadable(error) => writeln!(f, "cannot read the input: {error}")?,
        }
        write!(f, "{} answered, {} failed", self.answered, self.failed)?;
        if self.before > 0 {
            write!(f, ", {} answered before", self.before)?;
        }
        if self.bad > 0 {
            write!(f, ", {} invalid lines", self.bad)?;
        }
        let (seconds, requests, throttled) = (self.took.as_secs_f64(), self.requests, self.throttled);
        write!(f, " in {seconds:.1} s; {requests} requests, {throttled} of them refused with 429")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_two_lines_at_most() {
        let summary = Summary {
            answered: 3,
            before: 2,
            failed: 1,
            bad: 4,
            took: Duration::from_millis(1_250),
            ended: Ended::Hopeless("429".into()),
            requests: 9,
            throttled: 2,
        };
        assert_eq!(
            summary.to_string(),
            "given up: 429\n3 answered, 1 failed, 2 answered before, 4 invalid lines in 1.2 s; 9 requests, 2 of them refused with 429"
        );
        assert!(!summary.is_complete());
        assert!(Summary { answered: 1, ..Summary::default() }.is_complete());
    }
}
