//! How long calls last on average: what a wait is estimated from.

use std::time::Duration;

/// An average of how long calls last while the limit is full, in which the last eight or so count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    average: Option<Duration>,
}

impl Pace {
    /// A call has ended that lasted so long.
    pub(crate) fn ended(&mut self, lasted: Duration) {
        self.average = Some(match self.average {
            None => lasted,
            Some(average) => average / 8 * 7 + lasted / 8,
        });
    }

    /// How much time there is from the end of one call to that of the next, where `limit` are in flight.
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
        let mut pace = Pace::default();
        assert_eq!(pace.between_ends(4), None);
        pace.ended(8 * S);
        assert_eq!(pace.between_ends(4), Some(2 * S));
        (0..40).for_each(|_| pace.ended(S));
        let average = pace.between_ends(1).unwrap();
        assert!((S..S + S / 10).contains(&average), "{average:?}");
        pace.ended(Duration::MAX / 2);
        assert!(pace.between_ends(usize::MAX).is_some());
    }
}
