//! The gates of an endpoint, which decide as one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use aplomb_admission::server::{HeldBy, Server, ServerEvent, ServerSettings, ServerToken, ShutCause};
use aplomb_admission::{Decision, End, Evictable, Gate, Hints, PooledGate, Progress, Worth};
use aplomb_circuit_breaker::{Circuit, CircuitSettings, CircuitState, OpenReason, Transition, Trip};
use aplomb_concurrency::{Limit, LimitChange, Occupancy, Slots};
use aplomb_core::{Event, KeyLabel, LayerName, Observe, Outcome, notify};
use aplomb_rate_limit::{Learned, Pool, PoolMember, Quota, Quotas, RateLimitReason, Settle};
use tokio::time::Instant;

use crate::Policy;
use crate::context::CallContext;

/// The gates of an endpoint. They admit a call together or not at all.
pub(crate) struct EndpointGates {
    /// What the server was seen to do. It is told of each call once, before the other gates.
    pub(super) server: Server,
    pub(super) circuit: Circuit,
    pub(super) quotas: Quotas,
    /// Quotas that other endpoints draw on too.
    pub(super) pool: Option<PoolMember>,
    pub(super) concurrency: Option<Slots>,
    /// Events of the server that are not the circuit's.
    events: VecDeque<GateEvent>,
    /// True if the circuit recovers as its user has set it, and not as the server says.
    own_recovery: bool,
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
    /// What the server was found to take.
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

type TokenOf<G> = <G as Gate>::Token;

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

/// Unused gates, by the settings that do not change with every key: keys with equal ones share those of their quotas and of
/// their circuit, so that they take less memory.
#[derive(Clone)]
pub(super) struct UnusedGates {
    quotas: Quotas,
    circuit: Arc<CircuitSettings>,
    server: ServerSettings,
    pool: Option<Pool>,
    concurrency: Option<Limit>,
    own_recovery: bool,
}

impl UnusedGates {
    /// Gates under a policy, with these quotas; `one_credential` if all calls carry the same one.
    pub(super) fn new(policy: &Policy, configured: &[Quota], one_credential: bool, settle: Settle) -> Self {
        let mut quotas = Quotas::new(configured.iter().copied());
        if let Some(seed) = policy.seed {
            quotas.set_seed(seed);
        }
        quotas.set_max_pause(policy.max_retry_after);
        quotas.set_settle(settle);
        // With a pool, what the server says is about the pool, which learns it for all its members.
        quotas.set_learning(policy.pool.is_none());
        quotas.set_pausing(false);
        Self {
            quotas,
            circuit: Arc::new(circuit(policy, one_credential)),
            server: server(policy, one_credential),
            pool: policy.pool.clone(),
            concurrency: policy.concurrency,
            own_recovery: policy.own_recovery,
        }
    }

    /// The gates of a key, or of all calls.
    pub(super) fn gates(self) -> EndpointGates {
        EndpointGates {
            server: Server::new(self.server),
            circuit: Circuit::new(self.circuit),
            quotas: self.quotas.fresh(),
            pool: self.pool.as_ref().map(Pool::member),
            concurrency: self.concurrency.map(Slots::new),
            events: VecDeque::new(),
            own_recovery: self.own_recovery,
        }
    }
}

/// The limit of slots that exist only for the calls they have admitted.
const UNLIMITED: usize = usize::MAX;

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

    /// What was learned of the server's limits.
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

    /// Passes on what has become of the server.
    fn follow(&mut self, now: Instant) {
        while let Some(event) = self.server.next_event() {
            if self.own_recovery && matches!(event, ServerEvent::Shut { cause: ShutCause::Failures, .. }) {
                self.circuit.trip(&event, now);
                self.server.open(now);
                continue;
            }
            self.circuit.follow(&event, now);
            let event = match event {
                ServerEvent::Shut { cause: ShutCause::Throttles, until, last } => {
                    let pause = until.saturating_duration_since(now);
                    Event::paused(LayerName::RateLimit, pause, until, Some(last.into()))
                }
                ServerEvent::Opened { cause: ShutCause::Throttles, .. } => {
                    Event::resumed(LayerName::RateLimit)
                }
                ServerEvent::Places { from, to, cause } => {
                    let limit = |places: Option<u32>| places.map_or(UNLIMITED, |places| places as usize);
                    Event::concurrency_changed(limit(from), limit(to), cause)
                }
                _ => continue,
            };
            self.events.push_back(GateEvent::Server(event));
        }
    }

