//! Admission of attempts: their queues, costs and rejections.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aplomb_admission::{Entries, ErasedKey, RejectReason, Rejected, RequestPolicy};
use aplomb_circuit_breaker::CircuitOpen;
use aplomb_concurrency::AtCapacity;
use aplomb_core::{
    BoxError, CallOptions, Event, KeyLabel, LayerName, LogEvents, Observe, Rejection, RequestView, notify,
};
use aplomb_rate_limit::RateLimited;
use http_body::Body;

use super::attempt_request::AttemptRequest;
use super::gates::{EndpointCost, EndpointGates, EndpointRejection, GateEvent};
use super::hook::Hooking;
use super::hook::RequestHook;
use super::in_force::{PolicyInForce, has_one_credential};
use super::settings::Settings;
use super::unused_gates;
use crate::{Policy, route};

/// The queues of an endpoint, for all calls or for each key.
pub(super) fn entries(settings: &Settings, policy: &Arc<PolicyInForce>) -> Entries<EndpointGates> {
    let (settle, observer) = (settings.settle(), settings.observer.clone());
    let on_event = move |event: &GateEvent, key: Option<&KeyLabel>| match &observer {
        Some(observer) => event.report(&**observer, key),
        None => event.report(&LogEvents, key),
    };
    let in_force = policy.policy();
    let limits = in_force.queue_limits();
    unused_gates::raise_max_pause(&in_force);
    match &settings.key_by {
        None => Entries::one(policy.gates(None, None, settle), limits, on_event),
        Some(by) => {
            let (policy, quotas_of) = (Arc::clone(policy), settings.quotas_of.clone());
            let make = move |key: &dyn ErasedKey| policy.gates(Some(key), quotas_of.as_deref(), settle);
            Entries::keyed(by.clone(), settings.max_keys, limits, make, on_event)
        }
    }
}

/// Puts another policy in force for the gates that there are.
pub(super) fn adopt(entries: &Entries<EndpointGates>, policy: &Policy, settings: &Settings) {
    // Not under the lock of a queue: it makes others ask again.
    unused_gates::raise_max_pause(policy);
    entries.set_limits(|_| policy.queue_limits());
    let circuits =
        [false, true].map(|one_credential| Arc::new(unused_gates::circuit(policy, one_credential)));
    entries.for_each_gate(|key, queue| {
        // Not under the lock: it is the user's code.
        let own = settings.quotas_of.as_ref().zip(key).and_then(|(quotas_of, key)| quotas_of(key));
        let one_credential = key.is_some_and(has_one_credential);
        let circuit = Arc::clone(&circuits[usize::from(one_credential)]);
        let server = unused_gates::server(policy, one_credential);
        queue.with(|gates, now| {
            gates.adopt(policy, own.as_ref().unwrap_or(&policy.quotas), circuit, server, now);
        });
    });
}

/// Passes an event to the observer, or logs it.
fn tell(observer: Option<&(dyn Observe + Send + Sync)>, event: &Event) {
    match observer {
        Some(observer) => notify(observer, event),
        None => notify(&LogEvents, event),
    }
}

/// How attempts are admitted: their cost, the error of a rejection, and the hook.
#[derive(Clone)]
pub(crate) struct EndpointAdmission {
    pub(super) entries: Entries<EndpointGates>,
    /// The hook, and its time limit.
    pub(super) hook: Option<(Arc<dyn RequestHook>, Duration)>,
    pub(super) observer: Option<Arc<dyn Observe + Send + Sync>>,
}

impl<B: Body + Clone> RequestPolicy<AttemptRequest<B>> for EndpointAdmission {
    type Gate = EndpointGates;
    // In a box, since most endpoints have no hook.
    type Preparing = Pin<Box<Hooking<B>>>;

    #[inline]
    fn entries(&self) -> &Entries<EndpointGates> {
        &self.entries
    }

    fn view<'r>(&self, attempt: &'r AttemptRequest<B>) -> RequestView<'r> {
        route::view(&attempt.request)
    }

    #[inline]
    fn cost(&self, attempt: &AttemptRequest<B>, _: &CallOptions) -> EndpointCost {
        EndpointCost { failed: attempt.call.asks(), call: attempt.call.clone() }
    }

    fn rejection(
        &self,
        rejected: &Rejected<EndpointRejection>,
        key: Option<KeyLabel>,
        options: &CallOptions,
    ) -> BoxError {
        let (error, event) = describe(rejected, key.clone(), options);
        tell(self.observer.as_deref(), &event.with_key(key));
        error
    }

    #[inline]
    fn preparation(&self) -> Option<impl FnOnce(AttemptRequest<B>) -> Self::Preparing> {
        let (hook, longest) = self.hook.as_ref()?;
        Some(move |attempt: AttemptRequest<B>| {
            attempt.call.admitted();
            Box::pin(Hooking::new(&**hook, *longest, attempt))
        })
    }
}

impl fmt::Debug for EndpointAdmission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointAdmission")
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

/// The error of a call that was rejected, and the event.
fn describe(
    rejected: &Rejected<EndpointRejection>,
    key: Option<KeyLabel>,
    options: &CallOptions,
) -> (BoxError, Event) {
    let details = |layer, retry_after| {
        Rejection::by(layer)
            .with_retry_after(retry_after)
            .with_waited(rejected.waited())
            .with_attempts(options.attempts(), options.last())
    };
    let in_short = match rejected.reason() {
        RejectReason::Closed => "closed",
        RejectReason::TooManyKeys => "key limit reached (all keys in use)",
        RejectReason::QueueFull => "queue full",
        _ => "would wait too long",
    };
    let retry_after = rejected.retry_after();
    match rejected.gate_reason().copied() {
        Some(EndpointRejection::Circuit(reason)) => {
            let retry_after = retry_after.or(reason.retry_after());
            let error =
                CircuitOpen::new(reason, details(LayerName::CircuitBreaker, retry_after)).with_key(key);
            (error.into(), Event::rejected(LayerName::CircuitBreaker, "circuit open", retry_after))
        }
        Some(EndpointRejection::Quota(reason) | EndpointRejection::Pool(reason)) => {
            let error = RateLimited::new(&rejected.map(|_| reason), options).with_key(key);
            let event = error.event();
            (error.into(), event)
        }
        Some(EndpointRejection::Concurrency(occupancy)) => {
            let error = AtCapacity::new(&rejected.map(|_| occupancy), options).with_key(key);
            let event = error.event();
            (error.into(), event)
        }
        Some(EndpointRejection::Server(_)) | None => {
            let error = details(LayerName::Endpoint, retry_after).with_reason(in_short);
            (error.into(), Event::rejected(LayerName::Endpoint, in_short, retry_after))
        }
    }
}
