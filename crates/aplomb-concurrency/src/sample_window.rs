//! The median latency of some consecutive calls.

use std::time::Duration;

use tokio::time::Instant;

/// Consecutively numbered calls whose latencies are compared with those of others.
///
/// Which calls count is decided when they are admitted. If the first calls answered were to count, fast ones would be
/// over-represented. Waiting for the last of them would take forever, so the median counts: it is known as soon as half
/// of the calls are answered and none of the others can belong to the faster half.
#[derive(Clone, Debug)]
pub(crate) struct SampleWindow {
    first: u64,
    calls: u64,
    last_admitted: Option<Instant>,
    /// How many calls will never be timed.
    untimed: u64,
    /// The logarithms of the latencies, sorted.
    latencies: Vec<f64>,
    used: bool,
    is_open: bool,
}

/// A median latency, as the logarithm of seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Median {
    pub(crate) ln: f64,
    /// The distance from the median to the sixth of the calls that were fastest: one standard deviation, if latencies
    /// are distributed lognormally. Known while slow calls are still in flight.
    pub(crate) spread: f64,
    /// The number of calls.
    pub(crate) answers: f64,
}

impl SampleWindow {
    /// A window of `calls` calls, beginning with the one numbered `first`.
    pub(crate) const fn new(first: u64, calls: u64) -> Self {
        Self {
            first,
            calls,
            last_admitted: None,
            untimed: 0,
            latencies: Vec::new(),
            used: false,
            is_open: true,
        }
    }

    /// Starts over with other calls.
    pub(crate) fn begin(&mut self, first: u64, calls: u64) {
        let mut latencies = std::mem::take(&mut self.latencies);
        latencies.clear();
        *self = Self { latencies, ..Self::new(first, calls) };
    }

    /// Ends the window: calls still in flight do not count.
    pub(crate) const fn close(&mut self) {
        self.is_open = false;
    }

    /// Returns whether its calls are still being timed.
    pub(crate) const fn is_open(&self) -> bool {
        self.is_open
    }

    fn contains(&self, number: u64) -> bool {
        self.is_open && (self.first..self.first + self.calls).contains(&number)
    }

    pub(crate) fn admitted(&mut self, number: u64, now: Instant) {
        if number + 1 == self.first + self.calls {
            self.last_admitted = Some(now);
        }
    }

    pub(crate) fn untimed(&mut self, number: u64) {
        self.untimed += u64::from(self.contains(number));
    }

    pub(crate) fn timed(&mut self, number: u64, seconds: f64, filled: bool) {
        if self.contains(number) {
            // At least a nanosecond, since zero has no logarithm.
            let ln = seconds.max(1e-9).ln();
            let place = self.latencies.partition_point(|faster| *faster <= ln);
            self.latencies.insert(place, ln);
            self.used |= filled;
        }
    }

    /// Returns whether none of its calls will be timed.
    pub(crate) const fn is_void(&self) -> bool {
        self.untimed >= self.calls
    }

    /// Returns whether the limit was reached.
    pub(crate) const fn used(&self) -> bool {
        self.used
    }

    /// The median, as soon as it is known. If latencies are ages, a call in flight is known to be slower than any it has
    /// outlived; if not, three in four must be answered.
    pub(crate) fn median(&self, are_ages: bool, now: Instant) -> Option<Median> {
        if !self.is_open {
            return None;
        }
        let youngest = now.saturating_duration_since(self.last_admitted?);
        let known = self.latencies.len();
        let calls = usize::try_from(self.calls - self.untimed).ok()?;
        let ln = *self.latencies.get(calls.checked_sub(1)? / 2)?;
        let is_settled = if are_ages {
            youngest >= Duration::try_from_secs_f64(ln.exp() * (1.0 - 1e-6)).unwrap_or(Duration::MAX)
        } else {
            4 * known >= 3 * calls
        };
        let spread = ln - self.latencies[calls / 6];
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        (is_settled || known == calls).then_some(Median { ln, spread, answers: calls as f64 })
    }
}
