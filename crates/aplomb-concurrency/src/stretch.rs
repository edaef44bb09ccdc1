//! The median latency of some calls in a row.

use std::time::Duration;

use tokio::time::Instant;

/// Calls with consecutive numbers, whose latencies are compared with those of others.
///
/// Which calls count is settled when they are let through. Were it the first so many that are answered,
/// the fast ones would count more, and that by how the calls happen to overlap. To wait for the last of
/// them would take for ever, so it is their median that counts: it is known when half of them have been
/// answered and no other can be among the faster half.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    since: u64,
    calls: u64,
    last_admitted: Option<Instant>,
    /// How many will never be timed.
    left: u64,
    /// The logarithms of the latencies, in order.
    latencies: Vec<f64>,
    used: bool,
    is_open: bool,
}

/// A median, by the logarithm of seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Median {
    pub(crate) ln: f64,
    /// The distance from the median to what a sixth of the calls are faster than: a standard deviation,
    /// where latencies are distributed lognormally. Known while the slow ones are still under way.
    pub(crate) spread: f64,
    /// Of so many calls.
    pub(crate) answers: f64,
}

impl Stretch {
    /// A stretch of so many calls, from the one with this number on.
    pub(crate) fn new(since: u64, calls: u64) -> Self {
        let latencies = Vec::new();
        Self {
            since,
            calls,
            last_admitted: None,
            left: 0,
            latencies,
            used: false,
            is_open: true,
        }
    }

    /// Begins again, with other calls.
    pub(crate) fn begin(&mut self, since: u64, calls: u64) {
        let mut latencies = std::mem::take(&mut self.latencies);
        latencies.clear();
        *self = Self { latencies, ..Self::new(since, calls) };
    }

    /// Ends it: what is still under way does not count.
    pub(crate) const fn close(&mut self) {
        self.is_open = false;
    }

    /// Whether its calls are still being timed.
    pub(crate) const fn is_open(&self) -> bool {
        self.is_open
    }

    fn counts(&self, number: u64) -> bool {
        self.is_open && (self.since..self.since + self.calls).contains(&number)
    }

    pub(crate) fn admitted(&mut self, number: u64, now: Instant) {
        if number + 1 == self.since + self.calls {
            self.last_admitted = Some(now);
        }
    }

    pub(crate) fn left(&mut self, number: u64) {
        self.left += u64::from(self.counts(number));
    }

    pub(crate) fn timed(&mut self, number: u64, seconds: f64, filled: bool) {
        if self.counts(number) {
            // A nanosecond is the least there is: no time at all has no logarithm.
            let ln = seconds.max(1e-9).ln();
            let place = self.latencies.partition_point(|faster| *faster <= ln);
            self.latencies.insert(place, ln);
            self.used |= filled;
        }
    }

    /// Whether none of its calls will be timed.
    pub(crate) const fn is_void(&self) -> bool {
        self.left >= self.calls
    }

    /// Whether the limit was used.
    pub(crate) const fn used(&self) -> bool {
        self.used
    }

    /// The median, as soon as it is known. Where latencies are ages, a call that is still under way is
    /// known to be slower than one that it has outlived; where they are not, three in four must be known.
    pub(crate) fn median(&self, are_ages: bool, now: Instant) -> Option<Median> {
        if !self.is_open {
            return None;
        }
        let youngest = now.saturating_duration_since(self.last_admitted?);
        let known = self.latencies.len();
        let calls = usize::try_from(self.calls - self.left).ok()?;
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
