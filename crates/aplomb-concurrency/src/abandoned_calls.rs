//! Calls that were dropped, but which the server may still be working on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

/// Abandoned calls that count as in flight for a while: as long again as they had taken, up to a maximum.
///
/// How long the server continues is unknown. If durations have a heavy tail, a call that has taken long will take about as
/// long again.
#[derive(Clone, Debug)]
pub(crate) struct AbandonedCalls {
    max: Duration,
    /// When each one stops counting, earliest first. There are never more than the limit admits.
    until: BinaryHeap<Reverse<Instant>>,
}

impl AbandonedCalls {
    pub(crate) const fn new(max: Duration) -> Self {
        Self { max, until: BinaryHeap::new() }
    }

    pub(crate) const fn set_max(&mut self, max: Duration) {
        self.max = max;
    }

    /// A call that was admitted at `since` is abandoned.
    pub(crate) fn add(&mut self, since: Instant, now: Instant) {
        if self.max.is_zero() {
            return;
        }
        let rest = now.saturating_duration_since(since).min(self.max);
        if let Some(until) = now.checked_add(rest).filter(|until| *until > now) {
            self.until.push(Reverse(until));
        }
    }

    /// Removes those that no longer count.
    #[inline]
    pub(crate) fn advance(&mut self, now: Instant) {
        while self.next().is_some_and(|until| until <= now) {
            self.until.pop();
        }
    }

    /// How many count.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.until.len()
    }

    /// When the next one stops counting.
    #[inline]
    pub(crate) fn next(&self) -> Option<Instant> {
        self.until.peek().map(|Reverse(until)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn each_counts_as_long_again_as_it_took_up_to_the_maximum() {
        let start = Instant::now();
        let mut abandoned = AbandonedCalls::new(10 * S);
        let now = start + 30 * S;
        abandoned.add(start, now);
        abandoned.add(now - 3 * S, now);
        abandoned.add(now, now);
        assert_eq!((abandoned.len(), abandoned.next()), (2, Some(now + 3 * S)));
        abandoned.advance(now + 3 * S - Duration::from_nanos(1));
        assert_eq!(abandoned.len(), 2);
        abandoned.advance(now + 3 * S);
        assert_eq!((abandoned.len(), abandoned.next()), (1, Some(now + 10 * S)));
        abandoned.advance(now + 10 * S);
        assert_eq!((abandoned.len(), abandoned.next()), (0, None));
    }

    #[test]
    fn none_counts_if_the_maximum_is_zero() {
        let start = Instant::now();
        let mut abandoned = AbandonedCalls::new(Duration::ZERO);
        abandoned.add(start, start + 5 * S);
        assert_eq!(abandoned.len(), 0);
    }
}
