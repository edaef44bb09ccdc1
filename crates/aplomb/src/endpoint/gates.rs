//! The gates of an endpoint, which decide as one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use aplomb_admission::server::{HeldBy, Server, ServerSettings, ServerToken};
use aplomb_admission::{Decision, End, Evictable, Gate, Hints, PooledGate, Progress, Worth};
use aplomb_circuit_breaker::{Circuit, CircuitSettings, CircuitState, OpenReason, Transition};
use aplomb_concurrency::{LimitChange, Occupancy, Slots};
use aplomb_core::{Dimension, Event, KeyLabel, Observe, notify};
use aplomb_rate_limit::{Learned, PoolMember, Quota, Quotas, RateLimitReason};
use tokio::time::Instant;

use crate::Policy;
use crate::context::CallContext;

/// The gates of an endpoint. They admit a call together or not at all.
pub(crate) struct EndpointGates {
    /// The memory of the server. It is told of each call once, before the other gates.
    pub(super) server: Server,
    pub(super) circuit: Circuit,
    pub(super) quotas: Quotas,
    /// Quotas that other endpoints draw on too.
    pub(super) pool: Option<PoolMember>,
    pub(super) concurrency: Option<Slots>,
    /// Events of the server that are not the circuit's.
    pub(super) events: VecDeque<GateEvent>,
    /// True if the circuit recovers as its user has set it, and not as the server says.
    pub(super) own_recovery: bool,
}

/// The cost of an attempt.
pub(crate) struct EndpointCost {
    /// The record of its call, which knows what it draws from quotas.
    pub(super) call: CallContext,
    /// When the attempt before failed, and by when others have to be accepted to show that it was not about everybody.
    pub(super) failed: Option<(Instant, Instant)>,
}

/// Why the gates of an endpoint make a call wait, or reject it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum EndpointRejection {
    /// The circuit is open.
    Circuit(OpenReason),
    /// A quota of the endpoint, or the pause that the server asked for.
    Quota(RateLimitReason),
    /// A quota of the pool.
    Pool(RateLimitReason),
    /// The concurrency limit.
    Concurrency(Occupancy),
    /// The limit that the server was found to have.
    Server(HeldBy),
}

/// An event of one of the gates.
#[derive(Clone, Debug)]
pub(crate) enum GateEvent {
    Circuit(Transition),
    RateLimit(Event),
    Concurrency(LimitChange),
    Server(Event),
}

impl GateEvent {
    /// Reports it to `observer`. Called outside of any lock.
    pub(super) fn report(&self, observer: &(impl Observe + ?Sized), key: Option<&KeyLabel>) {
        match self {
            Self::RateLimit(event) | Self::Server(event) => {
                notify(observer, &event.clone().with_key(key.cloned()));
            }
            Self::Concurrency(change) => change.report(observer, key),
            Self::Circuit(transition) => transition.report(observer, key),
        }
    }
}

pub(super) type TokenOf<G> = <G as Gate>::Token;

/// The reservations of an admitted call. Boxed: it moves with its permit into the body of the response, and each of
/// these moves would cost more than the box does.
pub(crate) struct EndpointToken {
    server: ServerToken,
    call: CallContext,
    circuit: TokenOf<Circuit>,
    quotas: TokenOf<Quotas>,
    pool: Option<TokenOf<PoolMember>>,
    concurrency: Option<TokenOf<Slots>>,
}

/// The limit of slots that exist only for the calls they have admitted.
pub(super) const UNLIMITED: usize = usize::MAX;

impl EndpointGates {
    /// Puts another policy in force; calls in flight are not lost. The pool stays, since what has been drawn from it
    /// is settled with it.
    pub(super) fn adopt(
        &mut self,
        policy: &Policy,
        quotas: &[Quota],
        circuit: Arc<CircuitSettings>,
        server: ServerSettings,
        now: Instant,
    ) {
        self.circuit.set_settings(circuit, now);
        self.own_recovery = policy.own_recovery;
        self.server.set_settings(server, now);
        self.follow(now);
        self.quotas.set_quotas(quotas.iter().copied(), now);
        self.quotas.set_max_pause(policy.max_retry_after, now);
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

    /// Switches the circuit by hand. The server forgets that it let nobody through, where the circuit closes.
    pub(super) fn switch(&mut self, change: impl Fn(&mut Circuit, Instant), now: Instant) {
        change(&mut self.circuit, now);
        if matches!(self.circuit.state(now), CircuitState::Closed | CircuitState::Disabled) {
            self.server.reset(now);
            self.follow(now);
        }
    }

    /// When the pause of all calls ends.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.server.paused_until(now)
    }

    /// The server's limits, as far as they were learned.
    pub(super) fn learned(&mut self, now: Instant) -> Learned {
        let learned = self.quotas.learned();
        match self.server.snapshot(now).rate {
            Some(rate) => learned.rate(Some(rate)),
            None => learned,
        }
    }

