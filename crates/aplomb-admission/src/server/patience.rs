//! How long a call has to be unanswered to be presumed accepted.

use std::time::Duration;

/// Learns how long the server takes to refuse a call, or to fail it at once.
///
/// That is a matter of milliseconds, whatever an answer takes. A call that is unanswered for several times as long has
/// probably been accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The latest times, in microseconds, in a ring.
    latest: [u32; LATEST],
    seen: usize,
    longest: Duration,
}

/// The median of so many counts.
const LATEST: usize = 9;

/// So many times as long as a refusal takes.
const TIMES: u32 = 4;

/// Nothing is known yet.
const UNKNOWN: Duration = Duration::from_millis(50);

const LEAST: Duration = Duration::from_millis(20);
const MOST: Duration = Duration::from_secs(12);

impl Patience {
    pub(super) const fn get(&self) -> Duration {
        self.longest
    }

    /// A call was refused, or failed, after so long.
    pub(super) fn refused_in(&mut self, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.latest[self.seen % LATEST] = micros;
        self.seen = self.seen.wrapping_add(1).max(1);
        let mut sorted = self.latest;
        let known = &mut sorted[..LATEST.min(self.seen)];
        known.sort_unstable();
        let median = Duration::from_micros(known[known.len() / 2].into());
        self.longest = (median * TIMES).clamp(LEAST, MOST);
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { latest: [0; LATEST], seen: 0, longest: UNKNOWN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_four_times_the_usual_refusal() {
        let mut patience = Patience::default();
        assert_eq!(patience.get(), UNKNOWN);
        patience.refused_in(Duration::from_millis(30));
        assert_eq!(patience.get(), Duration::from_millis(120));
        // One that takes long among many that do not changes nothing.
        for ms in [30, 30, 9_000, 31, 30] {
            patience.refused_in(Duration::from_millis(ms));
        }
        assert_eq!(patience.get(), Duration::from_millis(120));
        for took in [Duration::ZERO; LATEST] {
            patience.refused_in(took);
        }
        assert_eq!(patience.get(), LEAST);
        for took in [Duration::MAX; LATEST] {
            patience.refused_in(took);
        }
        assert_eq!(patience.get(), MOST);
    }
}
