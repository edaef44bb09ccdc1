//! Failures among the last calls, counted in fixed memory.

use std::time::Duration;

use tokio::time::Instant;

use crate::later;

/// A sliding window over the last calls: a number of calls, or a span of time.
///
/// Every call recorded pushes out the oldest one, or every tenth of the span the oldest tenth. Recording takes
/// constant time, and memory is allocated once: a bit for each call, or ten pairs of counters.
///
/// # Examples
///
/// ```
/// use aplomb_circuit_breaker::Window;
/// use tokio::time::Instant;
///
/// let now = Instant::now();
/// let mut window = Window::calls(4);
/// for failed in [true, false, false, false, true] {
///     window.record(failed, now);
/// }
/// // The first failure has left the window.
/// assert_eq!(window.counts(now).calls(), 4);
/// assert_eq!(window.counts(now).failures(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct Window(Ring);

#[derive(Clone, Debug)]
enum Ring {
    Calls(CallRing),
    Time(TimeRing),
}

/// The number of calls in a [`Window`], and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    calls: u64,
    failures: u64,
}

impl Window {
    /// The last `calls` calls, however old. Takes a bit for each; 0 counts as 1.
    #[must_use]
    pub fn calls(calls: u32) -> Self {
        Self(Ring::Calls(CallRing::new(calls.max(1))))
    }

    /// The calls of the last `span`, accurate to a tenth of it. Less than 10 ns counts as 10 ns.
    #[must_use]
    pub fn time(span: Duration) -> Self {
        Self(Ring::Time(TimeRing::new(span)))
    }

    /// Records whether a call failed.
    #[inline]
    pub fn record(&mut self, failed: bool, now: Instant) {
        match &mut self.0 {
            Ring::Calls(ring) => ring.record(failed),
            Ring::Time(ring) => ring.record(failed, now),
        }
    }

    /// The counts at `now`.
    pub fn counts(&mut self, now: Instant) -> WindowCounts {
        self.slide(now);
        self.latest()
    }

    /// Removes everything, and keeps the memory.
    pub fn clear(&mut self) {
        match &mut self.0 {
            Ring::Calls(ring) => ring.clear(),
            Ring::Time(ring) => ring.clear(),
        }
    }

    /// Lets go of calls that are too old at `now`.
    pub(crate) fn slide(&mut self, now: Instant) {
        if let Ring::Time(ring) = &mut self.0 {
            ring.slide(now);
        }
    }

    /// The counts when something was last recorded, or when the window was last slid.
    pub(crate) const fn latest(&self) -> WindowCounts {
        match &self.0 {
            Ring::Calls(ring) => ring.counts,
            Ring::Time(ring) => ring.counts,
        }
    }

    /// The number of failures at `now`; at most, if the window is not slid.
    pub(crate) fn failures(&self, now: Instant) -> u64 {
        match &self.0 {
            Ring::Calls(ring) => ring.counts.failures,
            Ring::Time(ring) if ring.is_empty(now) => 0,
            Ring::Time(ring) => ring.counts.failures,
        }
    }

    /// The number of calls it can hold, if that is limited.
    pub(crate) fn max_calls(&self) -> Option<u64> {
        match &self.0 {
            Ring::Calls(ring) => Some(ring.capacity.into()),
            Ring::Time(_) => None,
        }
    }

    /// Returns whether both hold the same number of calls, or the same span of time.
    pub(crate) fn has_size_of(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Ring::Calls(ring), Ring::Calls(other)) => ring.capacity == other.capacity,
            (Ring::Time(ring), Ring::Time(other)) => ring.width == other.width,
            _ => false,
        }
    }
}

impl WindowCounts {
    /// The number of calls recorded.
    pub const fn calls(self) -> u64 {
        self.calls
    }

    /// The number of calls that failed.
    pub const fn failures(self) -> u64 {
        self.failures
    }

    /// The share of calls that failed, from 0 to 1; 0 if there was no call.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the ratio of such large counts is rounded anyway"
    )]
    pub fn ratio(self) -> f64 {
        if self.calls == 0 {
            return 0.0;
        }
        // Divided rather than multiplied out: 3 of 30 is exactly the number written 0.1.
        self.failures as f64 / self.calls as f64
    }

    const fn add(&mut self, failed: bool) {
        self.calls += 1;
        self.failures += failed as u64;
    }
}

/// A ring of bits: set for a call that failed.
#[derive(Clone, Debug)]
struct CallRing {
    words: Box<[u64]>,
    capacity: u32,
    next: u32,
    counts: WindowCounts,
}

impl CallRing {
    fn new(capacity: u32) -> Self {
        let words = vec![0; capacity.div_ceil(64) as usize].into_boxed_slice();
        Self { words, capacity, next: 0, counts: WindowCounts::default() }
    }

    #[inline]
    fn record(&mut self, failed: bool) {
        let is_full = self.counts.calls == u64::from(self.capacity);
        // One success more in a full window of successes: wherever it begins, it is the same.
        if is_full && !failed && self.counts.failures == 0 {
            return;
        }
        let word = &mut self.words[(self.next / 64) as usize];
        let place = self.next % 64;
        if is_full {
            self.counts.calls -= 1;
            self.counts.failures -= *word >> place & 1;
        }
        *word = *word & !(1 << place) | u64::from(failed) << place;
        self.counts.add(failed);
        self.next = if self.next + 1 == self.capacity {
            0
        } else {
            self.next + 1
        };
    }

