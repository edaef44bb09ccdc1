//! The gates of an endpoint, and the queues before them.

use std::fmt;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use aplomb_admission::{
    Both, Closing, Door, Either, Gate, KeyRefused, Permit, Queue, Stopped, Turned, TurnedBecause, Wait,
};
use aplomb_circuit_breaker::{Circuit, CircuitOpen, StateWatch, TracingObserver as CircuitLog, Transition};
use aplomb_concurrency::{AtCapacity, Slots, TracingObserver as LimitLog};
use aplomb_core::{BoxError, CallOptions, LayerName, Observe, Rejection};
use aplomb_rate_limit::{Exceeded, Member, Pool, Quotas, Settle};
use http_body::Body;
use tokio::time::Instant;

use super::RequestHook;
use super::hook::Hooking;
use super::keyed::Keys;
use super::outbound::Outbound;
use crate::Policy;
use crate::route::RequestView;

/// The gates of an endpoint: its circuit, its quotas and, where they are asked for, the pool it draws on with
/// others and its concurrency limit. They decide in one step, all or nothing. In a box, since together their
/// slips are large.
pub(crate) type Gates = Box<Both<Circuit, Both<Quotas, Both<Option<Member>, Option<Slots>>>>>;

/// What the gates have to tell; quotas tell nothing.
pub(super) type Notice = <Gates as Gate>::Notice;

/// The limit of slots that are only there for the calls that were let through by them.
const UNLIMITED: usize = usize::MAX;

/// Gates as a policy wants them.
pub(super) fn gates(policy: &Policy, settle: Settle) -> Gates {
    let mut quotas = Quotas::new(policy.quotas.iter().copied(), policy.seed.unwrap_or_else(rand::random));
    quotas.set_max_pause(policy.max_retry_after);
    quotas.set_settle(settle);
    raise_max_pause(policy);
    let member = policy.pool.as_ref().map(Pool::member);
    // What the server says is about the pool then, which learns it for all.
    quotas.set_learning(member.is_none());
    Box::new(Both(circuit(policy), Both(quotas, Both(member, policy.concurrency.map(Slots::new)))))
}

/// What an endpoint would wait for, its pool does not refuse to all.
fn raise_max_pause(policy: &Policy) {
    if let Some(pool) = &policy.pool {
        pool.raise_max_pause(policy.max_retry_after);
    }
}

/// A queue before such gates; `watch` follows the circuit.
pub(super) fn queue(policy: &Policy, settle: Settle, watch: StateWatch) -> Queue<Gates> {
    Queue::new(gates(policy, settle), policy.queue_limits(), GateLog((watch, CircuitLog)))
}

fn circuit(policy: &Policy) -> Circuit {
    let circuit = Circuit::new()
        .trip(policy.trip.clone())
        .cooldown(policy.cooldown)
        .ramp(policy.ramp)
        .on_open(policy.on_open);
    match policy.seed {
        Some(seed) => circuit.seed(seed),
        None => circuit,
    }
}

/// Puts another policy in force before gates that are in use: what is in flight is not lost. The pool stays,
/// since what has been drawn from it has to be settled with it.
pub(super) fn adopt(gates: &mut Gates, policy: &Policy, now: Instant) {
    let Both(open, Both(quotas, Both(_, slots))) = &mut **gates;
    open.adopt(&circuit(policy));
    quotas.set_quotas(policy.quotas.iter().copied(), now);
    quotas.set_max_pause(policy.max_retry_after);
    match (slots.as_mut(), policy.concurrency) {
        (Some(slots), Some(limit)) => slots.set_limit(limit, now),
        (None, limit) => *slots = limit.map(Slots::new),
        // The calls in flight end in these, whatever limit is set until then.
        (Some(slots), None) if slots.in_flight() > 0 => slots.set_limit(UNLIMITED, now),
        (Some(_), None) => *slots = None,
    }
}

