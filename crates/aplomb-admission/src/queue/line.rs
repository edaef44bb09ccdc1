//! The line of those who wait, without any waiting: a state machine that is handed the time.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;
use std::time::Duration;

use slab::Slab;
use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

use super::{Closing, QueueLimits, RejectReason, Rejected, Wait};
use crate::{Decision, End, Gate};

/// The precision of tokio's timer: a caller is served at most so much after its time.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// How far a forecast looks ahead. What is beyond only makes the wait longer.
const FARTHEST: usize = 1_024;

/// A gate and the callers before it.
pub(super) struct Line<G: Gate> {
    gate: G,
    limits: QueueLimits,
    /// Who waits, first come first: nobody goes before the one at the head.
    places: BTreeMap<Place, Ticket>,
    /// When each of those who wait gives up, the earliest first.
    patience: BTreeSet<(Instant, Place)>,
    callers: Slab<Caller<G>>,
    arrivals: u64,
    closed: Option<Closing>,
    /// The latest time seen. Time read outside of a paused runtime could run behind it.
    now: Instant,
}

/// Finds a caller in the line.
pub(super) type Ticket = usize;

/// A place in the line: by the time of arrival, later the less urgent, then by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    due: Instant,
    number: u64,
}

struct Caller<G: Gate> {
    waker: Waker,
    /// Where it waits: the alarm belongs where somebody drives the timer.
    runtime: Option<Id>,
    since: Instant,
    state: State<G>,
}

enum State<G: Gate> {
    Waiting {
        ask: G::Cost,
        place: Place,
        gives_up: Option<Instant>,
    },
    Admitted(Admitted<G::Token>),
    Rejected(Rejected<G::Reason>),
}

/// A caller that was let through.
#[derive(Debug)]
pub(super) struct Admitted<S> {
    pub(super) slip: S,
    pub(super) at: Instant,
    pub(super) waited: Duration,
}

impl<S> Admitted<S> {
    #[inline]
    pub(super) const fn at_once(slip: S, now: Instant) -> Self {
        Self { slip, at: now, waited: Duration::ZERO }
    }
}

/// What became of an arrival.
pub(super) enum Arrival<G: Gate> {
    Settled(Settled<G>),
    Waits(Ticket),
}

/// The runtime in which this is called, if it is in one.
pub(super) fn here() -> Option<Id> {
    Handle::try_current().ok().map(|runtime| runtime.id())
}

/// What the gate says to whom it may let through. Where it is shared with other queues, what it admits is
/// taken, and who has to wait for it is known to it.
#[inline]
fn decide<G: Gate>(gate: &mut G, ask: &G::Cost, now: Instant) -> Decision<G::Reason> {
    let mut decision = gate.check(ask, now);
    if let Some(pooled) = gate.pooled() {
        if decision.is_admit() {
            decision = pooled.reserve(ask, now);
        }
        match &decision {
            Decision::NotBefore(at, why) => pooled.register_waiter(ask, Some(*at), why, now),
            Decision::WhenReleased(why) => pooled.register_waiter(ask, None, why, now),
            Decision::Admit | Decision::Reject(_) => {}
        }
    }
    decision
}

/// Let through or turned away.
pub(super) type Settled<G> = Result<Admitted<<G as Gate>::Token>, Rejected<<G as Gate>::Reason>>;

impl<G: Gate> Line<G> {
    pub(super) fn new(gate: G, limits: QueueLimits, now: Instant) -> Self {
        Self {
            gate,
            limits,
            places: BTreeMap::new(),
            patience: BTreeSet::new(),
            callers: Slab::new(),
            arrivals: 0,
            closed: None,
            now,
        }
    }

    #[inline]
    pub(super) fn gate(&mut self) -> &mut G {
        &mut self.gate
    }

    pub(super) fn set_limits(&mut self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        self.limits = change(self.limits);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn waiting(&self) -> usize {
        self.places.len()
    }

    /// Since when the one that has waited longest waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.places.values().map(|ticket| self.callers[*ticket].since).min()
    }

