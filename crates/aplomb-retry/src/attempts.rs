//! The attempts of one call: how many, and the waits between them.

use std::time::Duration;

use tokio::time::Instant;

/// The attempts of one call so far.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    count: u32,
    /// How many of them do not count as retries.
    free: u32,
    /// How many of those before the last never got an answer.
    unanswered: u32,
    /// When the call began; `None` if nothing depends on it.
    began: Option<Instant>,
    /// In a box, since most calls have none.
    waits: Option<Box<Waits>>,
}

#[derive(Debug, Default)]
struct Waits {
    total: Duration,
    /// The start of the wait that is going on.
    since: Option<Instant>,
    /// The delay before the attempt that is running.
    previous: Option<Duration>,
    /// The call's number among those that needed randomness.
    number: Option<u64>,
}

impl Attempts {
    pub(crate) fn begin(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// Counts an attempt that is about to be sent, and ends the wait before it.
    #[inline]
    pub(crate) fn start(&mut self) {
        self.count = self.count.saturating_add(1);
        self.end_wait();
    }

    /// Begins a wait of `delay`.
    pub(crate) fn wait(&mut self, delay: Duration, now: Instant) {
        let waits = self.waits_mut();
        waits.previous = Some(delay);
        waits.since = Some(now);
    }

    /// Ends a wait, if there is one: it is over, or was cancelled.
    #[inline]
    pub(crate) fn end_wait(&mut self) {
        if let Some(waits) = &mut self.waits {
            if let Some(since) = waits.since.take() {
                waits.total = waits.total.saturating_add(since.elapsed());
            }
        }
    }

    pub(crate) fn began(&self) -> Option<Instant> {
        self.began
    }

    /// The number of attempts that were started.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The number of the next retry, from 0.
    pub(crate) fn next_retry(&self) -> u32 {
        self.count.saturating_sub(1)
    }

    /// How many retries have counted so far.
    pub(crate) fn counted(&self) -> u32 {
        self.next_retry().saturating_sub(self.free)
    }

    /// The next retry does not count.
    pub(crate) fn add_free(&mut self) {
        self.free = self.free.saturating_add(1);
    }

    pub(crate) fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// The answer of the attempt before the next one never came.
    pub(crate) fn add_unanswered(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began))
    }

    /// How long the call has waited between attempts.
    #[inline]
    pub(crate) fn waited(&self) -> Duration {
        self.waits.as_ref().map_or(Duration::ZERO, |waits| waits.total)
    }

    /// The delay before the attempt that is running, if it is a retry.
    pub(crate) fn previous_delay(&self) -> Option<Duration> {
        self.waits.as_ref()?.previous
    }

    /// The call's number among those that needed randomness.
    pub(crate) fn number_mut(&mut self) -> &mut Option<u64> {
        &mut self.waits_mut().number
    }

    fn waits_mut(&mut self) -> &mut Waits {
        self.waits.get_or_insert_default()
    }
}
