//! The gate of a limiter: quotas of its own, or those of a pool.

use std::fmt;

use aplomb_admission::{Decision, End, Evictable, Gate, Hints, PooledGate, Progress, Worth};
use aplomb_core::Event;
use tokio::time::Instant;

use crate::{Charge, PoolMember, Quotas, RateLimitReason, Reservation};

/// The gate of a limiter: quotas of its own, or those of a pool.
pub enum LimiterGate {
    /// Quotas of its own.
    Own(Quotas),
    /// Those of a pool.
    Pooled(Box<PoolMember>),
}

impl LimiterGate {
    /// Reads or changes the quotas.
    pub(crate) fn quotas<T>(&mut self, now: Instant, act: impl FnOnce(&mut Quotas, Instant) -> T) -> T {
        match self {
            Self::Own(quotas) => act(quotas, now),
            Self::Pooled(member) => member.with(now, act),
        }
    }
}

/// Passes a call on to the gate there is.
macro_rules! either {
    ($self:expr, $gate:ident => $call:expr) => {
        match $self {
            Self::Own($gate) => $call,
            Self::Pooled($gate) => $call,
        }
    };
}

impl Gate for LimiterGate {
    type Cost = Charge;
    type Token = Reservation;
    type Reason = RateLimitReason;
    type Event = Event;

    #[inline]
    fn check(&mut self, charge: &Charge, now: Instant) -> Decision<RateLimitReason> {
        either!(self, gate => gate.check(charge, now))
    }

    #[inline]
    fn admit(&mut self, charge: &Charge, now: Instant) -> Reservation {
        either!(self, gate => gate.admit(charge, now))
    }

    #[inline]
    fn on(&mut self, reservation: &mut Reservation, progress: Progress<'_>, now: Instant) {
        either!(self, gate => gate.on(reservation, progress, now));
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "the token is read where it is instead of being moved"
    )]
    fn end(&mut self, reservation: Reservation, end: End, now: Instant) {
        either!(self, gate => gate.end(reservation, end, now));
    }

    fn forecast(&mut self, charges: &mut dyn Iterator<Item = &Charge>, now: Instant) -> Option<Instant> {
        either!(self, gate => gate.forecast(charges, now))
    }

    fn hints(&self) -> Hints {
        either!(self, gate => gate.hints())
    }

    #[inline]
    fn next_event(&mut self) -> Option<Event> {
        either!(self, gate => gate.next_event())
    }

    #[inline]
    fn pooled(&mut self) -> Option<&mut dyn PooledGate<Charge, RateLimitReason>> {
        either!(self, gate => gate.pooled())
    }
}

impl Evictable for LimiterGate {
    fn worth(&mut self, now: Instant) -> Worth {
        either!(self, gate => gate.worth(now))
    }
}

impl fmt::Debug for LimiterGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        either!(self, gate => gate.fmt(f))
    }
}
