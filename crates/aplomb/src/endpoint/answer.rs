//! An answer that is not what its head said.

use std::error::Error;
use std::fmt;

use std::sync::Arc;

use aplomb_core::{
    BoxError, Classification, Classify, HttpClassifier, Outcome, Reading, ResponseHead, WallClock, find_in,
};
use aplomb_provider::{Head, Provider, StreamEnd};

use super::HookFailed;
use super::spent::Spent;

/// An answer arrived with a good status and is none: it was cut off, it held an error, or it was
/// larger than allowed.
///
/// Before anything of it has reached the caller it is a failed attempt, which is retried where that may
/// help. Later it is the error that the body of the answer ends with, once everything that arrived has been
/// handed on; then nothing is retried. Only [`whole_answers`](crate::Policy::whole_answers) can be
/// too large.
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

    /// What the provider was judged to have said; `None` where the answer was too large.
    #[must_use]
    pub fn classification(&self) -> Option<Classification> {
        match &self.0 {
            Fault::Ended(end) => Some(end.classification()),
            Fault::TooLarge(_) => None,
        }
    }

    /// What the attempt came to.
    pub fn outcome(&self) -> Outcome {
        self.classification()
            .map_or(Outcome::permanent(), |classification| classification.outcome())
    }
}

impl fmt::Display for BrokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Fault::Ended(StreamEnd::Truncated) => f.write_str("the answer ended before its end"),
            Fault::Ended(end) => write!(f, "the answer held an error: {}", end.classification()),
            Fault::TooLarge(limit) => write!(f, "the answer is larger than {limit} bytes"),
        }
    }
}

impl Error for BrokenAnswer {}

/// The rules of HTTP, what broken answers came to, and what the provider says about its limits.
#[derive(Clone, Debug)]
pub(crate) struct EndpointClassifier {
    http: HttpClassifier,
    provider: Arc<dyn Provider>,
    clock: WallClock,
}

impl EndpointClassifier {
    pub(super) fn new(provider: Arc<dyn Provider>, clock: WallClock) -> Self {
        Self { http: HttpClassifier::new().clock(clock.clone()), provider, clock }
    }
}

impl<Res: ResponseHead, Err: 'static> Classify<Res, Err> for EndpointClassifier {
    fn classify(&self, result: Result<&Res, &Err>) -> Classification {
        let Err(error) = result else {
            return self.http.classify(result);
        };
        // First: a hook may have failed by a broken answer of another endpoint.
        if find_in::<HookFailed, Err>(error).is_some() {
            Outcome::local().into()
        } else if let Some(Spent { error, exchange }) = find_in(error) {
            let classification: Classification = Classify::<Res, BoxError>::classify(self, Err(error));
            exchange.set_outcome(classification.outcome());
            Classification::live(exchange.clone())
        } else if let Some(broken) = find_in::<BrokenAnswer, Err>(error) {
            broken.outcome().into()
        } else {
            self.http.classify(result)
        }
    }

    fn readings(&self, response: &Res) -> Vec<Reading> {
        match (response.status(), response.headers()) {
            (Some(status), Some(headers)) => self.provider.limits(&Head::new(status, headers, &self.clock)),
            _ => Vec::new(),
        }
    }
}
