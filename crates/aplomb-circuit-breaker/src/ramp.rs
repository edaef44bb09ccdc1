//! How a circuit that has just closed lets its callers in.

use std::time::Duration;

use tokio::time::Instant;

use crate::later;

/// How a circuit that has just closed lets in a growing share of its callers, instead of everybody at
/// once: a peer that has just come back is the easiest to knock over again.
///
/// At first, few calls may be unanswered at once. Each answer makes room for one more, so that their
/// number doubles with every round trip, as in TCP's slow start (RFC 5681); each failure or throttle
/// halves it. Where bodies are watched, a call is answered at its first content. The others are refused
/// meanwhile, or parked. Where fewer ask than may be let in, nobody notices.
///
/// However slow the answers are, the ramp ends in bounded time.
///
/// | | default | as in |
/// | --- | --- | --- |
/// | calls unanswered at first | 2 | |
/// | growth | one with each answer | TCP |
/// | ends after | 60 s | |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_circuit_breaker::{CircuitBreakerLayer, Ramp};
///
/// let layer = CircuitBreakerLayer::new().ramp(Ramp::new(8).over(Duration::from_secs(20)));
/// # drop(layer);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Ramp {
    first: u32,
    over: Duration,
}

impl Ramp {
    /// At first `calls` may be unanswered at once; 0 counts as 1. It ends after 60 s.
    pub const fn new(calls: u32) -> Self {
        let first = if calls == 0 { 1 } else { calls };
        Self { first, over: Duration::from_secs(60) }
    }

    /// No ramp: everybody at once.
    pub const fn none() -> Self {
        Self { first: u32::MAX, over: Duration::ZERO }
    }

    /// Sets after which time everybody is let in, whatever has been answered by then. Zero means at once.
    pub const fn over(mut self, time: Duration) -> Self {
        self.over = time;
        self
    }
}

impl Default for Ramp {
    fn default() -> Self {
        Self::new(2)
    }
}

/// A ramp that is being climbed.
#[derive(Debug)]
pub(crate) struct Climb {
    first: u32,
    limit: u32,
    unanswered: u32,
    ends: Instant,
}

impl Climb {
    /// Begins to climb, unless there is no ramp.
    pub(crate) fn begin(ramp: Ramp, now: Instant) -> Option<Self> {
        (!ramp.over.is_zero()).then(|| Self {
            first: ramp.first,
            limit: ramp.first,
            unanswered: 0,
            ends: later(now, ramp.over),
        })
    }

    pub(crate) const fn ends(&self) -> Instant {
        self.ends
    }

    /// How many calls may be unanswered at once.
    pub(crate) const fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) const fn has_place(&self) -> bool {
        self.unanswered < self.limit
    }

    pub(crate) const fn send(&mut self) {
        self.unanswered += 1;
    }

    /// A call has been answered, or dropped.
    pub(crate) const fn release(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    pub(crate) const fn grow(&mut self) {
        self.limit = self.limit.saturating_add(1);
    }

    pub(crate) fn shrink(&mut self) {
        self.limit = (self.limit / 2).max(self.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_with_each_round_trip_and_halves_with_each_failure() {
        let mut climb = Climb::begin(Ramp::new(0), Instant::now()).unwrap();
        let mut let_in = Vec::new();
        for _ in 0..5 {
            let mut sent = 0;
            while climb.has_place() {
                climb.send();
                sent += 1;
            }
            let_in.push(sent);
            for _ in 0..sent {
                climb.release();
                climb.grow();
            }
        }
        assert_eq!(let_in, [1, 2, 4, 8, 16]);
        climb.shrink();
        assert_eq!(climb.limit(), 16);
        (0..9).for_each(|_| climb.shrink());
        assert_eq!(climb.limit(), 1);
    }

    #[test]
    fn no_ramp_is_no_climb() {
        assert!(Climb::begin(Ramp::none(), Instant::now()).is_none());
        assert!(Climb::begin(Ramp::new(3).over(Duration::ZERO), Instant::now()).is_none());
        assert!(Climb::begin(Ramp::new(3).over(Duration::MAX), Instant::now()).is_some());
    }
}
