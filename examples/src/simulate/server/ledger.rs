//! The requests that the server saw: how each ended, and whether it came earlier than allowed.

use std::collections::HashMap;
use std::time::Duration;

/// A request that the server saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The time at which it arrived, since the start.
    pub at: Duration,
    /// The number of its prompt.
    pub prompt: u64,
    /// How it ended.
    pub what: Came,
    /// The time at which it was answered, refused or abandoned; `None` while it is in flight.
    pub ended: Option<Duration>,
    /// True if it came earlier than the refusal before it allowed.
    pub early: bool,
}

/// The end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was accepted.
    Taken,
    /// It was refused with a 429.
    Refused,
    /// It failed otherwise.
    Failed,
}

/// All requests, in the order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    seen: Vec<Seen>,
    told: HashMap<u64, Duration>,
}

impl Ledger {
    /// Notes a request; returns its place.
    pub(crate) fn came(&mut self, prompt: u64, what: Came, now: Duration) -> usize {
        let early = self.told.remove(&prompt).is_some_and(|told| now < told);
        self.seen.push(Seen { at: now, prompt, what, ended: None, early });
        self.seen.len() - 1
    }

    /// Notes the end of a request.
    pub(crate) fn ended(&mut self, place: usize, now: Duration) {
        if let Some(seen) = self.seen.get_mut(place) {
            seen.ended.get_or_insert(now);
        }
    }

    /// A request that was accepted failed.
    pub(crate) fn failed(&mut self, place: usize) {
        if let Some(seen) = self.seen.get_mut(place) {
            seen.what = Came::Failed;
        }
    }

    /// The prompt was told not to return before this time.
    pub(crate) fn tell(&mut self, prompt: u64, until: Duration) {
        self.told.insert(prompt, until);
    }

    pub(crate) fn seen(&self) -> &[Seen] {
        &self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_before_its_time_is_early() {
        let mut ledger = Ledger::default();
        let at = Duration::from_secs;
        let first = ledger.came(1, Came::Refused, at(0));
        ledger.ended(first, at(0));
        ledger.tell(1, at(2));
        ledger.came(2, Came::Taken, at(1));
        ledger.came(1, Came::Refused, at(1));
        ledger.came(1, Came::Taken, at(1));
        let early: Vec<_> = ledger.seen().iter().map(|seen| seen.early).collect();
        assert_eq!(early, [false, false, true, false]);
    }
}
