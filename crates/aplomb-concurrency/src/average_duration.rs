//! How long calls last on average, to estimate waits.

use std::time::Duration;

/// A moving average of how long calls last while the limit is reached, over about the last eight.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AverageDuration {
    average: Option<Duration>,
}

impl AverageDuration {
    /// A call ended after this time.
    pub(crate) fn record(&mut self, lasted: Duration) {
        self.average = Some(match self.average {
            None => lasted,
            Some(average) => average / 8 * 7 + lasted / 8,
        });
    }

    /// The time from the end of one call to the end of the next, with `limit` calls in flight.
    pub(crate) fn between_ends(&self, limit: usize) -> Option<Duration> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX).max(1);
        self.average.map(|average| average / limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn it_follows_and_forgets() {
        let mut average = AverageDuration::default();
        assert_eq!(average.between_ends(4), None);
        average.record(8 * S);
        assert_eq!(average.between_ends(4), Some(2 * S));
        (0..40).for_each(|_| average.record(S));
        let found = average.between_ends(1).unwrap();
        assert!((S..S + S / 10).contains(&found), "{found:?}");
        average.record(Duration::MAX / 2);
        assert!(average.between_ends(usize::MAX).is_some());
    }
}
