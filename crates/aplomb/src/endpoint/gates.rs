//! The gates of an endpoint, which decide as one.

use std::sync::Arc;
use std::task::Waker;

use aplomb_admission::{Decision, End, Evictable, Gate, Hints, PooledGate, Progress, Worth};
use aplomb_circuit_breaker::{Circuit, CircuitSettings, OpenReason, Transition};
use aplomb_concurrency::{Limit, LimitChange, Occupancy, Slots};
use aplomb_core::{Event, KeyLabel, Observe, notify};
use aplomb_rate_limit::{Charge, Pool, PoolMember, Quota, Quotas, RateLimitReason, Settle};
use tokio::time::Instant;

use crate::Policy;

/// The gates of an endpoint. They admit a call together or not at all.
pub(crate) struct EndpointGates {
    pub(super) circuit: Circuit,
    pub(super) quotas: Quotas,
    /// Quotas that other endpoints draw on too.
    pub(super) pool: Option<PoolMember>,
    pub(super) concurrency: Option<Slots>,
}

/// Why the gates of an endpoint make a call wait, or reject it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum EndpointRejection {
    /// The circuit is open.
    Circuit(OpenReason),
    /// A quota of the endpoint.
    Quota(RateLimitReason),
    /// A quota of the pool.
    Pool(RateLimitReason),
    /// The concurrency limit.
    Concurrency(Occupancy),
}

/// An event of one of the gates.
#[derive(Clone, Debug)]
pub(crate) enum GateEvent {
    Circuit(Transition),
    RateLimit(Event),
    Concurrency(LimitChange),
}

impl GateEvent {
    /// Reports it to `observer`. Called outside of any lock.
    pub(super) fn report(&self, observer: &(impl Observe + ?Sized), key: Option<&KeyLabel>) {
        match self {
            Self::RateLimit(event) => notify(observer, &event.clone().with_key(key.cloned())),
            Self::Concurrency(change) => change.report(observer, key),
            Self::Circuit(transition) => transition.report(observer, key),
        }
    }
}

type TokenOf<G> = <G as Gate>::Token;

/// The reservations of an admitted call. Boxed: it moves with its permit into the body of the response, and each of
/// these moves would cost more than the box does.
pub(crate) struct EndpointToken {
    circuit: TokenOf<Circuit>,
    quotas: TokenOf<Quotas>,
    pool: Option<TokenOf<PoolMember>>,
    concurrency: Option<TokenOf<Slots>>,
}

/// The limit of slots that exist only for the calls they have admitted.
const UNLIMITED: usize = usize::MAX;

impl EndpointGates {
    /// The gates of all calls.
    pub(super) fn new(policy: &Policy, settle: Settle) -> Self {
        let quotas = quotas(policy, &policy.quotas, settle);
        Self::of(quotas, Arc::new(circuit(policy, false)), policy.pool.as_ref(), policy.concurrency)
    }

    pub(super) fn of(
        quotas: Quotas,
        circuit: Arc<CircuitSettings>,
        pool: Option<&Pool>,
        concurrency: Option<Limit>,
    ) -> Self {
        Self {
            circuit: Circuit::new(circuit),
            quotas,
            pool: pool.map(Pool::member),
            concurrency: concurrency.map(Slots::new),
        }
    }

    /// Puts another policy in force; calls in flight are not lost. The pool stays, since what has been drawn from it
    /// is settled with it.
    pub(super) fn adopt(
        &mut self,
        policy: &Policy,
        quotas: &[Quota],
        circuit: Arc<CircuitSettings>,
        now: Instant,
    ) {
        self.circuit.set_settings(circuit);
        self.quotas.set_quotas(quotas.iter().copied(), now);
        self.quotas.set_max_pause(policy.max_retry_after);
        match (&mut self.concurrency, policy.concurrency) {
            (Some(slots), Some(limit)) => slots.set_limit(limit, now),
            (None, limit) => self.concurrency = limit.map(Slots::new),
            // The calls in flight end in these, whatever limit is set until then.
            (Some(slots), None) if slots.in_flight() > 0 => slots.set_limit(UNLIMITED, now),
            (Some(_), None) => self.concurrency = None,
        }
    }

