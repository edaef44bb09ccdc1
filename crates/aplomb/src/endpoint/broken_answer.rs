//! A response that is not what its head says.

use std::error::Error;
use std::fmt;

use aplomb_core::{Classification, Outcome};
use aplomb_provider::StreamEnd;

/// A response with a success status that is really a failure: it was cut off, contained an error, or was larger
/// than allowed.
///
/// Before any of it has reached the caller, it is a failed attempt, which is retried if that may help. Later it is
/// the error at the end of the response body, after everything that arrived; then nothing is retried. Only
/// [`whole_answers`](crate::Policy::whole_answers) can be too large.
#[derive(Clone, Debug)]
pub struct BrokenAnswer(Fault);

#[derive(Clone, Debug)]
enum Fault {
    Ended(StreamEnd),
    TooLarge(usize),
}

impl BrokenAnswer {
    pub(super) const fn ended(end: StreamEnd) -> Self {
        Self(Fault::Ended(end))
    }

    pub(super) const fn failed(error: Classification) -> Self {
        Self::ended(StreamEnd::Failed(error))
    }

    pub(super) const fn too_large(limit: usize) -> Self {
        Self(Fault::TooLarge(limit))
    }

    /// How the response was judged; `None` if it was too large.
    #[must_use]
    pub fn classification(&self) -> Option<Classification> {
        match &self.0 {
            Fault::Ended(end) => Some(end.classification()),
            Fault::TooLarge(_) => None,
        }
    }

    /// The outcome of the attempt.
    pub fn outcome(&self) -> Outcome {
        self.classification()
            .map_or(Outcome::permanent(), |classification| classification.outcome())
    }
}

impl fmt::Display for BrokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Fault::Ended(StreamEnd::Truncated) => f.write_str("the response ended early"),
            Fault::Ended(end) => write!(f, "the response contains an error: {}", end.classification()),
            Fault::TooLarge(limit) => write!(f, "the response is larger than {limit} bytes"),
        }
    }
}

impl Error for BrokenAnswer {}
