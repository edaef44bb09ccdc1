//! Each attempt is judged once.

use std::sync::Arc;

use crate::{Classification, ReadLimits, Reading};

/// Judges the result of an attempt, once, for all layers.
///
/// A closure is a classifier: it takes a `Result<&Response, &Error>` and returns an
/// [`Outcome`](crate::Outcome) or a [`Classification`].
pub trait Classify<Res, Err> {
    /// Judges the head of a response, or an error.
    fn classify(&self, result: Result<&Res, &Err>) -> Classification;

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
    fn classify(&self, result: Result<&Res, &Err>) -> Classification {
        self.classifier.classify(result)
    }

    fn readings(&self, response: &Res) -> Vec<Reading> {
        self.reader.read_limits(response)
    }
}

impl<Res, Err, F, V> Classify<Res, Err> for F
where
    F: Fn(Result<&Res, &Err>) -> V,
    V: Into<Classification>,
{
    fn classify(&self, result: Result<&Res, &Err>) -> Classification {
        self(result).into()
    }
}

impl<Res, Err, C: Classify<Res, Err> + ?Sized> Classify<Res, Err> for Arc<C> {
    fn classify(&self, result: Result<&Res, &Err>) -> Classification {
        (**self).classify(result)
    }

    fn readings(&self, response: &Res) -> Vec<Reading> {
        (**self).readings(response)
    }
}