    /// The slots, if the policy in force has a concurrency limit.
    pub(super) fn limited(&mut self) -> Option<&mut Slots> {
        self.concurrency.as_mut().filter(|slots| slots.limit() < UNLIMITED)
    }
}

/// A pool does not refuse all callers a wait that this endpoint would accept.
pub(super) fn raise_max_pause(policy: &Policy) {
    if let Some(pool) = &policy.pool {
        pool.raise_max_pause(policy.max_retry_after);
    }
}

/// Unused quotas under a policy, whose own ones may be others for some keys.
pub(super) fn quotas(policy: &Policy, configured: &[Quota], settle: Settle) -> Quotas {
    let mut quotas = Quotas::new(configured.iter().copied());
    if let Some(seed) = policy.seed {
        quotas.set_seed(seed);
    }
    quotas.set_max_pause(policy.max_retry_after);
    quotas.set_settle(settle);
    // With a pool, what the server says is about the pool, which learns it for all its members.
    quotas.set_learning(policy.pool.is_none());
    quotas
}

/// The settings of the circuit under a policy; `one_credential` if all its calls carry the same one.
pub(super) fn circuit(policy: &Policy, one_credential: bool) -> CircuitSettings {
    let trip = policy.trip.clone();
    let settings = CircuitSettings::new()
        .trip(if one_credential {
            trip.one_credential()
        } else {
            trip
        })
        .cooldown(policy.cooldown)
        .ramp(policy.ramp)
        .on_open(policy.on_open);
    match policy.seed {
        Some(seed) => settings.seed(seed),
        None => settings,
    }
}

impl Gate for EndpointGates {
    type Cost = Charge;
    type Token = Box<EndpointToken>;
    type Reason = EndpointRejection;
    type Event = GateEvent;

    fn check(&mut self, charge: &Charge, now: Instant) -> Decision<EndpointRejection> {
        use EndpointRejection as Rejection;
        let Self { circuit, quotas, pool, concurrency } = self;
        (circuit.check(&(), now).map(Rejection::Circuit))
            .and(|| quotas.check(charge, now).map(Rejection::Quota))
            .and(|| optional(pool, |pool| pool.check(charge, now).map(Rejection::Pool)))
            .and(|| optional(concurrency, |slots| slots.check(&(), now).map(Rejection::Concurrency)))
    }

    fn admit(&mut self, charge: &Charge, now: Instant) -> Box<EndpointToken> {
        Box::new(EndpointToken {
            circuit: self.circuit.admit(&(), now),
            quotas: self.quotas.admit(charge, now),
            pool: self.pool.as_mut().map(|pool| pool.admit(charge, now)),
            concurrency: self.concurrency.as_mut().map(|slots| slots.admit(&(), now)),
        })
    }

    fn on(&mut self, token: &mut Box<EndpointToken>, progress: Progress<'_>, now: Instant) {
        self.circuit.on(&mut token.circuit, progress, now);
        self.quotas.on(&mut token.quotas, progress, now);
        if let (Some(pool), Some(token)) = (&mut self.pool, &mut token.pool) {
            pool.on(token, progress, now);
        }
        if let (Some(slots), Some(token)) = (&mut self.concurrency, &mut token.concurrency) {
            slots.on(token, progress, now);
        }
    }

    fn end(&mut self, token: Box<EndpointToken>, end: End, now: Instant) {
        let EndpointToken { circuit, quotas, pool, concurrency } = *token;
        self.circuit.end(circuit, end, now);
        self.quotas.end(quotas, end, now);
        if let (Some(pool), Some(token)) = (&mut self.pool, pool) {
            pool.end(token, end, now);
        }
        if let (Some(slots), Some(token)) = (&mut self.concurrency, concurrency) {
            slots.end(token, end, now);
        }
    }

