//! Every attempt passes the queue before the gates.

use std::fmt;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use aplomb_admission::{Closing, Door, KeyRefused, Permit, Queue, RejectReason, Rejected, Stopped, Wait};
use aplomb_circuit_breaker::{CircuitOpen, StateWatch, TracingObserver as CircuitLog, Transition};
use aplomb_concurrency::{AtCapacity, TracingObserver as LimitLog};
use aplomb_core::{BoxError, CallOptions, LayerName, LogEvents, Observe, Rejection};
use aplomb_rate_limit::{RateLimited, Settle};
use http_body::Body;

use super::RequestHook;
use super::attempt_request::AttemptRequest;
use super::gates::{EndpointGates, EndpointRejection, GateEvent, raise_max_pause};
use super::hook::Hooking;
use super::keyed::Keys;
use crate::Policy;
use crate::route::RequestView;

/// A queue before such gates; `watch` follows the circuit.
pub(super) fn queue(policy: &Policy, settle: Settle, watch: StateWatch) -> Queue<EndpointGates> {
    Queue::new(EndpointGates::new(policy, settle), policy.queue_limits(), GateLog((watch, CircuitLog)))
}

/// Leads every request to its queue. Behind it the hook is at work, where there is one.
#[derive(Clone)]
pub(crate) struct EndpointDoor {
    pub(super) queues: Queues,
    /// And how long it may take.
    pub(super) hook: Option<(Arc<dyn RequestHook>, Duration)>,
}

/// The queues of an endpoint.
#[derive(Clone, Debug)]
pub(super) enum Queues {
    /// One for all calls.
    One(Queue<EndpointGates>),
    /// One for each key.
    Keyed(Arc<dyn Keys>),
}

impl Queues {
    /// Puts another policy in force.
    pub(super) fn adopt(&self, policy: &Policy) {
        // Not under the lock of a queue: it has others ask again.
        raise_max_pause(policy);
        match self {
            Self::One(queue) => {
                queue.set_limits(|_| policy.queue_limits());
                queue.with(|gates, now| gates.adopt(policy, now));
            }
            Self::Keyed(keys) => keys.adopt(policy),
        }
    }

    /// Refuses new calls from now on.
    pub(super) fn close(&self, closing: Closing) {
        match self {
            Self::One(queue) => queue.close(closing),
            Self::Keyed(keys) => keys.close(closing),
        }
    }
}

impl<B: Body + Clone> Door<AttemptRequest<B>> for EndpointDoor {
    type Gate = EndpointGates;
    type Preparing = Hooking<B>;

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a permit is large, and made in its place instead of being moved"
    )]
    fn ask(
        &self,
        attempt: &AttemptRequest<B>,
        options: &CallOptions,
        cx: &Context<'_>,
        permit: &mut Option<Permit<EndpointGates>>,
    ) -> Option<Stopped<EndpointGates>> {
        attempt.call.asks();
        let (cost, wait) = (attempt.charge.clone(), Wait::from(options));
        match &self.queues {
            Queues::One(queue) => queue.ask(cost, wait, cx, permit),
            Queues::Keyed(keys) => keys.ask(&RequestView::of(&attempt.request), cost, wait, cx, permit),
        }
    }

    fn refuse(&self, rejected: Rejected<EndpointRejection>, options: &CallOptions) -> BoxError {
        refusal(rejected, options)
    }

    fn refuse_request(
        &self,
        attempt: &AttemptRequest<B>,
        rejected: Rejected<EndpointRejection>,
        options: &CallOptions,
    ) -> BoxError {
        let error = refusal(rejected, options);
        match &self.queues {
            Queues::One(..) => error,
            Queues::Keyed(keys) => {
                Box::new(KeyRefused::new(keys.name(&RequestView::of(&attempt.request)), error))
            }
        }
    }

    fn prepares(&self) -> bool {
        self.hook.is_some()
    }

    fn prepare(&self, attempt: AttemptRequest<B>) -> Hooking<B> {
        let Some((hook, longest)) = &self.hook else {
            panic!("there is no hook");
        };
        attempt.call.admitted();
        Hooking::new(&**hook, attempt, *longest)
    }
}

impl fmt::Debug for EndpointDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointDoor").field("queues", &self.queues).finish_non_exhaustive()
    }
}

fn refusal(rejected: Rejected<EndpointRejection>, options: &CallOptions) -> BoxError {
    let refused = |who, retry_after| {
        Rejection::by(who)
            .with_retry_after(retry_after)
            .with_waited(rejected.waited())
            .with_attempts(options.attempts(), options.last())
    };
    match (rejected.gate_reason().copied(), rejected.reason()) {
        (Some(EndpointRejection::Circuit(reason)), _) => {
            let retry_after = rejected.retry_after().or(reason.retry_after());
            Box::new(CircuitOpen::new(reason, refused(LayerName::CircuitBreaker, retry_after)))
        }
        (Some(EndpointRejection::Quota(limit) | EndpointRejection::Pool(limit)), _) => {
            Box::new(RateLimited::new(&rejected.map(|_| limit), options))
        }
        (Some(EndpointRejection::Concurrency(occupancy)), _) => {
            Box::new(AtCapacity::new(&rejected.map(|_| occupancy), options))
        }
        (None, RejectReason::Closed) => Box::new(refused(LayerName::Endpoint, None).with_reason("closed")),
        (None, RejectReason::TooManyKeys) => {
            Box::new(refused(LayerName::Endpoint, None).with_reason("too many keys"))
        }
        (None, RejectReason::QueueFull) => {
            Box::new(refused(LayerName::Endpoint, rejected.retry_after()).with_reason("queue full"))
        }
        (None, _) => {
            Box::new(refused(LayerName::Endpoint, rejected.retry_after()).with_reason("would wait too long"))
        }
    }
}

/// Passes the events of the gates on to their observers.
#[derive(Clone, Copy, Debug)]
pub(super) struct GateLog<O>(O);

impl<O: Observe<Transition>> Observe<GateEvent> for GateLog<O> {
    fn on_event(&self, event: &GateEvent) {
        match event {
            GateEvent::Circuit(transition) => self.0.on_event(transition),
            GateEvent::RateLimit(event) => LogEvents.on_event(event),
            GateEvent::Concurrency(change) => LimitLog.on_event(change),
        }
    }
}