    /// Starts with what was learned in an earlier run.
    pub(super) fn remember(&mut self, learned: &Learned, now: Instant) {
        self.quotas.remember(learned, now);
        let configured = !self.quotas.is_unconfigured();
        if let Some(rate) = learned.known_rate().filter(|_| !configured) {
            self.server.set_rate(rate, now);
        }
    }
}

impl Gate for EndpointGates {
    type Cost = EndpointCost;
    type Token = Box<EndpointToken>;
    type Reason = EndpointRejection;
    type Event = GateEvent;

    fn check(&mut self, cost: &EndpointCost, now: Instant) -> Decision<EndpointRejection> {
        use EndpointRejection as Rejection;
        let charge = cost.call.charge();
        let server = self.check_server(charge.of(Dimension::TOKENS), now);
        let Self { circuit, quotas, pool, concurrency, .. } = self;
        (circuit.check(&(), now).map(Rejection::Circuit))
            .and(|| server)
            .and(|| quotas.check(charge, now).map(Rejection::Quota))
            .and(|| optional(pool, |pool| pool.check(charge, now).map(Rejection::Pool)))
            .and(|| optional(concurrency, |slots| slots.check(&(), now).map(Rejection::Concurrency)))
    }

    fn admit(&mut self, cost: &EndpointCost, now: Instant) -> Box<EndpointToken> {
        let EndpointCost { call, failed } = cost;
        let charge = call.charge();
        // A call that fails while others get through is no witness against the server.
        let is_alone = failed.is_some_and(|(at, until)| self.server.took_one(at, until, now));
        if is_alone {
            call.suspect();
        }
        let server = self.server.admit(charge.of(Dimension::TOKENS), !is_alone, now);
        self.follow(now);
        Box::new(EndpointToken {
            server,
            call: call.clone(),
            circuit: self.circuit.admit(&(), now),
            quotas: self.quotas.admit(charge, now),
            pool: self.pool.as_mut().map(|pool| pool.admit(charge, now)),
            concurrency: self.concurrency.as_mut().map(|slots| slots.admit(&(), now)),
        })
    }

    fn on(&mut self, token: &mut Box<EndpointToken>, progress: Progress<'_>, now: Instant) {
        match progress {
            Progress::Sent => self.server.sent_late(&mut token.server, now),
            Progress::FirstByte => self.server.taken(&token.server, now),
            Progress::Limits(_) | Progress::Usage(_) => {}
        }
        self.follow(now);
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
        let EndpointToken { server, call, circuit, quotas, pool, concurrency } = *token;
        let was_shut = self.server.is_shut();
        self.server.end(&server, end, now);
        // A failed call asks whether the pool lets anybody through.
        if let (Some(pool), Some(token)) = (&mut self.pool, pool) {
            pool.end(token, end, now);
        }
        if let End::Judged { outcome, .. } = &end {
            if outcome.is_retryable() {
                self.failed(&server, &call, outcome, &quotas, was_shut, now);
            }
        }
        self.circuit.end(circuit, end, now);
        self.follow(now);
        self.quotas.end(quotas, end, now);
        if let (Some(slots), Some(token)) = (&mut self.concurrency, concurrency) {
            slots.end(token, end, now);
        }
    }

    fn forecast(&mut self, costs: &mut dyn Iterator<Item = &EndpointCost>, now: Instant) -> Option<Instant> {
        // Each gate reads the queue for itself. It is short, and a forecast is made only for a call that has a
        // deadline and finds others waiting.
        let charges: Vec<_> = costs.map(|cost| cost.call.charge()).collect();
        let calls = || charges.iter().map(|_| &());
        let mut latest = self.circuit.forecast(&mut calls(), now).max(self.server.forecast(now));
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
        let all = [
            self.server.hints(),
            self.circuit.hints(),
            self.quotas.hints(),
            pool,
            slots,
        ];
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
        if let Some(event) = self.events.pop_front() {
            return Some(event);
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
    fn pooled(&mut self) -> Option<&mut dyn PooledGate<EndpointCost, EndpointRejection>> {
        if self.pool.is_some() { Some(self) } else { None }
    }
}

/// The pool is the one gate that shares its capacity with other queues.
impl PooledGate<EndpointCost, EndpointRejection> for EndpointGates {
    fn reserve(&mut self, cost: &EndpointCost, now: Instant) -> Decision<EndpointRejection> {
        optional(&mut self.pool, |pool| pool.reserve(cost.call.charge(), now).map(EndpointRejection::Pool))
    }

    fn register_waiter(
        &mut self,
        cost: &EndpointCost,
        until: Option<Instant>,
        reason: &EndpointRejection,
        now: Instant,
    ) {
        let (EndpointRejection::Pool(limit), Some(pool)) = (reason, &mut self.pool) else {
            return;
        };
        // A caller that waits for a release of another gate does not go at the instant of the pool.
        let charge = cost.call.charge();
        let waits_for_another = self.circuit.check(&(), now).is_when_released()
            || self.server.check(charge.of(Dimension::TOKENS), now).is_when_released()
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
        let server = self.server.worth(now);
        self.circuit.worth(now).max(server).max(self.quotas.worth(now)).max(pool).max(slots)
    }
}