    fn forecast(&mut self, charges: &mut dyn Iterator<Item = &Charge>, now: Instant) -> Option<Instant> {
        // Each gate reads the queue for itself. It is short, and a forecast is made only for a call that has a
        // deadline and finds others waiting.
        let charges: Vec<_> = charges.collect();
        let calls = || charges.iter().map(|_| &());
        let mut latest = self.circuit.forecast(&mut calls(), now);
        latest = latest.max(self.quotas.forecast(&mut charges.iter().copied(), now));
        if let Some(pool) = &mut self.pool {
            latest = latest.max(pool.forecast(&mut charges.iter().copied(), now));
        }
        if let Some(slots) = &mut self.concurrency {
            latest = latest.max(slots.forecast(&mut calls(), now));
        }
        latest
    }

    fn hints(&self) -> Hints {
        let pool = self.pool.as_ref().map(Gate::hints).unwrap_or_default();
        let slots = self.concurrency.as_ref().map(Gate::hints).unwrap_or_default();
        let all = [self.circuit.hints(), self.quotas.hints(), pool, slots];
        Hints {
            next_wakeup: all.iter().filter_map(|hints| hints.next_wakeup).min(),
            expected_latency: all.iter().map(|hints| hints.expected_latency).max().unwrap_or_default(),
            // A call may wait for any of them: none has a say in how long it waits for the others.
            max_wait: None,
        }
    }

    #[inline]
    fn next_event(&mut self) -> Option<GateEvent> {
        if let Some(transition) = self.circuit.next_event() {
            return Some(GateEvent::Circuit(transition));
        }
        if let Some(event) = self.quotas.next_event() {
            return Some(GateEvent::RateLimit(event));
        }
        if let Some(event) = self.pool.as_mut().and_then(Gate::next_event) {
            return Some(GateEvent::RateLimit(event));
        }
        let slots = self.concurrency.as_mut()?;
        slots.next_event().map(GateEvent::Concurrency)
    }

    #[inline]
    fn pooled(&mut self) -> Option<&mut dyn PooledGate<Charge, EndpointRejection>> {
        if self.pool.is_some() { Some(self) } else { None }
    }
}

/// The pool is the one gate that shares its capacity with other queues.
impl PooledGate<Charge, EndpointRejection> for EndpointGates {
    fn reserve(&mut self, charge: &Charge, now: Instant) -> Decision<EndpointRejection> {
        optional(&mut self.pool, |pool| pool.reserve(charge, now).map(EndpointRejection::Pool))
    }

    fn register_waiter(
        &mut self,
        charge: &Charge,
        until: Option<Instant>,
        reason: &EndpointRejection,
        now: Instant,
    ) {
        let (EndpointRejection::Pool(limit), Some(pool)) = (reason, &mut self.pool) else {
            return;
        };
        // A caller that waits for a release of another gate does not go at the instant of the pool.
        let waits_for_another = self.circuit.check(&(), now).is_when_released()
            || self.quotas.check(charge, now).is_when_released()
            || optional(&mut self.concurrency, |slots| slots.check(&(), now)).is_when_released();
        if !waits_for_another {
            pool.register_waiter(charge, until, limit, now);
        }
    }

    fn end_section(&mut self, ask_again: Option<&dyn Fn() -> Waker>, woken: &mut Vec<Waker>) {
        if let Some(pool) = &mut self.pool {
            pool.end_section(ask_again, woken);
        }
    }
}

/// The decision of a gate that may be left out: without it, every call passes.
#[inline]
fn optional<G, R>(gate: &mut Option<G>, check: impl FnOnce(&mut G) -> Decision<R>) -> Decision<R> {
    gate.as_mut().map_or(Decision::Admit, check)
}

impl Evictable for EndpointGates {
    fn worth(&mut self, now: Instant) -> Worth {
        let pool = self.pool.as_mut().map_or(Worth::FRESH, |pool| pool.worth(now));
        let slots = self.concurrency.as_mut().map_or(Worth::FRESH, |slots| slots.worth(now));
        self.circuit.worth(now).max(self.quotas.worth(now)).max(pool).max(slots)
    }
}
