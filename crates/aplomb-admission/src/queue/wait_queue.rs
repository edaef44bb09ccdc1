//! The callers that wait, without any waiting: a state machine that is passed the time.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;
use std::time::Duration;

use tokio::runtime::Id;
use tokio::time::Instant;

use super::timer::current_runtime;
use super::{QueueLimits, RejectReason, Rejected, Wait};
use crate::{Decision, End, Gate, PooledGate};

/// The precision of tokio's timer: a caller is admitted at most this long after its time.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// How far a forecast looks ahead. More callers could only make the wait longer.
const FARTHEST: usize = 1_024;

/// Callers in the order in which they are admitted. None goes before the one at the head.
///
/// Every structure is a tree, which gives its memory back as callers leave.
pub(super) struct WaitQueue<G: Gate> {
    callers: BTreeMap<Place, Caller<G>>,
    /// When each of them gives up, the earliest first.
    give_ups: BTreeSet<(Instant, Place)>,
    /// Callers that have been admitted or rejected, and have not been polled since.
    settled: BTreeMap<Place, Settled<G>>,
    /// The caller that is being polled, and need not be woken.
    polled: Option<Place>,
    arrivals: u64,
}

/// A place in the queue, by which a caller is found: by the time of arrival, later the less urgent, then by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    due: Instant,
    number: u64,
}

struct Caller<G: Gate> {
    cost: G::Cost,
    waker: Waker,
    /// The runtime in which it waits: the timer is set where somebody drives it.
    runtime: Option<Id>,
    since: Instant,
    gives_up: Option<Instant>,
}

/// An admitted caller.
#[derive(Debug)]
pub(super) struct Admitted<T> {
    pub(super) token: T,
    pub(super) at: Instant,
    pub(super) waited: Duration,
}

impl<T> Admitted<T> {
    #[inline]
    pub(super) const fn at_once(token: T, now: Instant) -> Self {
        Self { token, at: now, waited: Duration::ZERO }
    }
}

/// Admitted or rejected.
pub(super) type Settled<G> = Result<Admitted<<G as Gate>::Token>, Rejected<<G as Gate>::Reason>>;

/// The result of an arrival.
pub(super) enum Arrival<G: Gate> {
    Settled(Settled<G>),
    Waits(Place),
}

/// The decision of the gate about a caller that may go before all others. From a pooled gate it takes what it admits,
/// and registers a caller that waits for it.
#[inline]
pub(super) fn decide<G: Gate>(gate: &mut G, cost: &G::Cost, now: Instant) -> Decision<G::Reason> {
    let decision = gate.check(cost, now);
    match gate.pooled() {
        None => decision,
        Some(pooled) => decide_pooled(pooled, decision, cost, now),
    }
}

#[inline(never)]
fn decide_pooled<C, R>(
    pooled: &mut dyn PooledGate<C, R>,
    mut decision: Decision<R>,
    cost: &C,
    now: Instant,
) -> Decision<R> {
    if decision.is_admit() {
        decision = pooled.reserve(cost, now);
    }
    match &decision {
        Decision::NotBefore(at, reason) => pooled.register_waiter(cost, Some(*at), reason, now),
        Decision::WhenReleased(reason) => pooled.register_waiter(cost, None, reason, now),
        Decision::Admit | Decision::Reject(_) => {}
    }
    decision
}

impl<G: Gate> WaitQueue<G> {
    pub(super) fn new() -> Self {
        Self {
            callers: BTreeMap::new(),
            give_ups: BTreeSet::new(),
            settled: BTreeMap::new(),
            polled: None,
            arrivals: 0,
        }
    }

    /// Returns whether no caller waits and none is left to learn what became of it.
    pub(super) fn is_unused(&self) -> bool {
        self.callers.is_empty() && self.settled.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.callers.len()
    }

