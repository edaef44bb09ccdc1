//! Slow start: how many calls may be out of which nothing is known.

use std::time::Duration;

use tokio::time::Instant;

use super::memory::ServerMemory;

/// At the beginning, and when calls get through again, only a few are sent of which it is not known that they are
/// accepted. Each that is accepted, or [presumed](super::memory::Fate::Presumed) to be, lets one more go: the number in flight
/// doubles with every refusal's time, not with every answer's.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowStart {
    window: u32,
    /// When the next call may go: the calls of a window are spread over the time in which they are proven, so that few
    /// more are sent than are accepted.
    next: Option<Instant>,
    /// Only at first: afterwards it is known what the server does.
    spread: bool,
}

/// So many calls of which nothing is known at first.
const AT_FIRST: u32 = 8;

/// As many after the server has let nobody through.
const AFTER_SHUT: u32 = 2;

/// Calls are not spread further than this, however long a refusal takes.
const LONGEST: Duration = Duration::from_millis(4);

/// Timers are no finer.
const TICK: Duration = Duration::from_millis(1);

/// A window that is larger than this is none.
const UNLIMITED: u32 = 1_024;

impl SlowStart {
    /// The calls that are counted begin with the next.
    pub(super) fn at_first(memory: &mut ServerMemory, spread: bool) -> Self {
        memory.watch();
        Self { window: AT_FIRST, next: None, spread }
    }

    /// The same when the server lets calls through again.
    pub(super) fn after_shut(memory: &mut ServerMemory) -> Self {
        memory.watch();
        Self { window: AFTER_SHUT, next: None, spread: false }
    }

    pub(super) const fn window(self) -> u32 {
        self.window
    }

    /// Returns whether another call may go.
    #[inline]
    pub(super) fn admits(self, memory: &ServerMemory, now: Instant) -> bool {
        let unproven = memory.unproven();
        unproven < self.window && (unproven == 0 || self.next.is_none_or(|next| next <= now))
    }

    /// When another call may go, if none may now.
    pub(super) fn not_before(self, memory: &mut ServerMemory) -> Option<Instant> {
        if memory.unproven() < self.window {
            self.next
        } else {
            memory.next_presumed()
        }
    }

    /// A call goes.
    pub(super) fn sent(&mut self, memory: &ServerMemory, now: Instant) {
        let spacing = (memory.patience() / self.window).min(LONGEST);
        self.next = (self.spread && self.window > AT_FIRST && spacing >= TICK).then(|| now + spacing);
    }

    /// A call that was sent since the beginning was accepted. Returns whether the slow start is over.
    pub(super) const fn grow(&mut self) -> bool {
        self.window += 1;
        self.window > UNLIMITED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_in_flight_double_with_every_refusal_time_whatever_an_answer_takes() {
        let (mut memory, start) = (ServerMemory::default(), Instant::now());
        let mut slow_start = SlowStart::at_first(&mut memory, false);
        let mut in_flight = Vec::new();
        for step in 0..=3 {
            let now = start + step * memory.patience();
            while memory.presume(now).is_some() {
                slow_start.grow();
            }
            while slow_start.admits(&memory, now) {
                memory.sent(1, now);
            }
            in_flight.push(memory.in_flight());
        }
        assert_eq!(in_flight, [8, 24, 56, 120]);
        assert_eq!(memory.patience(), Duration::from_millis(50));
    }

    #[test]
    fn the_first_calls_beyond_those_that_are_proven_are_spread() {
        let (mut memory, start) = (ServerMemory::default(), Instant::now());
        let mut slow_start = SlowStart::at_first(&mut memory, true);
        for _ in 0..AT_FIRST {
            assert!(slow_start.admits(&memory, start));
            slow_start.sent(&memory, start);
            memory.sent(1, start);
        }
        let now = start + memory.patience();
        while memory.presume(now).is_some() {
            slow_start.grow();
        }
        assert!(slow_start.admits(&memory, now));
        slow_start.sent(&memory, now);
        memory.sent(1, now);
        assert!(!slow_start.admits(&memory, now));
        let next = slow_start.not_before(&mut memory).unwrap();
        assert!(next > now && next <= now + LONGEST);
        assert!(slow_start.admits(&memory, next));
    }
}
