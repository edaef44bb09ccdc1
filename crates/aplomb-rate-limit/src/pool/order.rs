//! Quotas, and the heads of several lines before them, in the order in which they came to wait.

use std::collections::BTreeMap;
use std::iter::once;
use std::task::Waker;

use aplomb_admission::{Decision, Gate};
use aplomb_core::Event;
use tokio::time::Instant;

use crate::{Charge, Quotas, RateLimitReason, Reservation};

/// How far a forecast looks ahead. What is beyond only makes the wait longer.
const FARTHEST: usize = 256;

/// The place of a line's head, by number: first come, first served.
pub(super) type Place = u64;

/// What the members of a pool share, under its lock.
#[derive(Debug)]
pub(super) struct Order {
    quotas: Quotas,
    heads: BTreeMap<Place, Head>,
    places: Place,
    /// The latest time seen: each line has a clock of its own, and asks by that.
    now: Instant,
    /// Somebody is waking queues: one after the other, until nobody is due.
    waking: bool,
}

/// The head of a line that waits for the quotas, and for nothing else.
#[derive(Debug)]
struct Head {
    charge: Charge,
    /// When it will ask again by itself, if it will, and what it was told that it waits for.
    until: Option<Instant>,
    why: RateLimitReason,
    /// Has its queue ask again, once that is known.
    queue: Option<Waker>,
    /// It has been woken, and has not asked since.
    woken: bool,
}

impl Order {
    pub(super) const fn new(quotas: Quotas, now: Instant) -> Self {
        Self { quotas, heads: BTreeMap::new(), places: 0, now, waking: false }
    }

    /// Looks at the quotas, or changes them.
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

    /// How many lines wait for the quotas.
    pub(super) fn waiting(&self) -> usize {
        self.heads.len()
    }

    pub(super) fn tick(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// What the quotas say to a charge in this place, or behind everybody. Takes nothing.
    pub(super) fn check(
        &mut self,
        charge: &Charge,
        own: Option<Place>,
        now: Instant,
    ) -> Decision<RateLimitReason> {
        let now = self.tick(now);
        let said = self.quotas.check(charge, now);
        let own = own.unwrap_or(Place::MAX);
        let Some((_, first)) = self.heads.first_key_value().filter(|(place, _)| **place < own) else {
            return said;
        };
        // Nobody goes before those who came to wait before it, even if there is enough for both.
        let ahead = self.heads.range(..own).take(FARTHEST).map(|(_, head)| &head.charge);
        let turn = self.quotas.forecast(&mut ahead.chain(once(charge)), now).max(first.until);
        match said {
            Decision::Reject(_) | Decision::WhenReleased(_) => said,
            Decision::NotBefore(at, why) => Decision::NotBefore(turn.map_or(at, |turn| turn.max(at)), why),
            // If the first is due, it has been woken, and wakes the next one when it has gone.
            Decision::Admit => match turn.filter(|turn| *turn > now) {
                Some(turn) => Decision::NotBefore(turn, first.why),
                None => Decision::WhenReleased(first.why),
            },
        }
    }

    /// Takes a charge if it may go, and says what it waits for otherwise.
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

    /// A head waits: in the place of who was at the head of its line before, or behind all others.
    pub(super) fn join(
        &mut self,
        own: Option<Place>,
        charge: &Charge,
        until: Option<Instant>,
        why: RateLimitReason,
    ) -> Place {
        let own = own.unwrap_or_else(|| {
            self.places += 1;
            self.places
        });
        let head = self.heads.entry(own).or_insert_with(|| Head {
            charge: Charge::request(),
            until,
            why,
            queue: None,
            woken: false,
        });
        if head.charge != *charge {
            head.charge = charge.clone();
        }
        (head.until, head.why, head.woken) = (until, why, false);
        own
    }

    /// From now on it is known how to have the queue of a head ask again.
    pub(super) fn set_queue(&mut self, own: Place, queue: &Waker) {
        if let Some(head) = self.heads.get_mut(&own).filter(|head| head.queue.is_none()) {
            head.queue = Some(queue.clone());
        }
    }

    /// A head waits no longer.
    pub(super) fn leave(&mut self, own: Place) {
        self.heads.remove(&own);
    }

    /// Whether a queue has to ask again now.
    pub(super) fn is_anybody_due(&mut self) -> bool {
        self.due().is_some()
    }

    /// The queue that has to ask again now, if one has and nobody is waking one.
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

    /// The first head, if it would be told something better than when it asked last, or be refused.
    ///
    /// One whose queue is not known is in a step, and looks here at the end of it.
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

    /// When the last of `charges` of one line could go, all heads before it included.
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
