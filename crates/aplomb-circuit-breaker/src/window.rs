//! What the last calls came to, in fixed memory.

use std::time::Duration;

use tokio::time::Instant;

/// The last calls, of which a ratio of failures is taken: so many of them, or those of a span of time.
///
/// The window slides: every call recorded pushes the oldest out, every tenth of the span the oldest
/// tenth. Recording takes the same time whatever the traffic, and the memory is taken once: a bit for
/// each call, or ten pairs of counters.
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
/// // The first failure has slid out.
/// assert_eq!(window.tally(now).calls(), 4);
/// assert_eq!(window.tally(now).failures(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct Window(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Calls(Bits),
    Time(Tenths),
}

/// How many calls there were, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    calls: u64,
    failures: u64,
}

impl Window {
    /// The last `calls` calls, whenever they were. Takes a bit for each; 0 counts as 1.
    #[must_use]
    pub fn calls(calls: u32) -> Self {
        Self(Kind::Calls(Bits::new(calls.max(1))))
    }

    /// The calls of the last `span`, to a tenth of it. Less than 10 ns counts as 10 ns.
    #[must_use]
    pub fn time(span: Duration) -> Self {
        Self(Kind::Time(Tenths::new(span)))
    }

    /// Records how a call went.
    #[inline]
    pub fn record(&mut self, failed: bool, now: Instant) {
        match &mut self.0 {
            Kind::Calls(bits) => bits.record(failed),
            Kind::Time(tenths) => tenths.record(failed, now),
        }
    }

    /// What the window holds at `now`.
    pub fn tally(&mut self, now: Instant) -> WindowCounts {
        match &mut self.0 {
            Kind::Calls(bits) => bits.tally,
            Kind::Time(tenths) => {
                tenths.slide(now);
                tenths.tally
            }
        }
    }

    /// Forgets everything, and keeps the memory.
    pub fn clear(&mut self) {
        match &mut self.0 {
            Kind::Calls(bits) => bits.clear(),
            Kind::Time(tenths) => tenths.clear(),
        }
    }

    /// Whether it surely holds no failure at `now`.
    pub(crate) fn is_clean(&self, now: Instant) -> bool {
        match &self.0 {
            Kind::Calls(bits) => bits.tally.failures == 0,
            Kind::Time(tenths) => tenths.tally.failures == 0 || tenths.has_run_empty(now),
        }
    }

    /// The most calls it can hold, where that is bounded.
    pub(crate) fn most(&self) -> Option<u64> {
        match &self.0 {
            Kind::Calls(bits) => Some(bits.most.into()),
            Kind::Time(_) => None,
        }
    }
}

impl WindowCounts {
    /// How many calls were recorded.
    pub const fn calls(self) -> u64 {
        self.calls
    }

    /// How many of them failed.
    pub const fn failures(self) -> u64 {
        self.failures
    }

    /// The share of failures, from 0 to 1; 0 where there was no call.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of so many calls is a rounded number anyway"
    )]
    pub fn ratio(self) -> f64 {
        if self.calls == 0 {
            return 0.0;
        }
        // Divided, rather than compared by multiplying: 3 of 30 is exactly the number written 0.1.
        self.failures as f64 / self.calls as f64
    }

    fn add(&mut self, failed: bool) {
        self.calls += 1;
        self.failures += u64::from(failed);
    }
}

/// A ring of bits: set where the call failed.
#[derive(Clone, Debug)]
struct Bits {
    words: Box<[u64]>,
    most: u32,
    next: u32,
    tally: WindowCounts,
}

impl Bits {
    fn new(most: u32) -> Self {
        let words = vec![0; most.div_ceil(64) as usize].into_boxed_slice();
        Self { words, most, next: 0, tally: WindowCounts::default() }
    }

    #[inline]
    fn record(&mut self, failed: bool) {
        let word = &mut self.words[(self.next / 64) as usize];
        let place = self.next % 64;
        if self.tally.calls == u64::from(self.most) {
            self.tally.calls -= 1;
            self.tally.failures -= *word >> place & 1;
        }
        *word = *word & !(1 << place) | u64::from(failed) << place;
        self.tally.add(failed);
        self.next = if self.next + 1 == self.most {
            0
        } else {
            self.next + 1
        };
    }

    fn clear(&mut self) {
        // What the bits say is read only where the window is full.
        self.next = 0;
        self.tally = WindowCounts::default();
    }
}

/// As many as Hystrix and Polly divide their windows into.
const TENTHS: usize = 10;

/// A ring of counters, each for a tenth of the span.
#[derive(Clone, Debug)]
struct Tenths {
    ring: Box<[WindowCounts; TENTHS]>,
    width: Duration,
    current: usize,
    /// When the current tenth began; the first begins with the first call.
    began: Option<Instant>,
    tally: WindowCounts,
}

impl Tenths {
    fn new(span: Duration) -> Self {
        Self {
            ring: Box::default(),
            width: (span / 10).max(Duration::from_nanos(1)),
            current: 0,
            began: None,
            tally: WindowCounts::default(),
        }
    }

    fn record(&mut self, failed: bool, now: Instant) {
        self.slide(now);
        self.ring[self.current].add(failed);
        self.tally.add(failed);
    }

    fn has_run_empty(&self, now: Instant) -> bool {
        self.began.is_none_or(|began| now.saturating_duration_since(began) / 10 >= self.width)
    }

    fn slide(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let past = now.saturating_duration_since(began);
        if past < self.width {
            return;
        }
        let steps = past.as_nanos() / self.width.as_nanos();
        if steps >= TENTHS as u128 {
            self.clear();
            self.began = Some(now);
            return;
        }
        let mut began = began;
        for _ in 0..steps {
            self.current = (self.current + 1) % TENTHS;
            let gone = std::mem::take(&mut self.ring[self.current]);
            self.tally.calls -= gone.calls;
            self.tally.failures -= gone.failures;
            began += self.width;
        }
        self.began = Some(began);
    }

    fn clear(&mut self) {
        *self.ring = [WindowCounts::default(); TENTHS];
        self.current = 0;
        self.began = None;
        self.tally = WindowCounts::default();
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
                prop_assert_eq!(window.tally(now), count(&model));
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
                let tally = window.tally(start + at);
                // Everything of the last nine tenths is in it, nothing older than the span.
                model.retain(|(_, then)| at < *then + span);
                prop_assert!(tally.calls <= count(&model).calls);
                let surely = model.iter().filter(|(_, then)| at < *then + span / 10 * 9);
                let surely = count(&surely.copied().collect());
                prop_assert!(tally.calls >= surely.calls && tally.failures >= surely.failures);
                prop_assert!(tally.failures <= count(&model).failures);
            }
        }
    }

    #[test]
    fn an_idle_window_of_time_runs_empty() {
        let start = Instant::now();
        let mut window = Window::time(Duration::from_secs(10));
        window.record(true, start);
        assert!(!window.is_clean(start + Duration::from_millis(9_999)));
        assert!(window.is_clean(start + Duration::from_secs(10)));
        assert_eq!(window.tally(start + Duration::from_millis(9_999)).failures(), 1);
        assert_eq!(window.tally(start + Duration::from_secs(10)), WindowCounts::default());
    }

    #[test]
    fn a_million_successes_weigh_no_more_than_a_hundred() {
        let now = Instant::now();
        let mut window = Window::calls(100);
        (0..1_000_000).for_each(|_| window.record(false, now));
        (0..50).for_each(|_| window.record(true, now));
        assert!((window.tally(now).ratio() - 0.5).abs() < f64::EPSILON);
    }
}
