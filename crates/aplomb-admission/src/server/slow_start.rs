//! Slow start: how many calls may be out of which nothing is known.

use super::memory::ServerMemory;

/// At the beginning, and when calls get through again, only a few are sent of which it is not known that they are
/// accepted. Each that is accepted, or [presumed](super::memory::Fate::Presumed) to be, lets one more go: the number in flight
/// doubles with every refusal's time, not with every answer's.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowStart {
    window: u32,
}

/// So many calls of which nothing is known at first.
const AT_FIRST: u32 = 8;

/// As many after the server has let nobody through.
const AFTER_SHUT: u32 = 2;

/// A window that is larger than this is none.
const UNLIMITED: u32 = 1_024;

impl SlowStart {
    /// The calls that are counted begin with the next.
    pub(super) fn at_first(memory: &mut ServerMemory) -> Self {
        memory.watch();
        Self { window: AT_FIRST }
    }

    /// The same when the server lets calls through again.
    pub(super) fn after_shut(memory: &mut ServerMemory) -> Self {
        memory.watch();
        Self { window: AFTER_SHUT }
    }

    pub(super) const fn window(self) -> u32 {
        self.window
    }

    /// Returns whether another call may go.
    pub(super) const fn has_room(self, memory: &ServerMemory) -> bool {
        memory.unproven() < self.window
    }

    /// A call that was sent since the beginning was accepted. Returns whether the slow start is over.
    pub(super) const fn grow(&mut self) -> bool {
        self.window += 1;
        self.window > UNLIMITED
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[test]
    fn the_calls_in_flight_double_with_every_refusal_time_whatever_an_answer_takes() {
        let (mut memory, start) = (ServerMemory::default(), Instant::now());
        let mut slow_start = SlowStart::at_first(&mut memory);
        let mut in_flight = Vec::new();
        for step in 0..=3 {
            let now = start + step * memory.patience();
            while memory.presume(now).is_some() {
                slow_start.grow();
            }
            while slow_start.has_room(&memory) {
                memory.sent(now);
            }
            in_flight.push(memory.in_flight());
        }
        assert_eq!(in_flight, [8, 24, 56, 120]);
        assert_eq!(memory.patience(), Duration::from_millis(50));
    }
}
