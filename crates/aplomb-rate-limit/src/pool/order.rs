//! The quotas of a pool, and the heads of the queues that wait for them, in order.

use std::collections::BTreeMap;
use std::iter::once;
use std::task::Waker;

use aplomb_admission::{Decision, Gate};
use aplomb_core::Event;
use tokio::time::Instant;

use crate::{Charge, Quotas, RateLimitReason, Reservation};

/// A forecast looks at no more heads than this. Those beyond could only make the wait longer.
const FARTHEST: usize = 256;

/// The place of the head of a queue: first come, first served.
pub(super) type Place = u64;

/// The state of a pool, under its lock.
#[derive(Debug)]
pub(super) struct Order {
    quotas: Quotas,
    heads: BTreeMap<Place, Head>,
    places: Place,
    /// The latest time seen: each queue has a clock of its own.
    now: Instant,
    /// True if a thread is waking queues, one after the other, until none is due.
    waking: bool,
}

/// The head of a queue that waits for the quotas, and for nothing else.
#[derive(Debug)]
struct Head {
    charge: Charge,
    /// When it will check again by itself, if it will, and what it waits for.
    until: Option<Instant>,
    reason: RateLimitReason,
    /// Makes its queue check again; `None` until that is known.
    queue: Option<Waker>,
    /// True if it has been woken and has not checked since.
    woken: bool,
}

impl Order {
    pub(super) const fn new(quotas: Quotas, now: Instant) -> Self {
        Self { quotas, heads: BTreeMap::new(), places: 0, now, waking: false }
    }

    /// Reads or changes the quotas.
    pub(super) fn with<T>(&mut self, now: Instant, act: impl FnOnce(&mut Quotas, Instant) -> T) -> T {
        let now = self.tick(now);
        act(&mut self.quotas, now)
    }

    pub(super) fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    pub(super) fn has_event(&self) -> bool {
        self.quotas.has_event()
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.quotas.next_event()
    }

    /// How many queues wait for the quotas.
    pub(super) fn waiting(&self) -> usize {
        self.heads.len()
    }

    pub(super) fn tick(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// Checks a charge in this place, or behind all others. Takes nothing.
    pub(super) fn check(
        &mut self,
        charge: &Charge,
        own: Option<Place>,
        now: Instant,
    ) -> Decision<RateLimitReason> {
        let now = self.tick(now);
        let decision = self.quotas.check(charge, now);
        let own = own.unwrap_or(Place::MAX);
        let Some((_, first)) = self.heads.first_key_value().filter(|(place, _)| **place < own) else {
            return decision;
        };
        // No head goes before those that began to wait earlier, even if there is enough for both.
        let ahead = self.heads.range(..own).take(FARTHEST).map(|(_, head)| &head.charge);
        let turn = self.quotas.forecast(&mut ahead.chain(once(charge)), now).max(first.until);
        match decision {
            Decision::Reject(_) | Decision::WhenReleased(_) => decision,
            Decision::NotBefore(at, reason) => {
                Decision::NotBefore(turn.map_or(at, |turn| turn.max(at)), reason)
            }
            // If the first is due, it has been woken, and the next one is woken when it has gone.
            Decision::Admit => match turn.filter(|turn| *turn > now) {
                Some(turn) => Decision::NotBefore(turn, first.reason),
                None => Decision::WhenReleased(first.reason),
            },
        }
    }

    /// Takes a charge if it may go, and returns the decision otherwise.
    pub(super) fn take(
        &mut self,
        charge: &Charge,
        own: Option<Place>,
        now: Instant,
    ) -> Result<Reservation, Decision<RateLimitReason>> {
        match self.check(charge, own, now) {
            Decision::Admit => {}
            decision => return Err(decision),
        }
        if let Some(own) = own {
            self.heads.remove(&own);
        }
        Ok(self.quotas.admit(charge, self.now))
    }

    /// A head waits: in the place of the head of its queue before it, or behind all others.
    pub(super) fn join(
        &mut self,
        own: Option<Place>,
        charge: &Charge,
        until: Option<Instant>,
        reason: RateLimitReason,
    ) -> Place {
        let own = own.unwrap_or_else(|| {
            self.places += 1;
            self.places
        });
        let head = self.heads.entry(own).or_insert_with(|| Head {
            charge: Charge::request(),
            until,
            reason,
            queue: None,
            woken: false,
        });
        if head.charge != *charge {
            head.charge = charge.clone();
        }
        (head.until, head.reason, head.woken) = (until, reason, false);
        own
    }

    /// From now on it is known how to make the queue of a head check again.
    pub(super) fn set_queue(&mut self, own: Place, queue: &Waker) {
        if let Some(head) = self.heads.get_mut(&own).filter(|head| head.queue.is_none()) {
            head.queue = Some(queue.clone());
        }
    }

    /// A head no longer waits.
    pub(super) fn leave(&mut self, own: Place) {
        self.heads.remove(&own);
    }

    /// Returns whether a queue has to check again now.
    pub(super) fn is_any_due(&mut self) -> bool {
        self.due().is_some()
    }

    /// The queue that has to check again now, unless a thread is waking one.
    pub(super) fn begin_waking(&mut self) -> Option<Waker> {
        if self.waking {
            return None;
        }
        let head = self.due()?;
        head.woken = true;
        let queue = head.queue.clone();
        self.waking = true;
        queue
    }

    pub(super) const fn end_waking(&mut self) {
        self.waking = false;
    }

    /// The first head, if its decision is better than when it checked last, or a rejection.
    ///
    /// A head whose queue is not known is in a critical section, and checks here at its end.
    fn due(&mut self) -> Option<&mut Head> {
        let head = self.heads.first_entry()?.into_mut();
        if head.woken || head.queue.is_none() {
            return None;
        }
        let sooner = match self.quotas.check(&head.charge, self.now) {
            Decision::Admit | Decision::Reject(_) => true,
            Decision::NotBefore(at, _) => head.until.is_none_or(|until| at < until),
            Decision::WhenReleased(_) => false,
        };
        sooner.then_some(head)
    }

    /// When the last of `charges` of one queue can go, counting all heads before it.
    pub(super) fn forecast(
        &mut self,
        own: Option<Place>,
        charges: &mut dyn Iterator<Item = &Charge>,
        now: Instant,
    ) -> Option<Instant> {
        let now = self.tick(now);
        let before = self.heads.range(..own.unwrap_or(Place::MAX)).take(FARTHEST);
        // One lifetime for both.
        let charges = charges.map(|charge| -> &Charge { charge });
        self.quotas.forecast(&mut before.map(|(_, head)| &head.charge).chain(charges), now)
    }
}
