//! How long the server usually takes to answer.

use std::time::Duration;

use tokio::time::Instant;

/// The usual time from admission to the first content of a success.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ResponseTime {
    nanos: u64,
    successes: u32,
}

/// The weight of a new answer, as in TCP's estimate of the round trip (RFC 6298).
const WEIGHT: u64 = 8;

/// Measuring costs as much as the rest of a healthy call in a circuit: one in sixteen is enough.
const SAMPLE: u32 = 16;

impl ResponseTime {
    /// Counts a success: measures one in sixteen, including the very first.
    #[inline]
    pub(super) fn record(&mut self, admitted: Instant, answered: Instant) {
        if self.successes % SAMPLE == 0 {
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

    /// The time within which most calls are answered: twice the usual time. Zero if unknown.
    pub(super) const fn expected(self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_mul(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_is_usual() {
        let start = Instant::now();
        let mut time = ResponseTime::default();
        assert_eq!(time.expected(), Duration::ZERO);
        let second = Duration::from_secs(1);
        // The first is better than nothing.
        time.record(start, start + second);
        assert_eq!(time.expected(), 2 * second);
        let mut settle = |took| {
            (0..100 * SAMPLE).for_each(|_| time.record(start, start + took));
            time.expected()
        };
        assert!(settle(3 * second).abs_diff(6 * second) < second / 1_000);
        // A clock that runs backwards counts as no time.
        (0..SAMPLE).for_each(|_| time.record(start + second, start));
        assert!(time.expected() < 6 * second);
    }
}
