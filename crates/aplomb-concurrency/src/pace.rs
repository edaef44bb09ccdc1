//! How long calls last on average: what a wait is estimated from.

use std::time::Duration;

/// An average of how long calls last, in which the last eight or so count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    average: Option<Duration>,
}

impl Pace {
    /// A call has ended that lasted so long.
    pub(crate) fn ended(&mut self, lasted: Duration) {
        self.average = Some(match self.average {
            None => lasted,
            Some(average) => (average * 7).saturating_add(lasted) / 8,
        });
    }

    /// How much time there is from the end of one call to that of the next, where `limit` are in flight.
    pub(crate) fn between_ends(&self, limit: usize) -> Option<Duration> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX).max(1);
        self.average.map(|average| average / limit)
    }
}