    fn clear(&mut self) {
        // The bits are read only once the window is full.
        self.next = 0;
        self.counts = WindowCounts::default();
    }
}

/// As Hystrix and Polly divide their windows.
const SLICES: usize = 10;

/// A ring of counters, each for a tenth of the span.
#[derive(Clone, Debug)]
struct TimeRing {
    slices: Box<[WindowCounts; SLICES]>,
    width: Duration,
    current: usize,
    /// The time of the current slice; the first begins with the first call.
    slice: Option<Slice>,
    counts: WindowCounts,
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    began: Instant,
    /// Compared with the time of each call, which costs less than its distance to the beginning.
    ends: Instant,
}

impl Slice {
    fn beginning(began: Instant, width: Duration) -> Self {
        Self { began, ends: later(began, width) }
    }
}

impl TimeRing {
    fn new(span: Duration) -> Self {
        Self {
            slices: Box::default(),
            width: (span / 10).max(Duration::from_nanos(1)),
            current: 0,
            slice: None,
            counts: WindowCounts::default(),
        }
    }

    fn record(&mut self, failed: bool, now: Instant) {
        self.slide(now);
        self.slice.get_or_insert_with(|| Slice::beginning(now, self.width));
        self.slices[self.current].add(failed);
        self.counts.add(failed);
    }

    fn is_empty(&self, now: Instant) -> bool {
        self.slice
            .is_none_or(|slice| now.saturating_duration_since(slice.began) / 10 >= self.width)
    }

    #[inline]
    fn slide(&mut self, now: Instant) {
        if let Some(slice) = self.slice.filter(|slice| slice.ends <= now) {
            self.slide_from(slice.began, now);
        }
    }

    fn slide_from(&mut self, mut began: Instant, now: Instant) {
        let past = now.saturating_duration_since(began);
        let steps = past.as_nanos() / self.width.as_nanos();
        if steps >= SLICES as u128 {
            self.clear();
            self.slice = Some(Slice::beginning(now, self.width));
            return;
        }
        for _ in 0..steps {
            self.current = (self.current + 1) % SLICES;
            let gone = std::mem::take(&mut self.slices[self.current]);
            self.counts.calls -= gone.calls;
            self.counts.failures -= gone.failures;
            began += self.width;
        }
        self.slice = Some(Slice::beginning(began, self.width));
    }

    fn clear(&mut self) {
        *self.slices = [WindowCounts::default(); SLICES];
        self.current = 0;
        self.slice = None;
        self.counts = WindowCounts::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// Counts what a plain list of the calls holds.
    fn count(calls: &VecDeque<(bool, Duration)>) -> WindowCounts {
        let failures = calls.iter().filter(|(failed, _)| *failed).count() as u64;
        WindowCounts { calls: calls.len() as u64, failures }
    }

    proptest! {
        #[test]
        fn a_window_of_calls_is_a_list_of_the_last_ones(
            most in 1_u32..200, failed in prop::collection::vec(any::<bool>(), 0..600), cleared in 0_usize..600,
        ) {
            let now = Instant::now();
            let mut window = Window::calls(most);
            let mut model = VecDeque::new();
            for (i, failed) in failed.into_iter().enumerate() {
                if i == cleared {
                    window.clear();
                    model.clear();
                }
                window.record(failed, now);
                model.push_back((failed, Duration::ZERO));
                if model.len() > most as usize {
                    model.pop_front();
                }
                prop_assert_eq!(window.counts(now), count(&model));
            }
        }

        #[test]
        fn a_window_of_time_holds_the_last_span_to_a_tenth(
            span_ms in 1_u64..500, calls in prop::collection::vec((any::<bool>(), 0_u64..200), 0..300),
        ) {
            let start = Instant::now();
            let span = Duration::from_millis(span_ms);
            let mut window = Window::time(span);
            let mut model = VecDeque::new();
            let mut at = Duration::ZERO;
            for (failed, later) in calls {
                at += Duration::from_millis(later);
                window.record(failed, start + at);
                model.push_back((failed, at));
                let counts = window.counts(start + at);
                // Everything of the last nine tenths is in it, nothing older than the span.
                model.retain(|(_, then)| at < *then + span);
                prop_assert!(counts.calls <= count(&model).calls);
                let surely = model.iter().filter(|(_, then)| at < *then + span / 10 * 9);
                let surely = count(&surely.copied().collect());
                prop_assert!(counts.calls >= surely.calls && counts.failures >= surely.failures);
                prop_assert!(counts.failures <= count(&model).failures);
            }
        }
    }

    #[test]
    fn an_idle_window_of_time_runs_empty() {
        let start = Instant::now();
        let mut window = Window::time(Duration::from_secs(10));
        window.record(true, start);
        assert_eq!(window.failures(start + Duration::from_millis(9_999)), 1);
        assert_eq!(window.failures(start + Duration::from_secs(10)), 0);
        assert_eq!(window.counts(start + Duration::from_millis(9_999)).failures(), 1);
        assert_eq!(window.counts(start + Duration::from_secs(10)), WindowCounts::default());
    }

    #[test]
    fn a_million_successes_weigh_no_more_than_a_hundred() {
        let now = Instant::now();
        let mut window = Window::calls(100);
        (0..1_000_000).for_each(|_| window.record(false, now));
        (0..50).for_each(|_| window.record(true, now));
        assert!((window.counts(now).ratio() - 0.5).abs() < f64::EPSILON);
    }
}
