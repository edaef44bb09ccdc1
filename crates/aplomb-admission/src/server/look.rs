//! A look at the server from outside: its state, and what would be lost with it.

use tokio::time::Instant;

use super::slow_start::SlowStart;
use super::{Server, ServerSnapshot, ShutCause};
use crate::{Decision, Hints, Worth};

impl Server {
    /// When to look again although no call ends.
    pub fn hints(&self) -> Hints {
        let next_abandoned = self.overload.next_abandoned();
        Hints { next_wakeup: next_abandoned, ..Hints::default() }
    }

    /// Returns why nobody gets through, while that is so.
    pub fn is_shut(&self) -> Option<ShutCause> {
        self.trouble.as_ref()?.shut.map(|shut| shut.cause)
    }

    /// When the next call may go to see whether calls are still throttled, while they are.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        let shut = self.trouble.as_ref()?.shut.filter(|shut| shut.cause == ShutCause::Throttles)?;
        Some(shut.probe_at).filter(|until| *until > now)
    }

    /// The earliest instant at which a call may go, if one is known.
    pub fn forecast(&mut self, now: Instant) -> Option<Instant> {
        let trouble = self.trouble.as_ref()?;
        match trouble.shut {
            Some(shut) if shut.cause == ShutCause::Throttles => shut.not_before(now),
            _ => None,
        }
    }

    /// The rate that it was found to accept, in calls per second.
    pub fn rate(&self) -> Option<f64> {
        self.trouble.as_ref()?.pace.map(|pace| pace.rate())
    }

    /// How many calls may be out of which nothing is known, during a slow start.
    pub fn slow_start(&self) -> Option<u32> {
        self.slow_start.map(SlowStart::window)
    }

    /// The worth of what is known, for eviction. Gives back the memory of a server that rests.
    pub fn worth(&mut self, now: Instant) -> Worth {
        if self.memory.in_flight() > 0 {
            return Worth::IN_USE;
        }
        self.memory.rest();
        match &self.trouble {
            None => Worth::FRESH,
            Some(trouble) => {
                let worth = trouble.worth(now);
                if worth == Worth::FRESH {
                    self.trouble = None;
                }
                worth
            }
        }
    }

    /// The state at `now`.
    pub fn snapshot(&mut self, now: Instant) -> ServerSnapshot {
        let held_by = match self.check(0, now) {
            Decision::Admit => None,
            Decision::NotBefore(_, held) | Decision::WhenReleased(held) | Decision::Reject(held) => {
                Some(held)
            }
        };
        let trouble = self.trouble.as_ref();
        ServerSnapshot {
            held_by,
            in_flight: self.memory.in_flight(),
            slow_start: self.slow_start(),
            rate: self.rate(),
            places: trouble.and_then(|trouble| trouble.limit()),
            period: trouble.and_then(|trouble| trouble.windows.period()),
            refused_by_chance: trouble.map_or(0.0, |trouble| trouble.usual.refused()),
        }
    }

    /// Whether there is any brake that may hold a call back.
    #[inline]
    pub fn may_hold(&self) -> bool {
        self.trouble.is_some() || self.slow_start.is_some()
    }

    /// Returns whether a call was accepted that was sent after `after`, at `until` at the latest: then a refusal between the two
    /// was not about everybody.
    pub fn took_one(&mut self, after: Instant, until: Instant, now: Instant) -> bool {
        self.tick(now);
        self.memory.took_one(after, until)
    }
}