    fn check_server(&mut self, now: Instant) -> Decision<EndpointRejection> {
        let decision = self.server.check(now);
        let held = match decision {
            Decision::Admit => return Decision::Admit,
            Decision::NotBefore(_, held) | Decision::WhenReleased(held) | Decision::Reject(held) => held,
        };
        match held {
            HeldBy::Shut { cause: ShutCause::Failures, .. } => {
                self.circuit.hold(decision, now).map(EndpointRejection::Circuit)
            }
            HeldBy::Shut { cause: ShutCause::Throttles, probe_at, .. } => decision.map(|_| {
                EndpointRejection::Quota(match decision {
                    Decision::Reject(_) => {
                        RateLimitReason::Exhausted { retry_after: probe_at.saturating_duration_since(now) }
                    }
                    _ => RateLimitReason::Paused,
                })
            }),
            HeldBy::Pace { .. } => decision.map(|_| EndpointRejection::Quota(RateLimitReason::Unknown)),
            HeldBy::SlowStart { .. } | HeldBy::Places { .. } => decision.map(EndpointRejection::Server),
        }
    }
}

/// A pool does not refuse all callers a wait that this endpoint would accept.
pub(super) fn raise_max_pause(policy: &Policy) {
    if let Some(pool) = &policy.pool {
        pool.raise_max_pause(policy.max_retry_after);
    }
}

fn trip(policy: &Policy, one_credential: bool) -> Trip {
    let trip = policy.trip.clone();
    if one_credential {
        trip.one_credential()
    } else {
        trip
    }
}

/// The settings of the circuit under a policy; `one_credential` if all its calls carry the same one.
pub(super) fn circuit(policy: &Policy, one_credential: bool) -> CircuitSettings {
    let trip = trip(policy, one_credential);
    let settings = CircuitSettings::new()
        .trip(trip.following().unwrap_or(trip))
        .cooldown(policy.cooldown)
        .ramp(policy.ramp)
        .on_open(policy.on_open);
    match policy.seed {
        Some(seed) => settings.seed(seed),
        None => settings,
    }
}

/// The brakes that the policy leaves to the server: those for which it has none of its own.
pub(super) fn server(policy: &Policy, one_credential: bool) -> ServerSettings {
    let settings = ServerSettings::new()
        .failures(trip(policy, one_credential).following().is_some())
        // What the server says of its rate is about the pool.
        .throttles(policy.pool.is_none())
        .places(policy.concurrency.is_none())
        .max_pause(policy.max_retry_after);
    match policy.seed {
        Some(seed) => settings.seed(seed),
        None => settings,
    }
}

impl Gate for EndpointGates {
    type Cost = EndpointCost;
    type Token = Box<EndpointToken>;
    type Reason = EndpointRejection;
    type Event = GateEvent;

    fn check(&mut self, cost: &EndpointCost, now: Instant) -> Decision<EndpointRejection> {
        use EndpointRejection as Rejection;
        let server = self.check_server(now);
        let charge = cost.call.charge();
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
        let server = self.server.admit(!is_alone, now);
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
        if let End::Judged { outcome, .. } = &end {
            if outcome.is_retryable() {
                self.failed(&server, &call, outcome, &quotas, was_shut, now);
            }
        }
        self.circuit.end(circuit, end, now);
        self.follow(now);
        self.quotas.end(quotas, end, now);
        if let (Some(pool), Some(token)) = (&mut self.pool, pool) {
            pool.end(token, end, now);
        }
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

impl EndpointGates {
    /// An attempt failed that may be made again.
    #[cold]
    fn failed(
        &mut self,
        server: &ServerToken,
        call: &CallContext,
        outcome: &Outcome,
        reservation: &TokenOf<Quotas>,
        was_shut: Option<ShutCause>,
        now: Instant,
    ) {
        let shut = self.server.is_shut();
        if shut == Some(ShutCause::Throttles) && was_shut.is_none() {
            self.quotas.on_refused(reservation, outcome, now);
        }
        // A pool pauses its members by itself.
        let is_pooled = self.pool.is_some() && outcome.is_shared_throttle();
        let probed = server.is_probe() && shut == Some(ShutCause::Failures);
        call.failed(*outcome, shut.is_some() || is_pooled, probed, now);
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
            || self.server.check(now).is_when_released()
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
