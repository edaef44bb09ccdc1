//! A pool as the gate of one queue.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use aplomb_admission::{Decision, End, Evictable, Gate, Hints, PooledGate, Progress, Worth};
use aplomb_core::Event;
use tokio::time::Instant;

use super::order::{Order, Place};
use super::shared::Shared;
use crate::{Charge, Quotas, RateLimitReason, Reservation};

/// The gate of one queue before a [`Pool`](crate::Pool). Returned by [`Pool::member`](crate::Pool::member).
///
/// It draws on the quotas of the pool, alone or together with other gates, as [`Quotas`] of its own would. Only the
/// head of its queue waits for the pool, and only while it waits for no other gate.
///
/// Dropping it leaves the pool without a trace: all state is the pool's.
pub struct PoolMember {
    pool: Arc<Shared>,
    /// The place of the head of the queue among those of the other members, while it waits.
    place: Option<Place>,
    /// The amounts that have been reserved but not admitted yet.
    reserved: Option<Reservation>,
    /// True if it was checked, and is not what the caller waits for.
    checked: bool,
    /// True if other queues may wait for what was done here.
    others_wait: bool,
    /// True if the pool has an event to report.
    has_event: bool,
    /// Makes the queue check again; kept while a call waits in it.
    queue: Option<Waker>,
}

impl PoolMember {
    pub(super) const fn new(pool: Arc<Shared>) -> Self {
        Self {
            pool,
            place: None,
            reserved: None,
            checked: false,
            others_wait: false,
            has_event: false,
            queue: None,
        }
    }

    /// Does something under the pool's lock that may affect other queues.
    fn order<T>(&mut self, act: impl FnOnce(&mut Order) -> T) -> T {
        let mut order = self.pool.lock();
        let result = act(&mut order);
        self.others_wait |= order.waiting() > 0;
        self.has_event |= order.has_event();
        result
    }

    /// Returns whether the server lets no member through.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.pool.lock().quotas().is_shut()
    }

    /// Reads or changes the pool's quotas.
    pub(crate) fn with<T>(&mut self, now: Instant, act: impl FnOnce(&mut Quotas, Instant) -> T) -> T {
        self.order(|order| order.with(now, act))
    }

    /// Gives back what was reserved and not admitted because another gate panicked.
    fn give_back(&mut self, now: Instant) {
        if let Some(reservation) = self.reserved.take() {
            self.with(now, |quotas, now| quotas.end(reservation, End::Unsent, now));
        }
    }
}

impl Gate for PoolMember {
    type Cost = Charge;
    type Token = Reservation;
    type Reason = RateLimitReason;
    type Event = Event;

    fn check(&mut self, charge: &Charge, now: Instant) -> Decision<RateLimitReason> {
        self.checked = true;
        let place = self.place;
        self.order(|order| order.check(charge, place, now))
    }

    /// Returns what was reserved.
    ///
    /// # Panics
    ///
    /// Panics if nothing was: the queue calls `reserve` first.
    fn admit(&mut self, _: &Charge, _: Instant) -> Reservation {
        self.reserved.take().expect("a pooled gate reserves before it admits")
    }

    fn on(&mut self, reservation: &mut Reservation, progress: Progress<'_>, now: Instant) {
        self.with(now, |quotas, now| quotas.on(reservation, progress, now));
    }

    fn end(&mut self, reservation: Reservation, end: End, now: Instant) {
        self.with(now, |quotas, now| quotas.end(reservation, end, now));
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
            Ok(reservation) => {
                (self.place, self.checked) = (None, false);
                self.reserved = Some(reservation);
                Decision::Admit
            }
            Err(decision) => decision,
        }
    }

    fn register_waiter(
        &mut self,
        charge: &Charge,
        until: Option<Instant>,
        reason: &RateLimitReason,
        _: Instant,
    ) {
        self.checked = false;
        let place = self.place;
        self.place = Some(self.order(|order| order.join(place, charge, until, *reason)));
    }

    fn end_section(&mut self, queue: Option<&dyn Fn() -> Waker>, woken: &mut Vec<Waker>) {
        let unwanted = std::mem::take(&mut self.checked);
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
        // Other queues are woken when this one's lock has been released.
        if order.is_any_due() {
            woken.push(Waker::from(Arc::clone(&self.pool)));
        }
    }
}

/// All state is the pool's.
impl Evictable for PoolMember {
    fn worth(&mut self, _: Instant) -> Worth {
        if self.place.is_none() && self.reserved.is_none() {
            Worth::FRESH
        } else {
            Worth::IN_USE
        }
    }
}

impl Drop for PoolMember {
    fn drop(&mut self) {
        // Only needed if a gate panicked in a critical section. The other queues check again by themselves: it is not
        // known which locks are held here.
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
