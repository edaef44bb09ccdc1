//! The states of a circuit, and the transitions between them.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::Circuit;
use crate::probes::HalfOpen;
use crate::ramp::SlowStart;
use crate::{CircuitState, OpenReason, Transition, later};
use aplomb_core::{CircuitCause, Outcome};

/// A state, with its data.
#[derive(Debug)]
pub(super) enum Phase {
    Closed {
        since: Option<Instant>,
        slow_start: Option<SlowStart>,
    },
    Open {
        until: Instant,
        /// How long the outage will have lasted then.
        outage: Duration,
    },
    /// In a box, since circuits are closed nearly all the time.
    HalfOpen(Box<HalfOpen>),
    /// A server decides: it lets nobody through, at least until then.
    Follows {
        until: Instant,
        probing: bool,
    },
    Isolated,
    Disabled,
}

/// Why and since when a circuit does not admit everyone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    /// When it began; `None` while everyone is admitted.
    pub(super) since: Option<Instant>,
    /// Why the circuit last opened.
    pub(super) cause: CircuitCause,
    pub(super) last: Option<Outcome>,
    /// True if refused credentials opened the circuit after it was last closed: whatever has failed since then, the
    /// credential has not been accepted.
    pub(super) is_refused: bool,
}

impl Circuit {
    /// Makes the transitions that are due.
    #[inline]
    pub(super) fn advance(&mut self, now: Instant) {
        // The two most frequent cases: a circuit that is closed does not depend on time, and one that is open does so once.
        let stays = match &self.phase {
            Phase::Closed { slow_start, .. } => slow_start.is_none(),
            Phase::Open { until, .. } => *until > now,
            _ => false,
        };
        if !stays {
            self.advance_slow(now);
        }
    }

    fn advance_slow(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Closed { slow_start, .. } => {
                if slow_start.as_ref().is_some_and(|slow_start| slow_start.ends() <= now) {
                    *slow_start = None;
                    self.outage.since = None;
                }
            }
            Phase::Open { until, .. } => {
                if *until <= now {
                    let half_open = HalfOpen::new(self.settings.probes, now);
                    self.shift(Phase::HalfOpen(Box::new(half_open)), CircuitCause::CooldownOver, None, now);
                }
            }
            Phase::HalfOpen(half_open) => {
                if half_open.advance(now) {
                    self.open(CircuitCause::ProbesUnanswered, None, now);
                }
            }
            Phase::Follows { .. } | Phase::Isolated | Phase::Disabled => {}
        }
    }

    /// Opens, for the cooldown that the cause requires.
    pub(super) fn open(&mut self, cause: CircuitCause, last: Option<Outcome>, now: Instant) {
        // A call that succeeded too slowly does not show what is wrong.
        let last = last.filter(|last| !last.is_success());
        if let Phase::Closed { since: Some(since), .. } = self.phase {
            self.backoff_level.step_down(since, now, &self.settings.cooldown);
        }
        let seed = self.settings.seed.map_or_else(rand::random, |seed| seed.wrapping_add(self.epoch));
        let mut random = StdRng::seed_from_u64(seed);
        let cooldown = self.settings.cooldown.after(cause, last, &mut self.backoff_level, &mut random);
        let until = later(now, cooldown);
        self.begin_outage(cause, last, now);
        self.shift(self.open_until(until), cause, last, now);
    }

    /// The phase in which an outage that has begun goes on until then.
    pub(super) fn open_until(&self, until: Instant) -> Phase {
        let outage = self.outage.since.map_or(Duration::ZERO, |since| until.saturating_duration_since(since));
        Phase::Open { until, outage }
    }

    pub(super) fn begin_outage(&mut self, cause: CircuitCause, last: Option<Outcome>, now: Instant) {
        let since = self.outage.since.or(Some(now));
        let is_refused = self.outage.is_refused || cause == CircuitCause::Unauthorized;
        self.outage = Outage { since, cause, last, is_refused };
    }

    /// Closes for everyone, and starts counting afresh.
    pub(super) fn close(&mut self, cause: CircuitCause, now: Instant) {
        self.outage.since = None;
        self.close_with(None, cause, now);
    }

    /// Closes for a few at first, and starts counting afresh.
    pub(super) fn recover(&mut self, now: Instant) {
        let slow_start = SlowStart::begin(self.settings.ramp, now);
        if slow_start.is_none() {
            self.outage.since = None;
        }
        self.close_with(slow_start, CircuitCause::ProbeSucceeded, now);
    }

    fn close_with(&mut self, slow_start: Option<SlowStart>, cause: CircuitCause, now: Instant) {
        self.health.clear();
        self.shift(Phase::Closed { since: Some(now), slow_start }, cause, None, now);
    }

    /// Begins an epoch, and queues its event.
    pub(super) fn shift(&mut self, phase: Phase, cause: CircuitCause, last: Option<Outcome>, now: Instant) {
        let cooldown = match phase {
            Phase::Open { until, .. } | Phase::Follows { until, probing: false } => {
                Some(until.saturating_duration_since(now))
            }
            _ => None,
        };
        let from = self.phase.state();
        self.phase = phase;
        self.epoch += 1;
        self.recovered_from = None;
        self.cause = Some(cause);
        let (to, epoch) = (self.phase.state(), self.epoch);
        self.outage.is_refused &= matches!(to, CircuitState::Open | CircuitState::HalfOpen);
        // Resetting a closed circuit is not a transition.
        if from != to {
            let watch = self.watch.clone();
            self.events.push_back(Transition { from, to, epoch, cause, cooldown, last, watch });
        }
    }

    #[inline]
    pub(super) fn reason(&self, now: Instant) -> OpenReason {
        let Outage { since, cause, last, .. } = self.outage;
        let retry_after = self.retry_after(now);
        let since = match (&self.phase, retry_after) {
            // An open circuit rejects many calls, and the difference of two instants costs more than that of two durations.
            (Phase::Open { outage, .. }, Some(left)) => outage.saturating_sub(left),
            _ => since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
        };
        OpenReason { state: self.phase.state(), cause, since, retry_after, last }
    }

    /// How long until a call may pass that may not now: until an answer has probably freed a place, at most until one
    /// is certainly free.
    #[inline]
    pub(super) fn retry_after(&self, now: Instant) -> Option<Duration> {
        if let Phase::Open { until, .. } | Phase::Follows { until, .. } = self.phase {
            return Some(until.saturating_duration_since(now));
        }
        let longest = self.phase.next_change()?.saturating_duration_since(now);
        let usual = Some(self.response_time.expected()).filter(|usual| !usual.is_zero());
        Some(usual.map_or(longest, |usual| usual.min(longest)))
    }
}

impl Phase {
    #[inline]
    pub(super) const fn state(&self) -> CircuitState {
        match self {
            Self::Closed { .. } => CircuitState::Closed,
            Self::Open { .. } | Self::Follows { probing: false, .. } => CircuitState::Open,
            Self::HalfOpen(_) | Self::Follows { .. } => CircuitState::HalfOpen,
            Self::Isolated => CircuitState::Isolated,
            Self::Disabled => CircuitState::Disabled,
        }
    }

    /// When a place certainly becomes free, if there is none now.
    pub(super) fn next_change(&self) -> Option<Instant> {
        match self {
            Self::HalfOpen(half_open) if !half_open.has_place() => half_open.next_change(),
            Self::Closed { slow_start: Some(slow_start), .. } if !slow_start.has_place() => {
                Some(slow_start.ends())
            }
            _ => None,
        }
    }
}