/// The slots that a policy with a concurrency limit wants, where the one in force does.
pub(super) fn limited(gates: &mut Gates) -> Option<&mut Slots> {
    let Both(_, Both(_, Both(_, slots))) = &mut **gates;
    slots.as_mut().filter(|slots| slots.limit() < UNLIMITED)
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
    One(Queue<Gates>),
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
                queue.with(|gates, now| adopt(gates, policy, now));
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

impl<B: Body + Clone> Door<Outbound<B>> for EndpointDoor {
    type Gate = Gates;
    type Preparing = Hooking<B>;

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a permit is large, and made in its place instead of being moved"
    )]
    fn ask(
        &self,
        outbound: &Outbound<B>,
        options: &CallOptions,
        cx: &Context<'_>,
        permit: &mut Option<Permit<Gates>>,
    ) -> Option<Stopped<Gates>> {
        let charge = outbound.known.charge.clone();
        let (ask, wait) = (((), (charge.clone(), (charge, ()))), Wait::from(options));
        match &self.queues {
            Queues::One(queue) => queue.ask(ask, wait, cx, permit),
            Queues::Keyed(keys) => keys.ask(&RequestView::of(&outbound.request), ask, wait, cx, permit),
        }
    }

    fn refuse(&self, turned: Turned<<Gates as Gate>::Why>, options: &CallOptions) -> BoxError {
        refusal(turned, options)
    }

    fn refuse_request(
        &self,
        outbound: &Outbound<B>,
        turned: Turned<<Gates as Gate>::Why>,
        options: &CallOptions,
    ) -> BoxError {
        let error = refusal(turned, options);
        match &self.queues {
            Queues::One(..) => error,
            Queues::Keyed(keys) => {
                Box::new(KeyRefused::new(keys.name(&RequestView::of(&outbound.request)), error))
            }
        }
    }

    fn prepares(&self) -> bool {
        self.hook.is_some()
    }

    fn prepare(&self, outbound: Outbound<B>) -> Hooking<B> {
        let Some((hook, longest)) = &self.hook else {
            panic!("there is no hook");
        };
        outbound.known.report.admitted();
        Hooking::new(&**hook, outbound, *longest)
    }
}

impl fmt::Debug for EndpointDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointDoor").field("queues", &self.queues).finish_non_exhaustive()
    }
}

fn refusal(turned: Turned<<Gates as Gate>::Why>, options: &CallOptions) -> BoxError {
    let refused = |who, retry_after| {
        Rejection::by(who)
            .with_retry_after(retry_after)
            .with_waited(turned.waited())
            .with_attempts(options.attempts(), options.last())
    };
    match (turned.why().copied(), turned.because()) {
        (Some(Either::First(why)), _) => {
            let retry_after = turned.retry_after().or(why.retry_after());
            Box::new(CircuitOpen::new(why, refused(LayerName::CircuitBreaker, retry_after)))
        }
        (Some(Either::Second(Either::First(limit) | Either::Second(Either::First(limit)))), _) => {
            Box::new(Exceeded::new(&turned.map(|_| limit), options))
        }
        (Some(Either::Second(Either::Second(Either::Second(taken)))), _) => {
            Box::new(AtCapacity::new(&turned.map(|_| taken), options))
        }
        (None, TurnedBecause::Closed) => Box::new(refused(LayerName::Endpoint, None).with_reason("closed")),
        (None, TurnedBecause::TooManyKeys) => {
            Box::new(refused(LayerName::Endpoint, None).with_reason("too many keys"))
        }
        (None, TurnedBecause::Full) => {
            Box::new(refused(LayerName::Endpoint, turned.retry_after()).with_reason("queue full"))
        }
        (None, _) => {
            Box::new(refused(LayerName::Endpoint, turned.retry_after()).with_reason("would wait too long"))
        }
    }
}

/// Passes on what the circuit has to tell, and the concurrency limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct GateLog<O>(O);

impl<O: Observe<Transition>> Observe<Notice> for GateLog<O> {
    fn on_event(&self, notice: &Notice) {
        match notice {
            Either::First(transition) => self.0.on_event(transition),
            Either::Second(Either::First(never) | Either::Second(Either::First(never))) => match *never {},
            Either::Second(Either::Second(Either::Second(moved))) => LimitLog.on_event(moved),
        }
    }
}
