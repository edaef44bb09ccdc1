//! A pool as a gate of one queue.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use aplomb_admission::{Decision, End, Gate, Hints, PooledGate, Progress, Rests};
use aplomb_core::Event;
use tokio::time::Instant;

use super::order::{Order, Place};
use super::shared::Shared;
use crate::{Charge, Quotas, RateLimitReason, Reservation};

/// The gate of one queue before a [`Pool`](crate::Pool). Made by [`Pool::member`](crate::Pool::member).
///
/// It draws on the quotas of the pool, by itself or as one of several gates, as [`Quotas`] of its own would. Only the head of its queue waits for the
/// pool, and only while no other gate of that queue is what it waits for.
///
/// Dropping it leaves the pool without a trace. Nothing is kept of it at rest: all state is the pool's.
pub struct PoolMember {
    pool: Arc<Shared>,
    /// The place of the head of the queue among those of the other members, while it waits.
    place: Option<Place>,
    /// What has been taken and not been handed out yet.
    taken: Option<Reservation>,
    /// It was asked, and not what the caller waits for.
    asked: bool,
    /// Others may wait for what was done here.
    others_wait: bool,
    /// The pool has an event to report.
    has_event: bool,
    /// Has the queue ask again; kept while somebody waits in it.
    queue: Option<Waker>,
}

impl PoolMember {
    pub(super) const fn new(pool: Arc<Shared>) -> Self {
        Self {
            pool,
            place: None,
            taken: None,
            asked: false,
            others_wait: false,
            has_event: false,
            queue: None,
        }
    }

    /// Does something under the pool's lock that may make room for others.
    fn order<T>(&mut self, act: impl FnOnce(&mut Order) -> T) -> T {
        let mut order = self.pool.lock();
        let result = act(&mut order);
        self.others_wait |= order.waiting() > 0;
        self.has_event |= order.has_event();
        result
    }

    /// Looks at the pool's quotas, or changes them.
    pub(crate) fn with<T>(&mut self, now: Instant, act: impl FnOnce(&mut Quotas, Instant) -> T) -> T {
        self.order(|order| order.with(now, act))
    }

    /// Gives back what nobody has come for, where another gate panicked amid a step.
    fn give_back(&mut self, now: Instant) {
        if let Some(drawn) = self.taken.take() {
            self.with(now, |quotas, now| quotas.end(drawn, End::Unsent, now));
        }
    }
}

impl Gate for PoolMember {
    type Cost = Charge;
    type Token = Reservation;
    type Reason = RateLimitReason;
    type Event = Event;

    fn check(&mut self, charge: &Charge, now: Instant) -> Decision<RateLimitReason> {
        self.asked = true;
        let place = self.place;
        self.order(|order| order.check(charge, place, now))
    }

    /// Hands out what was taken.
    ///
    /// # Panics
    ///
    /// Panics if nothing was: `reserve` has to admit first, as the queue has it.
    fn admit(&mut self, _: &Charge, _: Instant) -> Reservation {
        self.taken.take().expect("what is shared is confirmed before it is handed out")
    }

    fn on(&mut self, drawn: &mut Reservation, progress: Progress<'_>, now: Instant) {
        self.with(now, |quotas, now| quotas.on(drawn, progress, now));
    }

    fn end(&mut self, drawn: Reservation, end: End, now: Instant) {
        self.with(now, |quotas, now| quotas.end(drawn, end, now));
    }

    fn forecast(&mut self, charges: &mut dyn Iterator<Item = &Charge>, now: Instant) -> Option<Instant> {
        self.pool.lock().forecast(self.place, charges, now)
    }

    fn hints(&self) -> Hints {
        self.pool.lock().quotas().hints()
    }

    fn next_event(&mut self) -> Option<Event> {
        if !self.has_event {
            return None;
        }
        let mut order = self.pool.lock();
        let event = order.next_event();
        self.has_event = order.has_event();
        event
    }

    fn pooled(&mut self) -> Option<&mut dyn PooledGate<Charge, RateLimitReason>> {
        Some(self)
    }
}

impl PooledGate<Charge, RateLimitReason> for PoolMember {
    fn reserve(&mut self, charge: &Charge, now: Instant) -> Decision<RateLimitReason> {
        self.give_back(now);
        let place = self.place;
        match self.order(|order| order.take(charge, place, now)) {
            Ok(drawn) => {
                (self.place, self.asked) = (None, false);
                self.taken = Some(drawn);
                Decision::Admit
            }
            Err(decision) => decision,
        }
    }

    fn register_waiter(
        &mut self,
        charge: &Charge,
        until: Option<Instant>,
        why: &RateLimitReason,
        _: Instant,
    ) {
        self.asked = false;
        let place = self.place;
        self.place = Some(self.order(|order| order.join(place, charge, until, *why)));
    }

    fn end_section(&mut self, queue: Option<&dyn Fn() -> Waker>, woken: &mut Vec<Waker>) {
        let unwanted = std::mem::take(&mut self.asked);
        if queue.is_none() {
            self.queue = None;
        }
        if self.place.is_none() && !std::mem::take(&mut self.others_wait) {
            return;
        }
        let mut order = self.pool.lock();
        match (queue, self.place) {
            (Some(queue), Some(place)) if !unwanted => {
                order.set_queue(place, self.queue.get_or_insert_with(queue));
            }
            (_, Some(place)) => {
                order.leave(place);
                self.place = None;
            }
            (_, None) => {}
        }
        // Others are woken when this queue's lock is released.
        if order.is_anybody_due() {
            woken.push(Waker::from(Arc::clone(&self.pool)));
        }
    }
}

impl Rests for PoolMember {
    type Rest = ();

    fn rest(&self, _: Instant) -> Option<()> {
        (self.place.is_none() && self.taken.is_none()).then_some(())
    }

    fn resume(&mut self, (): ()) {}
}

impl Drop for PoolMember {
    fn drop(&mut self) {
        // There is something to do only where a gate panicked amid a step. The others ask again by
        // themselves: nobody knows what locks are held here.
        if let Some(place) = self.place {
            self.pool.lock().leave(place);
        }
        self.give_back(Instant::now());
    }
}

impl fmt::Debug for PoolMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolMember").field("waits", &self.place.is_some()).finish_non_exhaustive()
    }
}
