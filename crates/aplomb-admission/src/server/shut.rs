//! Nobody gets through: when to look whether that is over.

use std::time::Duration;

use aplomb_core::Outcome;
use tokio::time::Instant;

use super::ShutCause;
use super::hints::Hints;
use super::memory::CallNumber;

/// The server lets nobody through: calls wait, and one at a time goes as a probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shut {
    pub(super) cause: ShutCause,
    pub(super) since: Instant,
    /// How the call ended that shut it.
    pub(super) last: Outcome,
    /// Calls from this number on are probes.
    pub(super) first_probe: CallNumber,
    /// The last call that was refused before.
    pub(super) last_bad: CallNumber,
    /// How many calls came to nothing without another being accepted.
    pub(super) run: f64,
    /// How many calls were in flight.
    pub(super) in_flight: u32,
    /// When the next probe is due.
    pub(super) probe_at: Instant,
    /// The server asks for more time than calls wait: they are rejected.
    pub(super) too_long: bool,
    hinted: bool,
    /// A probe before the time that the server named.
    early: Early,
    release: Release,
    probes: u32,
    /// The last probe went well after it was due: nobody called, or something else held the calls up.
    late: bool,
    /// The time of a call, at the rate that the server was found to accept.
    each: Duration,
    /// Lengthens the waits between probes, so that processes do not probe together.
    jitter: f64,
}

/// A probe is late if it goes this much after it was due, or this share of the time until then.
const LATE: Duration = Duration::from_millis(100);
const LATE_SHARE: f64 = 0.1;

/// A hint that is this long or longer is tested by an early probe.
const TESTED_HINT: Duration = Duration::from_secs(2);

/// The early probe comes after a sixteenth of the hint, but not before this.
const EARLIEST: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, Default)]
struct Early {
    at: Option<Instant>,
    by: Option<CallNumber>,
}

/// A call that may go because another has ended: where the number of calls in flight is limited, it is accepted.
#[derive(Clone, Copy, Debug, Default)]
struct Release {
    /// One may go.
    ready: bool,
    by: Option<CallNumber>,
    failed: u32,
}

/// So many releases show that it is not the number of calls in flight.
const RELEASES: u32 = 2;

/// The meaning of a probe's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeFailed {
    /// The server is still shut.
    StillShut,
    /// So are its releases, time and again: it is not the number of calls in flight.
    NotPlaces,
}

impl Shut {
    pub(super) fn new(
        cause: ShutCause,
        (last, hint): (Outcome, Option<Duration>),
        (last_bad, first_probe): (CallNumber, CallNumber),
        (in_flight, run): (u32, f64),
        (hints, each, jitter): (&Hints, Duration, f64),
        now: Instant,
    ) -> Self {
        let mut shut = Self {
            cause,
            since: now,
            last,
            first_probe,
            last_bad,
            run,
            in_flight,
            probe_at: now,
            too_long: false,
            hinted: hint.is_some(),
            early: Early::default(),
            release: Release::default(),
            probes: 0,
            late: false,
            each,
            jitter,
        };
        if hint.is_some_and(|hint| hint >= TESTED_HINT) && hints.are_tested() {
            shut.early.at = hint.map(|hint| now + (hint / 16).max(EARLIEST));
        }
        shut.probe_at = now + hint.unwrap_or_else(|| shut.spacing(now));
        shut
    }

    /// The time between two probes: a share of how long it has lasted.
    fn spacing(&self, now: Instant) -> Duration {
        let lasted = now.saturating_duration_since(self.since);
        let millis = Duration::from_millis;
        let spacing = match self.cause {
            // The first comes soon: it may have been chance.
            ShutCause::Failures if self.probes == 0 => millis(200),
            ShutCause::Failures => lasted.mul_f64(0.053).clamp(millis(700), millis(17_500)),
            ShutCause::Throttles => {
                lasted.mul_f64(0.07).max(self.each.min(millis(2_000))).clamp(millis(100), millis(15_000))
            }
        };
        spacing.mul_f64(1.0 + 0.05 * self.jitter)
    }

    /// When the next probe is due, unless a call ends before.
    fn due(&self) -> Instant {
        self.early.at.map_or(self.probe_at, |early| early.min(self.probe_at))
    }

    /// When the next probe may go; nothing if one may now.
    pub(super) fn not_before(&self, now: Instant) -> Option<Instant> {
        let due = self.due();
        (due > now).then_some(due)
    }

    /// Returns whether a call may go because another has ended.
    pub(super) const fn is_released(&self) -> bool {
        self.release.ready
    }

    /// How many probes were sent.
    pub(super) const fn probes(&self) -> u32 {
        self.probes
    }

    /// Whether the last probe went so late that it tells nothing about when the server opened.
    pub(super) const fn is_late(&self) -> bool {
        self.late
    }

    /// A probe goes.
    pub(super) fn sent(&mut self, number: CallNumber, now: Instant) {
        let due = self.due();
        let waited = due.saturating_duration_since(self.since);
        self.late = now.saturating_duration_since(due) > waited.mul_f64(LATE_SHARE).max(LATE);
        if std::mem::take(&mut self.release.ready) {
            self.release.by = Some(number);
        }
        if self.early.at.is_some_and(|at| now >= at) && now < self.probe_at {
            self.early = Early { at: None, by: Some(number) };
        }
        self.probes += 1;
        self.probe_at = self.probe_at.max(now + self.spacing(now));
    }

    /// A call that was sent before has ended, and its place is free.
    pub(super) fn released(&mut self) {
        if self.in_flight > 0 && self.release.failed < RELEASES && !self.hinted {
            self.release.ready = true;
        }
    }

    pub(super) fn is_release(&self, number: CallNumber) -> bool {
        self.release.by == Some(number)
    }

    pub(super) fn is_early(&self, number: CallNumber) -> bool {
        self.early.by == Some(number)
    }

    /// One more of the calls that were sent before was refused.
    pub(super) fn refused_too(&mut self, hint: Option<Duration>, now: Instant) {
        if let Some(hint) = hint {
            self.hinted = true;
            self.probe_at = self.probe_at.max(now + hint);
        }
    }

    /// A probe was refused or failed.
    pub(super) fn probe_failed(
        &mut self,
        number: CallNumber,
        hint: Option<Duration>,
        hints: &mut Hints,
        now: Instant,
    ) -> ProbeFailed {
        if self.early.by == Some(number) {
            self.early.by = None;
            hints.were_right();
            if hints.are_tested() {
                self.early.at = Some(now + self.probe_at.saturating_duration_since(now) / 4);
            }
            return ProbeFailed::StillShut;
        }
        let spacing = self.spacing(now);
        self.probe_at = match (hint, self.cause) {
            (Some(hint), _) => now + hint.max(spacing.min(Duration::from_secs(1))),
            // They are spaced as they are sent: one that hangs puts off no other.
            (None, ShutCause::Failures) => self.probe_at,
            (None, ShutCause::Throttles) => now + spacing,
        };
        if self.release.by == Some(number) {
            self.release.by = None;
            self.release.failed += 1;
            if self.release.failed == RELEASES {
                return ProbeFailed::NotPlaces;
            }
        }
        ProbeFailed::StillShut
    }
}
