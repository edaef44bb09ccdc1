//! What the circuit says about requests.

use std::fmt;
use std::future::{Ready, ready};
use std::time::Duration;

use aplomb_admission::{Admission, AdmissionFuture, Entries, OnHead, RejectReason, Rejected, RequestPolicy};
use aplomb_core::{
    BoxError, CallOptions, Event, HttpClassifier, KeyLabel, LayerName, Rejection, RequestHead, RequestView,
    notify,
};

use crate::layer::Observer;
use crate::{Circuit, CircuitOpen, OpenReason};

/// A service behind a circuit. Made by [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
///
/// It is always ready; the inner service is readied just before it is called. Clones share the circuits.
pub type CircuitBreaker<S, C = HttpClassifier, U = OnHead> = Admission<S, CircuitPolicy, C, U>;

/// The future of a [`CircuitBreaker`]'s call. Dropping it takes the call back: it counts neither as a success nor as a
/// failure.
pub type CircuitBreakerFuture<S, Req, C = HttpClassifier, U = OnHead> =
    AdmissionFuture<S, Req, CircuitPolicy, C, U>;

/// Every call asks for nothing but to pass, and a rejection is a [`CircuitOpen`].
pub struct CircuitPolicy {
    entries: Entries<Circuit>,
    observer: Observer,
}

impl CircuitPolicy {
    pub(crate) const fn new(entries: Entries<Circuit>, observer: Observer) -> Self {
        Self { entries, observer }
    }
}

impl<Req: RequestHead> RequestPolicy<Req> for CircuitPolicy {
    type Gate = Circuit;
    type Preparing = Ready<Result<Req, BoxError>>;

    #[inline]
    fn entries(&self) -> &Entries<Circuit> {
        &self.entries
    }

    fn view<'r>(&self, request: &'r Req) -> RequestView<'r> {
        RequestView::head(request)
    }

    #[inline]
    fn cost(&self, _: &Req, _: &CallOptions) {}

    fn rejection(
        &self,
        rejected: Rejected<OpenReason>,
        key: Option<KeyLabel>,
        options: &CallOptions,
    ) -> BoxError {
        let reason = rejected.gate_reason().copied();
        let retry_after = reason.and_then(|reason| reason.retry_after()).or(rejected.retry_after());
        let details = rejection(retry_after, rejected.waited(), options);
        let in_short = match (reason, rejected.reason()) {
            (Some(_), _) => "circuit open",
            (None, RejectReason::TooManyKeys) => "key limit reached (all circuits in use)",
            (None, RejectReason::Closed) => "closed",
            (None, _) => "would wait too long",
        };
        let event = Event::rejected(LayerName::CircuitBreaker, in_short, retry_after);
        notify(&self.observer, &event.with_key(key.clone()));
        match reason {
            Some(reason) => Box::new(CircuitOpen::new(reason, details).with_key(key)),
            None => Box::new(details.with_reason(in_short)),
        }
    }

    #[inline]
    fn prepares(&self) -> bool {
        false
    }

    fn prepare(&self, request: Req) -> Ready<Result<Req, BoxError>> {
        ready(Ok(request))
    }
}

/// The details of a call that was rejected.
fn rejection(retry_after: Option<Duration>, waited: Duration, options: &CallOptions) -> Rejection {
    Rejection::by(LayerName::CircuitBreaker)
        .with_retry_after(retry_after)
        .with_waited(waited)
        .with_attempts(options.attempts(), options.last())
}

impl CircuitOpen {
    /// The rejection of a call that has not waited.
    pub(crate) fn at_once(reason: OpenReason, key: Option<KeyLabel>, options: &CallOptions) -> Self {
        Self::new(reason, rejection(reason.retry_after(), Duration::ZERO, options)).with_key(key)
    }
}

impl fmt::Debug for CircuitPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitPolicy").field("entries", &self.entries).finish_non_exhaustive()
    }
}
