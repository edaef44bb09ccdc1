//! The quotas as a gate.

use aplomb_admission::{Decision, End, Gate, Hints, PooledGate, Progress};
use aplomb_core::{Event, Kind};
use tokio::time::Instant;

use super::{Quotas, RateLimitReason, Reservation};
use crate::Charge;
use crate::charge::Counted;

impl Gate for Quotas {
    type Cost = Charge;
    type Token = Reservation;
    type Reason = RateLimitReason;
    type Event = Event;

    #[inline]
    fn check(&mut self, charge: &Charge, now: Instant) -> Decision<RateLimitReason> {
        let nanos = self.set.nanos(now);
        let mut expires = self.server.as_ref().and_then(|server| server.expires);
        if expires.is_some_and(|at| at <= nanos) {
            self.expire(now);
            expires = self.server.as_ref().and_then(|server| server.expires);
        }
        let latest = match self.set.check(charge, nanos) {
            Ok(latest) => latest,
            Err(reason) => return Decision::Reject(reason),
        };
        let latest = if self.server.is_some() {
            latest.max(self.gauge(charge, nanos))
        } else {
            latest
        };
        // A call does not wait for a limit that expires meanwhile.
        let filled = latest.map(|(at, dimension)| {
            let at = expires.map_or(at, |expires| expires.min(at));
            (self.set.instant(at), RateLimitReason::Quota(dimension))
        });
        if self.brakes.as_ref().is_some_and(|server| server.may_hold()) {
            return self.check_brakes(filled, charge, now);
        }
        match filled {
            Some((at, reason)) => Decision::NotBefore(at, reason),
            None => Decision::Admit,
        }
    }

    #[inline]
    fn admit(&mut self, charge: &Charge, now: Instant) -> Reservation {
        let shares = self.set.take(charge);
        let requests = charge.counted(Counted::Requests);
        if self.server.is_some() {
            self.take_gauged(charge, now);
        }
        let server = self.tell_admitted(charge, now);
        self.in_flight += 1;
        self.unanswered += 1;
        Reservation {
            at: now,
            requests,
            unanswered: true,
            accepted: false,
            server,
            shortage_shown: false,
            shares,
        }
    }

    fn on(&mut self, reservation: &mut Reservation, progress: Progress<'_>, now: Instant) {
        match progress {
            Progress::Sent => self.tell_sent(reservation, now),
            Progress::FirstByte => {
                self.on_answered(reservation);
                self.tell_taken(reservation, now);
                self.on_accepted(reservation, now);
            }
            Progress::Limits(readings) => {
                self.on_answered(reservation);
                if self.set.settings().inbound {
                    return;
                }
                for reading in readings {
                    self.on_reading(reading, reservation, now);
                }
            }
            Progress::Usage(usage) => {
                let nanos = self.set.nanos(now);
                self.set.settle(reservation, &usage, false, nanos);
            }
        }
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "the token is read where it is instead of being moved"
    )]
    fn end(&mut self, mut reservation: Reservation, end: End, now: Instant) {
        self.on_answered(&mut reservation);
        self.in_flight -= 1;
        self.tell_ended(&reservation, &end, now);
        let End::Judged { outcome, usage } = end else {
            // The server counts a call that was sent and abandoned, but not one that was never sent.
            if end == End::Unsent {
                self.refund(&reservation, now);
            }
            return;
        };
        let inbound = self.set.settings().inbound;
        match outcome.kind() {
            Kind::Success => self.on_accepted(&mut reservation, now),
            // Rejected by a gate further in.
            Kind::Local => self.refund(&reservation, now),
            _ if inbound => self.failed_inbound(&reservation, usage, now),
            Kind::Throttled => self.on_throttled(&reservation, &outcome, now),
            // Refused for reasons of money and keys, which providers check before they count.
            Kind::Exhausted | Kind::Unauthorized => self.refund(&reservation, now),
            _ => {}
        }
        if let Some(usage) = usage {
            let nanos = self.set.nanos(now);
            self.set.settle(&reservation, &usage, outcome.is_success() || inbound, nanos);
        }
    }

    fn forecast(&mut self, charges: &mut dyn Iterator<Item = &Charge>, now: Instant) -> Option<Instant> {
        let nanos = self.set.nanos(now);
        let expires = self.server.as_ref().and_then(|server| server.expires);
        let filled = self.set.forecast(charges, nanos);
        let filled = filled.map(|at| expires.map_or(at, |expires| expires.max(nanos).min(at)));
        let held = self.brakes.as_mut().and_then(|server| server.forecast(now));
        filled.map(|at| self.set.instant(at)).max(held)
    }

    fn hints(&self) -> Hints {
        self.brakes.as_ref().map(|server| server.hints()).unwrap_or_default()
    }

    #[inline]
    fn next_event(&mut self) -> Option<Event> {
        self.server.as_mut().and_then(|server| server.events.pop_front())
    }

    #[inline]
    fn pooled(&mut self) -> Option<&mut dyn PooledGate<Charge, RateLimitReason>> {
        None
    }
}
