//! How long the peer takes to answer.

use std::time::Duration;

use tokio::time::Instant;

/// The usual time to the first content of a success.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    nanos: u64,
    successes: u32,
}

/// The weight of a new answer, as in TCP's estimate of the round trip (RFC 6298).
const WEIGHT: u64 = 8;

/// Measuring costs as much as all the rest of a healthy call does in a circuit: one of so many will do.
const SAMPLE: u32 = 16;

impl Pace {
    /// Takes a success into account: one of sixteen, the first of all included.
    #[inline]
    pub(super) fn note(&mut self, admitted: Instant, answered: Instant) {
        if self.successes.is_multiple_of(SAMPLE) {
            self.measure(admitted, answered);
        }
        self.successes = self.successes.wrapping_add(1);
    }

    #[cold]
    fn measure(&mut self, admitted: Instant, answered: Instant) {
        let took = answered.saturating_duration_since(admitted);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos = match self.nanos {
            0 => took,
            usual => usual - usual / WEIGHT + took / WEIGHT,
        };
    }

    /// By when most calls are answered: twice the usual time.
    pub(super) const fn answers_in(self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_mul(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_is_usual() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.answers_in(), Duration::ZERO);
        let second = Duration::from_secs(1);
        // The first is better than nothing.
        pace.note(start, start + second);
        assert_eq!(pace.answers_in(), 2 * second);
        let mut settle = |took| {
            (0..100 * SAMPLE).for_each(|_| pace.note(start, start + took));
            pace.answers_in()
        };
        assert!(settle(3 * second).abs_diff(6 * second) < second / 1_000);
        // Clocks that run backwards say nothing.
        (0..SAMPLE).for_each(|_| pace.note(start + second, start));
        assert!(pace.answers_in() < 6 * second);
    }
}
