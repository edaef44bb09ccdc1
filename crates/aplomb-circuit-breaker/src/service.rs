//! The service, and the door that it shares with all others of its layer.

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use aplomb_admission::{
    Admission, AdmissionFuture, Door, OnHead, Permit, Queue, RejectReason, Rejected, Stopped, Unprepared,
    Wait,
};
use aplomb_core::{BoxError, CallOptions, HttpClassifier, LayerName, Rejection};

use crate::{Circuit, CircuitOpen, OpenReason, TooManyKeys};

/// A service behind a circuit. Made by [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
///
/// It is always ready; the inner service is readied just before it is called. Clones share the
/// circuit.
pub type CircuitBreaker<S, C = HttpClassifier, U = OnHead> = Admission<S, CircuitDoor, C, U>;

/// The future of a [`CircuitBreaker`]'s call. Dropping it takes the call back: it counts neither as a
/// success nor as a failure.
pub type CircuitBreakerFuture<S, Req, C = HttpClassifier, U = OnHead> =
    AdmissionFuture<S, Req, CircuitDoor, C, U>;

/// Leads every request to the one circuit, and says [`CircuitOpen`] to those it refuses.
#[derive(Clone, Debug)]
pub struct CircuitDoor {
    queue: Queue<Circuit>,
}

impl CircuitDoor {
    pub(crate) const fn new(queue: Queue<Circuit>) -> Self {
        Self { queue }
    }
}

impl<Req> Door<Req> for CircuitDoor {
    type Gate = Circuit;
    type Preparing = Unprepared<Req>;

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a permit is large, and made in its place instead of being moved"
    )]
    fn ask(
        &self,
        _: &Req,
        options: &CallOptions,
        cx: &Context<'_>,
        permit: &mut Option<Permit<Circuit>>,
    ) -> Option<Stopped<Circuit>> {
        self.queue.ask((), Wait::from(options), cx, permit)
    }

    fn refuse(&self, rejected: Rejected<OpenReason>, options: &CallOptions) -> BoxError {
        word(&rejected, options, None)
    }
}

/// The error of a call that was rejected away, from the circuit of this key where there are several.
pub(crate) fn word(
    rejected: &Rejected<OpenReason>,
    options: &CallOptions,
    key: Option<&Arc<str>>,
) -> BoxError {
    let why = rejected.gate_reason().copied();
    let retry_after = why.and_then(|why| why.retry_after()).or(rejected.retry_after());
    let refused = refused(retry_after, rejected.waited(), options);
    match (why, key) {
        (Some(why), None) => Box::new(CircuitOpen::new(why, refused)),
        (Some(why), Some(key)) => Box::new(CircuitOpen::new(why, refused).with_key(Arc::clone(key))),
        (None, _) if rejected.reason() == RejectReason::TooManyKeys => Box::new(TooManyKeys::new(refused)),
        // The queue is closed: not for the circuit's sake.
        (None, _) => Box::new(refused),
    }
}

/// The account of a call that was refused.
fn refused(retry_after: Option<Duration>, waited: Duration, options: &CallOptions) -> Rejection {
    Rejection::by(LayerName::CircuitBreaker)
        .with_retry_after(retry_after)
        .with_waited(waited)
        .with_attempts(options.attempts(), options.last())
}

impl CircuitOpen {
    /// The refusal of a call that has not waited.
    pub(crate) fn at_once(why: OpenReason, options: &CallOptions) -> Self {
        Self::new(why, refused(why.retry_after(), Duration::ZERO, options))
    }
}
