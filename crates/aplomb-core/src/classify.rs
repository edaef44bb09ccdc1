//! One judgement per attempt.

use std::sync::Arc;

use crate::{Exchange, Outcome, ReadLimits, Reading, Usage};

/// Judges what an attempt came to, once, for all layers.
pub trait Classify<Res, Err> {
    /// Judges the head of a response, or an error.
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict;

    /// What the head of a response says about the server's limits, for the gates that keep them.
    /// Nothing unless told otherwise, see [`WithReadings`].
    fn readings(&self, response: &Res) -> Vec<Reading> {
        let _ = response;
        Vec::new()
    }
}

/// A classifier that also reads what responses say about the server's limits.
#[derive(Clone, Copy, Debug, Default)]
pub struct WithReadings<C, R> {
    classifier: C,
    reader: R,
}

impl<C, R> WithReadings<C, R> {
    /// Judges as `classifier` does, and reads limits as `reader` does.
    pub const fn new(classifier: C, reader: R) -> Self {
        Self { classifier, reader }
    }
}

impl<Res, Err, C: Classify<Res, Err>, R: ReadLimits<Res>> Classify<Res, Err> for WithReadings<C, R> {
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        self.classifier.classify(result)
    }

    fn readings(&self, response: &Res) -> Vec<Reading> {
        self.reader.read_limits(response)
    }
}

/// What an attempt came to: as it was judged, or as the reader of the bytes will have seen it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// Judged once and for all.
    Fixed(Outcome),
    /// Read along as the body flows: what looked like a success may still break.
    Live(Exchange),
}

impl Verdict {
    /// What is known by now.
    #[inline]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Fixed(outcome) => *outcome,
            Self::Live(exchange) => exchange.outcome(),
        }
    }

    /// Whether nothing that may still come can change it: the answer has been read to its end marker, or
    /// to an error.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Live(exchange) => exchange.is_whole() || !exchange.outcome().is_success(),
        }
    }

    /// What the answer consumed of quotas, as far as it has been reported.
    #[inline]
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Fixed(_) => None,
            Self::Live(exchange) => exchange.counted(),
        }
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self::Fixed(outcome)
    }
}

impl<Res, Err, F, V> Classify<Res, Err> for F
where
    F: Fn(Result<&Res, &Err>) -> V,
    V: Into<Verdict>,
{
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        self(result).into()
    }
}

impl<Res, Err, C: Classify<Res, Err> + ?Sized> Classify<Res, Err> for Arc<C> {
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        (**self).classify(result)
    }

    fn readings(&self, response: &Res) -> Vec<Reading> {
        (**self).readings(response)
    }
}
