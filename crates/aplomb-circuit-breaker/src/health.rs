//! What a closed circuit remembers of its calls.

use std::time::Duration;

use tokio::time::Instant;

use crate::monitor::{Jury, Monitor};
use crate::sign::Sign;
use crate::window::WindowCounts;
use crate::{CompletedCall, TransitionCause, Trip};

/// How many refused credentials in a row open a circuit, unless told otherwise.
const UNAUTHORIZED: u32 = 3;

/// How long what is counted by calls matters: a row or a window of calls never forgets by itself.
pub(crate) const MEMORY: Duration = Duration::from_secs(600);

/// The calls of a closed circuit, counted as its [`Trip`] asks.
#[derive(Debug)]
pub(crate) struct Health {
    failures: u32,
    refusals: u32,
    most_refusals: u32,
    monitor: Monitor,
    /// When something was last counted whose loss would change when the circuit opens.
    noted: Option<Instant>,
}

impl Health {
    pub(crate) fn new(trip: &Trip) -> Self {
        Self {
            failures: 0,
            refusals: 0,
            most_refusals: trip.unauthorized.unwrap_or(UNAUTHORIZED),
            monitor: Monitor::new(&trip.when),
            noted: None,
        }
    }

    /// Counts how long the first content of a call took, which has not ended.
    pub(crate) fn content(&mut self, took: Duration, now: Instant) -> Option<TransitionCause> {
        let jury = self.monitor.content(took, now);
        self.conclude(jury, now)
    }

    /// Counts a success, where nothing but its being one is of interest. Returns whether that is so.
    #[inline]
    pub(crate) fn plain_success(&mut self, now: Instant) -> bool {
        let plain = self.monitor.plain_success(now);
        if plain {
            self.refusals = 0;
            self.failures = 0;
        }
        plain
    }

    /// Counts an answer. Returns why the circuit has to open, if it has to.
    pub(crate) fn record(&mut self, sign: Sign, call: &CompletedCall) -> Option<TransitionCause> {
        let mut failed = None;
        match sign {
            Sign::Healthy => {
                self.refusals = 0;
                self.failures = 0;
                failed = Some(false);
            }
            Sign::Failing => {
                self.failures = self.failures.saturating_add(1);
                failed = Some(true);
            }
            // The credential was accepted, whatever became of the request.
            Sign::Alive | Sign::Throttling => self.refusals = 0,
            Sign::Exhausted => return Some(TransitionCause::Exhausted),
            Sign::Unauthorized => {
                self.refusals = self.refusals.saturating_add(1);
                self.noted = Some(call.at);
                if self.refusals == self.most_refusals {
                    return Some(TransitionCause::Unauthorized);
                }
            }
            Sign::Nothing => return None,
        }
        let jury = self.monitor.record(failed, call);
        self.conclude(jury, call.at)
    }

    fn conclude(&mut self, jury: Jury, now: Instant) -> Option<TransitionCause> {
        if jury == Jury::Nobody {
            return None;
        }
        self.noted = Some(now);
        self.monitor.holds(jury, self.failures, now)
    }

    /// Whether the first content of a call took longer than a rule allows.
    pub(crate) fn content_is_slow(&self, took: Duration) -> bool {
        self.monitor.any_slow(|slow| slow.first_content_is_slow(took))
    }

    /// Whether a call took longer than a rule allows.
    pub(crate) fn was_slow(&self, call: &CompletedCall) -> bool {
        self.monitor.any_slow(|slow| slow.was_slow(call))
    }

    /// What the first window of failures holds; nothing where no rule asks for one.
    pub(crate) fn tally(&mut self, now: Instant) -> WindowCounts {
        self.monitor.tally(now).unwrap_or_default()
    }

    /// What the first window of slow calls holds; nothing where no rule asks for one.
    pub(crate) fn slow(&mut self, now: Instant) -> WindowCounts {
        self.monitor.slow(now).unwrap_or_default()
    }

    pub(crate) const fn failures_in_a_row(&self) -> u32 {
        self.failures
    }

    /// Whether nothing that speaks against the peer would be lost with what was counted.
    pub(crate) fn is_clean(&self, now: Instant) -> bool {
        let old = self.noted.is_none_or(|noted| now.saturating_duration_since(noted) >= MEMORY);
        (old || self.failures == 0 && self.refusals == 0) && self.monitor.is_clean(old, now)
    }

    pub(crate) fn clear(&mut self) {
        self.failures = 0;
        self.refusals = 0;
        self.noted = None;
        self.monitor.clear();
    }
}
