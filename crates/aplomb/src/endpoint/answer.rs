//! An answer that is not what its head said.

use std::error::Error;
use std::fmt;

use aplomb_core::{Classify, HttpClassifier, Outcome, ResponseHead, Verdict, find_in};
use aplomb_provider::{Judgement, StreamEnd};

/// An answer arrived with a good status and is none: it was cut off, it held an error, or it was
/// larger than allowed.
///
/// Only where whole answers are asked for, see
/// [`whole_answers`](crate::EndpointLayer::whole_answers).
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

    pub(super) const fn too_large(limit: usize) -> Self {
        Self(Fault::TooLarge(limit))
    }

    /// What the provider was judged to have said; `None` where the answer was too large.
    #[must_use]
    pub fn judgement(&self) -> Option<Judgement> {
        match &self.0 {
            Fault::Ended(end) => Some(end.judgement()),
            Fault::TooLarge(_) => None,
        }
    }

    /// What the attempt came to.
    pub fn outcome(&self) -> Outcome {
        self.judgement().map_or(Outcome::permanent(), |judgement| judgement.outcome())
    }
}

impl fmt::Display for BrokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Fault::Ended(StreamEnd::Truncated) => f.write_str("the answer ended before its end"),
            Fault::Ended(end) => write!(f, "the answer held an error: {}", end.judgement()),
            Fault::TooLarge(limit) => write!(f, "the answer is larger than {limit} bytes"),
        }
    }
}

impl Error for BrokenAnswer {}

/// The rules of HTTP, and what broken answers came to.
#[derive(Clone, Debug, Default)]
pub struct EndpointClassifier(HttpClassifier);

impl EndpointClassifier {
    pub(super) const fn new(http: HttpClassifier) -> Self {
        Self(http)
    }
}

impl<Res: ResponseHead, Err: 'static> Classify<Res, Err> for EndpointClassifier {
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        match result.err().and_then(find_in::<BrokenAnswer, Err>) {
            Some(broken) => broken.outcome().into(),
            None => self.0.classify(result),
        }
    }
}
