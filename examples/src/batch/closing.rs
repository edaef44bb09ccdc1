//! What is said when a run is over.

use std::fmt::{self, Display};

use super::run::{Ended, Summary};
use super::signs::Signs;

/// The last words.
pub(crate) struct Closing<'a> {
    summary: &'a Summary,
    signs: &'a Signs,
}

impl<'a> Closing<'a> {
    /// Those of a run that came to `summary`.
    pub(crate) fn of(summary: &'a Summary, signs: &'a Signs) -> Self {
        Self { summary, signs }
    }
}

impl Display for Closing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { answered, before, failed, bad, took, ended } = self.summary;
        match ended {
            // Of results that can not be written the reason is told.
            Ended::Through | Ended::Unwritable => {}
            Ended::Stopped => writeln!(f, "stopped; run it again with the same output to go on")?,
            Ended::Hopeless(reason) => writeln!(f, "given up: {reason}")?,
            Ended::Unreadable(error) => writeln!(f, "the input can not be read: {error}")?,
        }
        write!(f, "{answered} answered, {failed} failed")?;
        if *before > 0 {
            write!(f, ", {before} answered before")?;
        }
        if *bad > 0 {
            write!(f, ", {bad} lines that are no prompts")?;
        }
        let (requests, throttled) = (self.signs.requests(), self.signs.throttled());
        write!(f, "; {:.1} s; requests {requests}, refused with 429: {throttled}", took.as_secs_f64())
    }
}

impl Summary {
    /// Whether every prompt has its answer.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.ended, Ended::Through) && self.failed == 0 && self.bad == 0
    }
}
