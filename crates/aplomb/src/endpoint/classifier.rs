//! The classifier of the layers in an endpoint.

use std::fmt;
use std::sync::Arc;

use aplomb_core::{
    Classification, Classify, Exchange, HttpClassifier, Outcome, Reading, ResponseHead, WallClock, find_in,
};
use aplomb_provider::{Head, Provider};

use super::attempt_error::AttemptError;
use super::hook::HookFailed;

/// Reads the results of attempts, which the innermost judge has written into the record of the call. Only an
/// attempt that was never sent is judged here.
#[derive(Clone)]
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
        let exchange = match result {
            Ok(response) => response.extensions().and_then(|extensions| extensions.get::<Exchange>()),
            Err(error) => AttemptError::exchange(error),
        };
        match (exchange, result) {
            (Some(exchange), _) => exchange.result(),
            (None, Err(error)) if find_in::<HookFailed, Err>(error).is_some() => Outcome::local().into(),
            (None, _) => self.http.classify(result),
        }
    }

    fn has_succeeded(&self, result: Result<&Res, &Err>) -> bool {
        self.http.has_succeeded(result)
    }

    fn readings(&self, response: &Res) -> Vec<Reading> {
        match (response.status(), response.headers()) {
            (Some(status), Some(headers)) => self.provider.limits(&Head::new(status, headers, &self.clock)),
            _ => Vec::new(),
        }
    }
}

impl fmt::Debug for EndpointClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointClassifier")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}
