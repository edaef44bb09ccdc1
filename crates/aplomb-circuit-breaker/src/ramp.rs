//! How a circuit that has just closed admits its callers.

use std::time::Duration;

use tokio::time::Instant;

use crate::later;

/// How a circuit that has just closed admits a growing share of its callers, instead of everyone at once: a peer
/// that has just come back is easily overwhelmed again.
///
/// At first, few calls may be unanswered at a time. Each answer admits one more, so that their number doubles with
/// every round trip, as in TCP's slow start (RFC 5681); each failure or throttle halves it. If bodies are watched, a
/// call is answered at its first content. Other calls are rejected meanwhile, or parked. If fewer calls arrive than
/// may be admitted, the ramp has no effect.
///
/// However slow the answers, the ramp ends in bounded time.
///
/// A circuit that has opened by the [default rule](crate::Trip::nobody_gets_through) begins more quickly, unless a ramp is
/// set.
///
/// | | default | as in |
/// | --- | --- | --- |
/// | unanswered calls at first | 2 | |
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
    /// Admits `calls` unanswered calls at first; 0 counts as 1. Ends after 60 s.
    pub const fn new(calls: u32) -> Self {
        let first = if calls == 0 { 1 } else { calls };
        Self { first, over: Duration::from_secs(60) }
    }

    /// No ramp: admits everyone at once.
    pub const fn none() -> Self {
        Self { first: u32::MAX, over: Duration::ZERO }
    }

    /// Sets when everyone is admitted, whatever has been answered by then. Default: after 60 s. Zero disables the
    /// ramp.
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

/// A ramp in progress.
#[derive(Debug)]
pub(crate) struct SlowStart {
    first: u32,
    limit: u32,
    unanswered: u32,
    ends: Instant,
}

impl SlowStart {
    /// Starts at the foot of the ramp, if there is one.
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

    /// The number of calls that may be unanswered at a time.
    pub(crate) const fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) const fn has_place(&self) -> bool {
        self.unanswered < self.limit
    }

    pub(crate) const fn send(&mut self) {
        self.unanswered += 1;
    }

    /// A call was answered, or dropped.
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
        let mut slow_start = SlowStart::begin(Ramp::new(0), Instant::now()).unwrap();
        let mut let_in = Vec::new();
        for _ in 0..5 {
            let mut sent = 0;
            while slow_start.has_place() {
                slow_start.send();
                sent += 1;
            }
            let_in.push(sent);
            for _ in 0..sent {
                slow_start.release();
                slow_start.grow();
            }
        }
        assert_eq!(let_in, [1, 2, 4, 8, 16]);
        slow_start.shrink();
        assert_eq!(slow_start.limit(), 16);
        (0..9).for_each(|_| slow_start.shrink());
        assert_eq!(slow_start.limit(), 1);
    }

    #[test]
    fn without_a_ramp_there_is_no_slow_start() {
        assert!(SlowStart::begin(Ramp::none(), Instant::now()).is_none());
        assert!(SlowStart::begin(Ramp::new(3).over(Duration::ZERO), Instant::now()).is_none());
        assert!(SlowStart::begin(Ramp::new(3).over(Duration::MAX), Instant::now()).is_some());
    }
}
