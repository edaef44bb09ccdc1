//! One judgement per attempt.

use std::sync::Arc;

use crate::{Exchange, Outcome, Usage};

/// Judges what an attempt came to, once, for all layers.
pub trait Classify<Res, Err> {
    /// Judges the head of a response, or an error.
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict;
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

    /// What the answer consumed, as far as it has been reported.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Fixed(_) => None,
            Self::Live(exchange) => exchange.usage(),
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
}