    /// Moves the line's clock on and returns what it shows.
    #[inline]
    pub(super) fn tick(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// What the gate says to a caller that finds nobody before it, the line open, and has time left.
    /// One that is admitted need not arrive.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a decision says more than whether to go, which is nearly all of it"
    )]
    pub(super) fn lone_decision(
        &mut self,
        ask: &G::Cost,
        wait: &Wait,
        now: Instant,
    ) -> Option<Decision<G::Reason>> {
        let alone = self.places.is_empty()
            && self.closed.is_none()
            && wait.deadline.is_none_or(|deadline| deadline > now);
        alone.then(|| decide(&mut self.gate, ask, now))
    }

    /// A caller arrives, to which the gate has said so much: it is settled at once, or takes its place and
    /// waits.
    pub(super) fn arrive(
        &mut self,
        ask: G::Cost,
        wait: Wait,
        decision: Option<Decision<G::Reason>>,
        waker: &Waker,
        now: Instant,
    ) -> Arrival<G> {
        let obstacle = match decision {
            None => return self.arrive_behind_others(ask, wait, waker, now),
            Some(Decision::Admit) => return self.admit(&ask, now),
            Some(Decision::Reject(why)) => return Arrival::Settled(Err(Rejected::refused(why, 0))),
            Some(Decision::NotBefore(at, why)) => (Some(at), Some(why)),
            Some(Decision::WhenReleased(why)) => (None, Some(why)),
        };
        let place = self.place_for(wait, now);
        self.join(ask, wait, place, obstacle, waker, now)
    }

    fn admit(&mut self, ask: &G::Cost, now: Instant) -> Arrival<G> {
        let slip = self.gate.admit(ask, now);
        Arrival::Settled(Ok(Admitted::at_once(slip, now)))
    }

    /// A caller finds others waiting or the line closed, or has come too late.
    fn arrive_behind_others(&mut self, ask: G::Cost, wait: Wait, waker: &Waker, now: Instant) -> Arrival<G> {
        let place = self.place_for(wait, now);
        // A call that is sent again was let in before the queue was closed.
        let closed = match self.closed {
            None => false,
            Some(Closing::Drain) => !wait.again,
            Some(Closing::Fail) => true,
        };
        if closed {
            return self.turned_at_the_door(RejectReason::Closed, None, None, place);
        }
        if wait.deadline.is_some_and(|deadline| deadline <= now) {
            return self.turned_at_the_door(RejectReason::WaitTooLong, None, None, place);
        }
        let decision = if self.is_first(place) {
            decide(&mut self.gate, &ask, now)
        } else {
            self.gate.check(&ask, now)
        };
        let obstacle = match decision {
            // What is refused now would be refused at the head as well: it is spared the wait.
            Decision::Reject(why) => {
                return Arrival::Settled(Err(Rejected::refused(why, self.ahead_of(place))));
            }
            Decision::Admit if self.is_first(place) => return self.admit(&ask, now),
            Decision::Admit => (None, None),
            Decision::NotBefore(at, why) => (Some(at), Some(why)),
            Decision::WhenReleased(why) => (None, Some(why)),
        };
        self.join(ask, wait, place, obstacle, waker, now)
    }

    /// A caller that can not go now takes its place, unless there is none or its turn would come too late.
    fn join(
        &mut self,
        ask: G::Cost,
        wait: Wait,
        place: Place,
        (earliest, why): (Option<Instant>, Option<G::Reason>),
        waker: &Waker,
        now: Instant,
    ) -> Arrival<G> {
        let full = self.places.len() >= self.limits.max_waiting;
        let gives_up = self.limits.gives_up(wait, now, &self.gate);
        if full || gives_up.is_some() {
            let forecast = if self.is_first(place) {
                None
            } else {
                self.forecast(&ask, place, now)
            };
            let earliest = earliest.max(forecast);
            let retry_after = earliest.map(|at| at.saturating_duration_since(now));
            if full {
                return self.turned_at_the_door(RejectReason::QueueFull, retry_after, why, place);
            }
            if gives_up.is_some_and(|gives_up| gives_up <= now || earliest.is_some_and(|at| gives_up < at)) {
                return self.turned_at_the_door(RejectReason::WaitTooLong, retry_after, why, place);
            }
        }
        let ticket = self.callers.insert(Caller {
            waker: waker.clone(),
            runtime: here(),
            since: now,
            state: State::Waiting { ask, place, gives_up },
        });
        self.places.insert(place, ticket);
        self.patience.extend(gives_up.map(|at| (at, place)));
        Arrival::Waits(ticket)
    }

    fn turned_at_the_door(
        &self,
        because: RejectReason,
        retry_after: Option<Duration>,
        why: Option<G::Reason>,
        place: Place,
    ) -> Arrival<G> {
        let place = Some(self.ahead_of(place));
        Arrival::Settled(Err(Rejected {
            reason: because,
            gate_reason: why,
            retry_after,
            waited: Duration::ZERO,
            place,
        }))
    }

    /// Whether nobody would be before a caller at `place`.
    fn is_first(&self, place: Place) -> bool {
        self.places.first_key_value().is_none_or(|(head, _)| place < *head)
    }

    /// How many would be before a caller at `place`.
    fn ahead_of(&self, place: Place) -> usize {
        let last = self.places.last_key_value().is_none_or(|(last, _)| *last < place);
        if last {
            self.places.len()
        } else {
            self.places.range(..place).count()
        }
    }

    fn place_for(&mut self, wait: Wait, now: Instant) -> Place {
        // Ten years keep any order, and can be added to any time.
        const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
        let lag = self.limits.ageing.saturating_mul(u32::from(wait.priority.to_level())).min(LONGEST);
        let arrived = wait.arrived.map_or(now, |arrived| arrived.min(now));
        self.arrivals += 1;
        Place { due: arrived.checked_add(lag).unwrap_or(arrived), number: self.arrivals }
    }

    fn forecast(&mut self, ask: &G::Cost, place: Place, now: Instant) -> Option<Instant> {
        let Self { gate, places, callers, .. } = self;
        let mut asks = places
            .range(..place)
            .take(FARTHEST)
            .filter_map(|(_, ticket)| match &callers[*ticket].state {
                State::Waiting { ask, .. } => Some(ask),
                State::Admitted(_) | State::Rejected(_) => None,
            })
            .chain(std::iter::once(ask));
        gate.forecast(&mut asks, now)
    }

    /// Lets through whom the gate admits and turns away who can not wait so long.
    ///
    /// Returns when to look again. Those who were settled are woken through `woken`.
    pub(super) fn advance(&mut self, now: Instant, woken: &mut Vec<Waker>) -> Option<Instant> {
        while let Some((&head, &ticket)) = self.places.first_key_value() {
            let State::Waiting { ask, gives_up, .. } = &self.callers[ticket].state else {
                unreachable!("who has a place is waiting");
            };
            let gives_up = *gives_up;
            if gives_up.is_some_and(|gives_up| gives_up + TICK < now) {
                // Nobody looked in time: the thread was busy. It is told when it could go, all the same.
                let (wait, why) = match self.gate.check(ask, now) {
                    Decision::Admit => (Some(Duration::ZERO), None),
                    Decision::NotBefore(at, why) => (Some(at.saturating_duration_since(now)), Some(why)),
                    Decision::WhenReleased(why) | Decision::Reject(why) => (None, Some(why)),
                };
                self.turn_away(head, RejectReason::WaitTooLong, wait, why, now, woken);
                continue;
            }
            match decide(&mut self.gate, ask, now) {
                Decision::Admit => {
                    let slip = self.gate.admit(ask, now);
                    let waited = now - self.callers[ticket].since;
                    self.settle(head, State::Admitted(Admitted { slip, at: now, waited }), woken);
                }
                Decision::Reject(why) => {
                    self.turn_away(head, RejectReason::Gate, None, Some(why), now, woken);
                }
                // Nobody in the line goes before the head does, so an instant for a head that waits for it
                // turns away everyone who gives up before it.
                Decision::NotBefore(at, why) => {
                    let Some(place) = self.first_to_give_up((head, gives_up), |gives_up| gives_up < at)
                    else {
                        return Some(at);
                    };
                    let wait = Some(at.saturating_duration_since(now));
                    self.turn_away(place, RejectReason::WaitTooLong, wait, Some(why), now, woken);
                }
                Decision::WhenReleased(why) => {
                    let Some(place) = self.first_to_give_up((head, gives_up), |gives_up| gives_up <= now)
                    else {
                        let gives_up = self.patience.first().map(|(gives_up, _)| *gives_up);
                        let lapses = self.gate.hints().next_wakeup.filter(|at| *at > now);
                        return gives_up.into_iter().chain(lapses).min();
                    };
                    self.turn_away(place, RejectReason::WaitTooLong, None, Some(why), now, woken);
                }
            }
        }
        None
    }

    /// Who gives up too early, if anybody does. The head comes first: without it the others may have less
    /// to wait for.
    fn first_to_give_up(
        &self,
        (head, gives_up): (Place, Option<Instant>),
        is_too_early: impl Fn(Instant) -> bool,
    ) -> Option<Place> {
        if gives_up.is_some_and(&is_too_early) {
            return Some(head);
        }
        self.patience
            .first()
            .filter(|(gives_up, _)| is_too_early(*gives_up))
            .map(|(_, place)| *place)
    }

    fn turn_away(
        &mut self,
        place: Place,
        because: RejectReason,
        retry_after: Option<Duration>,
        why: Option<G::Reason>,
        now: Instant,
        woken: &mut Vec<Waker>,
    ) {
        let waited = now - self.callers[self.places[&place]].since;
        let turned = Rejected { reason: because, gate_reason: why, retry_after, waited, place: None };
        self.settle(place, State::Rejected(turned), woken);
    }

    fn settle(&mut self, place: Place, state: State<G>, woken: &mut Vec<Waker>) {
        let Some(ticket) = self.places.remove(&place) else {
            return;
        };
        let caller = &mut self.callers[ticket];
        if let State::Waiting { gives_up: Some(at), .. } = caller.state {
            self.patience.remove(&(at, place));
        }
        caller.state = state;
        woken.push(caller.waker.clone());
    }

    /// Hands over what became of a caller, who leaves the line; or notes who is to be woken.
    ///
    /// Also returns a waker that is not needed any more: dropping it may run foreign code, so that is
    /// left to be done outside of the lock.
    pub(super) fn collect(&mut self, ticket: Ticket, waker: &Waker) -> (Option<Settled<G>>, Option<Waker>) {
        let caller = &mut self.callers[ticket];
        if let State::Waiting { .. } = caller.state {
            caller.runtime = here();
            let changed = !caller.waker.will_wake(waker);
            return (None, changed.then(|| std::mem::replace(&mut caller.waker, waker.clone())));
        }
        let Caller { state, waker, .. } = self.callers.remove(ticket);
        let settled = match state {
            State::Admitted(admitted) => Ok(admitted),
            State::Rejected(turned) => Err(turned),
            State::Waiting { .. } => unreachable!("looked at above"),
        };
        (Some(settled), Some(waker))
    }

    /// A caller goes away without having collected. Its waker is returned to be dropped outside.
    pub(super) fn leave(&mut self, ticket: Ticket, now: Instant) -> Waker {
        let Caller { state, waker, .. } = self.callers.remove(ticket);
        match state {
            State::Waiting { place, gives_up, .. } => {
                self.places.remove(&place);
                if let Some(at) = gives_up {
                    self.patience.remove(&(at, place));
                }
            }
            State::Admitted(admitted) => self.gate.end(admitted.slip, End::Unsent, now),
            State::Rejected(_) => {}
        }
        waker
    }

    /// Who is at the head, to be woken where the line can not look again by itself.
    pub(super) fn head(&self) -> Option<&Waker> {
        self.places.first_key_value().map(|(_, ticket)| &self.callers[*ticket].waker)
    }

    /// Where the caller at the head waits.
    pub(super) fn home(&self) -> Option<Id> {
        self.places.first_key_value().and_then(|(_, ticket)| self.callers[*ticket].runtime)
    }

    /// Says how a line in which nobody waits yet is closed, if it is.
    pub(super) fn set_closed(&mut self, closed: Option<Closing>) {
        self.closed = closed;
    }

    /// Turns new callers away, and those who wait as well where that is asked.
    pub(super) fn close(&mut self, closing: Closing, now: Instant, woken: &mut Vec<Waker>) {
        self.closed = Some(closing);
        if closing == Closing::Fail {
            while let Some((&head, _)) = self.places.first_key_value() {
                self.turn_away(head, RejectReason::Closed, None, None, now, woken);
            }
        }
    }
}