    /// Since when the caller that has waited longest waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.callers.values().map(|caller| caller.since).min()
    }

    pub(super) fn first(&self) -> Option<Place> {
        self.callers.first_key_value().map(|(place, _)| *place)
    }

    /// The waker of the caller at the head.
    pub(super) fn head(&self) -> Option<&Waker> {
        self.callers.first_key_value().map(|(_, caller)| &caller.waker)
    }

    /// The waker of the caller that the timer fires for: one that gives up now, or else the head.
    pub(super) fn due(&self, now: Instant) -> Option<&Waker> {
        let gives_up = self.give_ups.first().filter(|(at, _)| *at <= now);
        let caller = gives_up.and_then(|(_, place)| self.callers.get(place));
        caller.map(|caller| &caller.waker).or_else(|| self.head())
    }

    /// The runtime in which the caller at the head waits.
    pub(super) fn home(&self) -> Option<Id> {
        self.callers.first_key_value().and_then(|(_, caller)| caller.runtime)
    }

    /// A caller arrives that finds others waiting.
    pub(super) fn arrive(
        &mut self,
        gate: &mut G,
        limits: QueueLimits,
        (cost, wait): (G::Cost, Wait),
        waker: &Waker,
        now: Instant,
    ) -> Arrival<G> {
        let place = self.place_for(wait, limits, now);
        let decision = if self.is_first(place) {
            decide(gate, &cost, now)
        } else {
            gate.check(&cost, now)
        };
        match decision {
            // It would be rejected at the head as well, and is spared the wait.
            Decision::Reject(reason) => {
                Arrival::Settled(Err(Rejected::by_gate(reason, self.ahead_of(place))))
            }
            Decision::Admit if self.is_first(place) => {
                Arrival::Settled(Ok(Admitted::at_once(gate.admit(&cost, now), now)))
            }
            obstacle => self.join(gate, limits, (cost, wait), (place, obstacle), waker, now),
        }
    }

    /// A caller that finds nobody waiting, and cannot go now, takes its place unless there is none or its turn would
    /// come too late.
    pub(super) fn join_as_first(
        &mut self,
        gate: &mut G,
        limits: QueueLimits,
        (cost, wait): (G::Cost, Wait),
        obstacle: Decision<G::Reason>,
        waker: &Waker,
        now: Instant,
    ) -> Arrival<G> {
        let place = self.place_for(wait, limits, now);
        self.join(gate, limits, (cost, wait), (place, obstacle), waker, now)
    }

    fn join(
        &mut self,
        gate: &mut G,
        limits: QueueLimits,
        (cost, wait): (G::Cost, Wait),
        (place, obstacle): (Place, Decision<G::Reason>),
        waker: &Waker,
        now: Instant,
    ) -> Arrival<G> {
        let (earliest, reason) = match obstacle {
            Decision::NotBefore(at, reason) => (Some(at), Some(reason)),
            Decision::WhenReleased(reason) | Decision::Reject(reason) => (None, Some(reason)),
            Decision::Admit => (None, None),
        };
        let full = self.callers.len() >= limits.max_waiting;
        let gives_up = limits.gives_up(wait, now, gate.hints());
        if full || gives_up.is_some() {
            let forecast = if self.is_first(place) {
                None
            } else {
                self.forecast(gate, &cost, place, now)
            };
            let earliest = earliest.max(forecast);
            let too_late = |at: Instant| at <= now || earliest.is_some_and(|earliest| at < earliest);
            let reject_reason = if full {
                Some(RejectReason::QueueFull)
            } else if gives_up.is_some_and(too_late) {
                Some(RejectReason::WaitTooLong)
            } else {
                None
            };
            if let Some(reject_reason) = reject_reason {
                return Arrival::Settled(Err(Rejected {
                    reason: reject_reason,
                    gate_reason: reason,
                    retry_after: earliest.map(|at| at.saturating_duration_since(now)),
                    waited: Duration::ZERO,
                    place: Some(self.ahead_of(place)),
                }));
            }
        }
        let caller = Caller { cost, waker: waker.clone(), runtime: current_runtime(), since: now, gives_up };
        self.callers.insert(place, caller);
        self.give_ups.extend(gives_up.map(|at| (at, place)));
        Arrival::Waits(place)
    }

    /// How many callers would be ahead of one that arrives now.
    pub(super) fn ahead_of_arrival(&mut self, wait: Wait, limits: QueueLimits, now: Instant) -> usize {
        let place = self.place_for(wait, limits, now);
        self.ahead_of(place)
    }

    fn is_first(&self, place: Place) -> bool {
        self.callers.first_key_value().is_none_or(|(head, _)| place < *head)
    }

    fn ahead_of(&self, place: Place) -> usize {
        let is_last = self.callers.last_key_value().is_none_or(|(last, _)| *last < place);
        if is_last {
            self.callers.len()
        } else {
            self.callers.range(..place).count()
        }
    }

    fn place_for(&mut self, wait: Wait, limits: QueueLimits, now: Instant) -> Place {
        // Ten years keep any order, and can be added to any time.
        const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
        let lag = limits.ageing.saturating_mul(u32::from(wait.priority.to_level())).min(LONGEST);
        let arrived = wait.arrived.map_or(now, |arrived| arrived.min(now));
        self.arrivals += 1;
        Place { due: arrived.checked_add(lag).unwrap_or(arrived), number: self.arrivals }
    }

    fn forecast(&self, gate: &mut G, cost: &G::Cost, place: Place, now: Instant) -> Option<Instant> {
        let ahead = self.callers.range(..place).take(FARTHEST).map(|(_, caller)| &caller.cost);
        gate.forecast(&mut ahead.chain(std::iter::once(cost)), now)
    }

    /// Admits the callers that the gate admits, and rejects those that cannot wait long enough.
    ///
    /// Returns when to look again. Adds the wakers of those it settled to `woken`.
    pub(super) fn advance(&mut self, gate: &mut G, now: Instant, woken: &mut Vec<Waker>) -> Option<Instant> {
        while let Some((&head, caller)) = self.callers.first_key_value() {
            let gives_up = caller.gives_up;
            if gives_up.is_some_and(|gives_up| gives_up + TICK < now) {
                // Nobody looked in time, because the thread was busy. It learns when it could go all the same.
                let (wait, reason) = match gate.check(&caller.cost, now) {
                    Decision::Admit => (Some(Duration::ZERO), None),
                    Decision::NotBefore(at, reason) => {
                        (Some(at.saturating_duration_since(now)), Some(reason))
                    }
                    Decision::WhenReleased(reason) | Decision::Reject(reason) => (None, Some(reason)),
                };
                self.reject(head, RejectReason::WaitTooLong, wait, reason, now, woken);
                continue;
            }
            match decide(gate, &caller.cost, now) {
                Decision::Admit => {
                    let token = gate.admit(&caller.cost, now);
                    let waited = now - caller.since;
                    self.settle(head, Ok(Admitted { token, at: now, waited }), woken);
                }
                Decision::Reject(reason) => {
                    self.reject(head, RejectReason::Gate, None, Some(reason), now, woken);
                }
                // None goes before the head, so the instant for which the head waits rejects everyone who gives up
                // before it.
                Decision::NotBefore(at, reason) => {
                    let Some(place) = self.first_to_give_up(head, gives_up, |gives_up| gives_up < at) else {
                        return Some(at);
                    };
                    let wait = Some(at.saturating_duration_since(now));
                    self.reject(place, RejectReason::WaitTooLong, wait, Some(reason), now, woken);
                }
                Decision::WhenReleased(reason) => {
                    let Some(place) = self.first_to_give_up(head, gives_up, |gives_up| gives_up <= now)
                    else {
                        let gives_up = self.give_ups.first().map(|(gives_up, _)| *gives_up);
                        let wakeup = gate.hints().next_wakeup.filter(|at| *at > now);
                        return gives_up.into_iter().chain(wakeup).min();
                    };
                    self.reject(place, RejectReason::WaitTooLong, None, Some(reason), now, woken);
                }
            }
        }
        None
    }

    /// The caller that gives up too early, if there is one. The head comes first: without it the others may have less to
    /// wait for.
    fn first_to_give_up(
        &self,
        head: Place,
        gives_up: Option<Instant>,
        is_too_early: impl Fn(Instant) -> bool,
    ) -> Option<Place> {
        if gives_up.is_some_and(&is_too_early) {
            return Some(head);
        }
        let (gives_up, place) = self.give_ups.first()?;
        is_too_early(*gives_up).then_some(*place)
    }

    fn reject(
        &mut self,
        place: Place,
        reason: RejectReason,
        retry_after: Option<Duration>,
        gate_reason: Option<G::Reason>,
        now: Instant,
        woken: &mut Vec<Waker>,
    ) {
        let waited = self.callers.get(&place).map_or(Duration::ZERO, |caller| now - caller.since);
        let rejected = Rejected { reason, gate_reason, retry_after, waited, place: None };
        self.settle(place, Err(rejected), woken);
    }

    fn settle(&mut self, place: Place, settled: Settled<G>, woken: &mut Vec<Waker>) {
        if let Some(caller) = self.take(place) {
            self.settled.insert(place, settled);
            if self.polled != Some(place) {
                woken.push(caller.waker);
            }
        }
    }

    fn take(&mut self, place: Place) -> Option<Caller<G>> {
        let caller = self.callers.remove(&place)?;
        if let Some(at) = caller.gives_up {
            self.give_ups.remove(&(at, place));
        }
        Some(caller)
    }

    /// Rejects everyone that waits: the queue is closed.
    pub(super) fn reject_all(&mut self, now: Instant, woken: &mut Vec<Waker>) {
        while let Some((&head, _)) = self.callers.first_key_value() {
            self.reject(head, RejectReason::Closed, None, None, now, woken);
        }
    }

    /// A caller is polled, or no more.
    pub(super) fn set_polled(&mut self, place: Option<Place>) {
        self.polled = place;
    }

    /// Returns what became of a caller, which leaves; or notes the waker of one that still waits.
    ///
    /// Also returns a waker that is no longer needed: dropping it may run foreign code, outside of the lock.
    pub(super) fn collect(&mut self, place: Place, waker: &Waker) -> (Option<Settled<G>>, Option<Waker>) {
        let Some(caller) = self.callers.get_mut(&place) else {
            return (self.settled.remove(&place), None);
        };
        caller.runtime = current_runtime();
        let is_same = caller.waker.will_wake(waker);
        (None, (!is_same).then(|| std::mem::replace(&mut caller.waker, waker.clone())))
    }

    /// Returns what became of a caller, which leaves.
    pub(super) fn take_settled(&mut self, place: Place) -> Option<Settled<G>> {
        self.settled.remove(&place)
    }

    /// A caller leaves without having collected. Returns what has to be dropped outside of the lock.
    pub(super) fn leave(&mut self, gate: &mut G, place: Place, now: Instant) -> Option<Waker> {
        if let Some(caller) = self.take(place) {
            return Some(caller.waker);
        }
        if let Some(Ok(admitted)) = self.settled.remove(&place) {
            gate.end(admitted.token, End::Unsent, now);
        }
        None
    }
}
