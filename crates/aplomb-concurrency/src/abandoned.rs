//! Calls that nobody waits for any more, and the peer may still be at work on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

/// Abandoned calls that count as in flight for a while: as long again as they had been under way, at most
/// for the longest time set.
///
/// How long the peer goes on is not known. Of work whose length has a heavy tail, what has taken long will
/// take about as long again.
#[derive(Clone, Debug)]
pub(crate) struct Abandoned {
    longest: Duration,
    /// When each is forgotten, the next one first. There are never more than the limit lets in.
    until: BinaryHeap<Reverse<Instant>>,
}

impl Abandoned {
    pub(crate) const fn new(longest: Duration) -> Self {
        Self { longest, until: BinaryHeap::new() }
    }

    pub(crate) const fn set_longest(&mut self, longest: Duration) {
        self.longest = longest;
    }

    /// A call that was let through at `since` is abandoned.
    pub(crate) fn add(&mut self, since: Instant, now: Instant) {
        if self.longest.is_zero() {
            return;
        }
        let rest = now.saturating_duration_since(since).min(self.longest);
        if let Some(until) = now.checked_add(rest).filter(|until| *until > now) {
            self.until.push(Reverse(until));
        }
    }

    /// Forgets those whose time is over.
    #[inline]
    pub(crate) fn pass(&mut self, now: Instant) {
        while self.next().is_some_and(|until| until <= now) {
            self.until.pop();
        }
    }

    /// Whether the time of all of them is over.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.until.iter().all(|Reverse(until)| *until <= now)
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.until.len()
    }

    /// When the next one is forgotten.
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
    fn each_counts_as_long_again_as_it_took_and_no_longer_than_the_longest() {
        let start = Instant::now();
        let mut abandoned = Abandoned::new(10 * S);
        let now = start + 30 * S;
        abandoned.add(start, now);
        abandoned.add(now - 3 * S, now);
        abandoned.add(now, now);
        assert_eq!((abandoned.len(), abandoned.next()), (2, Some(now + 3 * S)));
        abandoned.pass(now + 3 * S - Duration::from_nanos(1));
        assert_eq!(abandoned.len(), 2);
        abandoned.pass(now + 3 * S);
        assert_eq!((abandoned.len(), abandoned.next()), (1, Some(now + 10 * S)));
        assert!(!abandoned.is_over(now + 9 * S) && abandoned.is_over(now + 10 * S));
        abandoned.pass(now + 10 * S);
        assert_eq!((abandoned.len(), abandoned.next()), (0, None));
    }

    #[test]
    fn none_counts_where_that_is_not_wanted() {
        let start = Instant::now();
        let mut abandoned = Abandoned::new(Duration::ZERO);
        abandoned.add(start, start + 5 * S);
        assert_eq!(abandoned.len(), 0);
    }
}
