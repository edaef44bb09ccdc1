//! The peer's health, as counted while the circuit is closed.

use std::time::Duration;

use aplomb_admission::Worth;
use aplomb_core::{CircuitCause, Kind, Outcome};
use tokio::time::Instant;

use crate::detector::{Detector, Recorded};
use crate::{CompletedCall, Trip, WindowCounts};

/// How long counts by calls matter: neither a run of failures nor a window of calls expires by itself.
pub(crate) const MEMORY: Duration = Duration::from_secs(600);

/// The meaning of an answer for the health of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HealthSignal {
    /// It works.
    Healthy,
    /// It fails.
    Failing,
    /// It answers, but rejected this request for a reason that lies in the request.
    Alive,
    /// It asks for fewer requests.
    Throttling,
    /// It will not serve this account for a long time.
    Exhausted,
    /// It does not accept this credential.
    Unauthorized,
    /// Nothing: the call ended on our side.
    None,
}

impl From<Outcome> for HealthSignal {
    fn from(outcome: Outcome) -> Self {
        match outcome.kind() {
            Kind::Success => Self::Healthy,
            // The connection was of no use; the peer has not seen the request.
            Kind::Transient if outcome.is_never_begun() => Self::None,
            Kind::Transient => Self::Failing,
            Kind::Busy | Kind::Permanent => Self::Alive,
            Kind::Throttled => Self::Throttling,
            Kind::Exhausted => Self::Exhausted,
            Kind::Unauthorized => Self::Unauthorized,
            // Local outcomes, and kinds added later.
            _ => Self::None,
        }
    }
}

/// The calls of a closed circuit, counted for its [`Trip`].
#[derive(Debug)]
pub(crate) struct Health {
    failures_in_a_row: u32,
    /// Refused credentials in a row.
    refusals_in_a_row: u32,
    /// So many of them open the circuit; never, if zero.
    max_refusals: u32,
    detector: Detector,
    /// When something was last counted that would be missed if it were forgotten.
    last_noted: Option<Instant>,
}

impl Health {
    pub(crate) fn new(trip: &Trip) -> Self {
        Self {
            failures_in_a_row: 0,
            refusals_in_a_row: 0,
            max_refusals: trip.max_refusals(),
            detector: Detector::new(&trip.rule),
            last_noted: None,
        }
    }

    /// Counts for another trip from now on. Runs go on, and so does every rule that counts the same as before.
    pub(crate) fn adopt(&mut self, trip: &Trip) {
        self.max_refusals = trip.max_refusals();
        self.detector.adopt(&trip.rule);
    }

    /// Counts the time to the first content of a call that has not ended.
    pub(crate) fn first_content(&mut self, took: Duration, now: Instant) -> Option<CircuitCause> {
        let recorded = self.detector.first_content(took, now);
        self.conclude(recorded, now)
    }

    /// Counts a success if no rule needs to know more about it. Returns whether that is so.
    #[inline]
    pub(crate) fn plain_success(&mut self, now: Instant) -> bool {
        let plain = self.detector.plain_success(now);
        if plain {
            self.refusals_in_a_row = 0;
            self.failures_in_a_row = 0;
        }
        plain
    }

    /// Counts an answer. Returns why the circuit must open, if it must.
    pub(crate) fn record(&mut self, signal: HealthSignal, call: &CompletedCall) -> Option<CircuitCause> {
        let mut failed = None;
        match signal {
            HealthSignal::Healthy => {
                self.refusals_in_a_row = 0;
                self.failures_in_a_row = 0;
                failed = Some(false);
            }
            HealthSignal::Failing => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                failed = Some(true);
            }
            // The credential was accepted, whatever happened to the request.
            HealthSignal::Alive | HealthSignal::Throttling => self.refusals_in_a_row = 0,
            HealthSignal::Exhausted => return Some(CircuitCause::Exhausted),
            HealthSignal::Unauthorized => {
                self.refusals_in_a_row = self.refusals_in_a_row.saturating_add(1);
                self.last_noted = Some(call.at);
                if self.max_refusals > 0 && self.refusals_in_a_row >= self.max_refusals {
                    return Some(CircuitCause::Unauthorized);
                }
            }
            HealthSignal::None => return None,
        }
        let recorded = self.detector.record(failed, call);
        self.conclude(recorded, call.at)
    }

    fn conclude(&mut self, recorded: Recorded, now: Instant) -> Option<CircuitCause> {
        if recorded.is_irrelevant() {
            return None;
        }
        self.last_noted = Some(now);
        self.detector.verdict(recorded, self.failures_in_a_row, now)
    }

    /// Whether the first content of a call took longer than a rule allows.
    pub(crate) fn first_content_is_slow(&self, took: Duration) -> bool {
        self.detector.any_slow(|slow| slow.first_content_is_slow(took))
    }

    /// Whether a call took longer than a rule allows.
    pub(crate) fn was_slow(&self, call: &CompletedCall) -> bool {
        self.detector.any_slow(|slow| slow.was_slow(call))
    }

    /// The counts of the first failure-ratio rule; empty if there is none.
    pub(crate) fn failure_counts(&mut self, now: Instant) -> WindowCounts {
        self.detector.failure_counts(now).unwrap_or_default()
    }

    /// The counts of the first slow-call rule; empty if there is none.
    pub(crate) fn slow_counts(&mut self, now: Instant) -> WindowCounts {
        self.detector.slow_counts(now).unwrap_or_default()
    }

    pub(crate) const fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    /// The worth of the counts: none if they hold nothing that speaks against the peer, little if that is one failure
    /// or refused credentials.
    pub(crate) fn worth(&self, now: Instant) -> Worth {
        let old = self.last_noted.is_none_or(|noted| now.saturating_duration_since(noted) >= MEMORY);
        let in_a_row = if old { 0 } else { self.failures_in_a_row };
        let failures = self.detector.max_failures(old, now).max(in_a_row.into());
        let is_refused = !old && self.refusals_in_a_row > 0;
        match failures {
            0 if !is_refused => Worth::FRESH,
            0 | 1 => Worth::LOW,
            _ => Worth::MEDIUM,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.failures_in_a_row = 0;
        self.refusals_in_a_row = 0;
        self.last_noted = None;
        self.detector.clear();
    }
}
