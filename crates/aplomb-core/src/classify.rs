//! Classifiers: they decide how an attempt ended.

use std::sync::Arc;

use crate::{Classification, Reading};

/// Decides how an attempt ended: success, worth a retry, or not. It has no side effects.
///
/// A closure is a classifier: it takes a `Result<&Response, &Error>` and returns an
/// [`Outcome`](crate::Outcome) or a [`Classification`].
///
/// # Examples
///
/// ```
/// use std::io;
/// use aplomb_core::{Classify, Outcome};
///
/// let classifier = |result: Result<&String, &io::Error>| match result {
///     Ok(answer) if answer.is_empty() => Outcome::transient(),
///     Ok(_) => Outcome::success(),
///     Err(error) if error.kind() == io::ErrorKind::InvalidInput => Outcome::permanent(),
///     Err(_) => Outcome::transient(),
/// };
/// assert!(classifier.classify(Ok(&String::new())).outcome().is_retryable());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot classify a result of `{Res}` or `{Err}`",
    label = "not a classifier for this response and error",
    note = "pass a closure `|result: Result<&Response, &Error>| -> Outcome`, or a type that implements `Classify`"
)]
pub trait Classify<Res, Err> {
    /// Classifies the head of a response, or an error.
    fn classify(&self, result: Result<&Res, &Err>) -> Classification;

    /// Returns whether an attempt has succeeded, if that can be told for less than a classification: `true` only if
    /// [`classify`](Self::classify) says so too. A layer that needs to know no more about a success asks this first. The
    /// default is `false`: the attempt has to be classified.
    #[inline]
    fn has_succeeded(&self, result: Result<&Res, &Err>) -> bool {
        let _ = result;
        false
    }

    /// Reads the server's limits from the head of a response, for a rate limit that follows them. The default
    /// reads none.
    fn readings(&self, response: &Res) -> Vec<Reading> {
        let _ = response;
        Vec::new()
    }
}

/// A classifier that also reads the server's limits from responses, with a closure
/// `Fn(&Response) -> Vec<Reading>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct WithReadings<C, R> {
    classifier: C,
    reader: R,
}

impl<C, R> WithReadings<C, R> {
    /// Classifies with `classifier` and reads limits with `reader`.
    pub const fn new(classifier: C, reader: R) -> Self {
        Self { classifier, reader }
    }
}

impl<Res, Err, C, R> Classify<Res, Err> for WithReadings<C, R>
where
    C: Classify<Res, Err>,
    R: Fn(&Res) -> Vec<Reading>,
{
    fn classify(&self, result: Result<&Res, &Err>) -> Classification {
        self.classifier.classify(result)
    }

    fn has_succeeded(&self, result: Result<&Res, &Err>) -> bool {
        self.classifier.has_succeeded(result)
    }

    fn readings(&self, response: &Res) -> Vec<Reading> {
        (self.reader)(response)
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

    fn has_succeeded(&self, result: Result<&Res, &Err>) -> bool {
        (**self).has_succeeded(result)
    }

    fn readings(&self, response: &Res) -> Vec<Reading> {
        (**self).readings(response)
    }
}
