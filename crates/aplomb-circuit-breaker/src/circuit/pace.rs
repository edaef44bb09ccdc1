//! How long the peer takes to answer.

use std::time::Duration;

use tokio::time::Instant;

/// The usual time to the first content of a success, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace(u64);

/// The weight of a new answer, as in TCP's estimate of the round trip (RFC 6298).
const WEIGHT: u64 = 8;

impl Pace {
    /// Takes one more success into account.
    #[inline]
    pub(super) fn note(&mut self, admitted: Instant, answered: Instant) {
        let took = answered.saturating_duration_since(admitted);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0 = match self.0 {
            0 => took,
            usual => usual - usual / WEIGHT + took / WEIGHT,
        };
    }

    /// By when most calls are answered: twice the usual time.
    pub(super) const fn answers_in(self) -> Duration {
        Duration::from_nanos(self.0.saturating_mul(2))
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
        let mut settle = |took| {
            (0..100).for_each(|_| pace.note(start, start + took));
            pace.answers_in()
        };
        let second = Duration::from_secs(1);
        assert_eq!(settle(second), 2 * second);
        assert!(settle(3 * second).abs_diff(6 * second) < second / 1_000);
        // Clocks that run backwards say nothing.
        pace.note(start + second, start);
        assert!(pace.answers_in() < 6 * second);
    }
}
