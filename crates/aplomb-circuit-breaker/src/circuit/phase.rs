//! The states, and what changes from one to the next.

use std::time::Duration;

use aplomb_core::Outcome;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::Circuit;
use crate::probes::Trial;
use crate::ramp::Climb;
use crate::{OpenReason, State, Transition, TransitionCause, later};

/// A state, with what belongs to it.
#[derive(Debug)]
pub(super) enum Phase {
    Closed {
        since: Option<Instant>,
        climb: Option<Climb>,
    },
    Open {
        until: Instant,
    },
    HalfOpen(Trial),
    Isolated,
    Disabled,
}

/// What is said of a circuit that does not let everybody through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    /// When it began; nothing while everybody passes.
    pub(super) since: Option<Instant>,
    /// What opened the circuit last.
    pub(super) cause: TransitionCause,
    pub(super) last: Option<Outcome>,
    /// Whether refused credentials have opened the circuit since it was closed: whatever has failed
    /// since then, nothing has accepted the credential.
    pub(super) is_refused: bool,
}

impl Circuit {
    /// Notes that time has passed.
    #[inline]
    pub(super) fn pass(&mut self, now: Instant) {
        // By far the most frequent case: nothing depends on the time.
        if !matches!(self.phase, Phase::Closed { climb: None, .. }) {
            self.pass_slowly(now);
        }
    }

    fn pass_slowly(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Closed { climb, .. } => {
                if climb.as_ref().is_some_and(|climb| climb.ends() <= now) {
                    *climb = None;
                    self.outage.since = None;
                }
            }
            Phase::Open { until } => {
                if *until <= now {
                    let trial = Trial::new(self.probes, now);
                    self.shift(Phase::HalfOpen(trial), TransitionCause::CooldownOver, None, now);
                }
            }
            Phase::HalfOpen(trial) => {
                if trial.pass(now) {
                    self.open(TransitionCause::ProbesUnanswered, None, now);
                }
            }
            Phase::Isolated | Phase::Disabled => {}
        }
    }

    /// Opens for as long as its cause asks for.
    pub(super) fn open(&mut self, cause: TransitionCause, last: Option<Outcome>, now: Instant) {
        // A call that went well, but too slowly, is no news of what is wrong.
        let last = last.filter(|last| !last.is_success());
        if let Phase::Closed { since: Some(since), .. } = self.phase {
            self.strain.ease(since, now, &self.cooldown);
        }
        let seed = self.seed.map_or_else(rand::random, |seed| seed.wrapping_add(self.epoch));
        let mut random = StdRng::seed_from_u64(seed);
        let until = later(now, self.cooldown.after(cause, last, &mut self.strain, &mut random));
        self.begin_outage(cause, last, now);
        self.shift(Phase::Open { until }, cause, last, now);
    }

    pub(super) fn begin_outage(&mut self, cause: TransitionCause, last: Option<Outcome>, now: Instant) {
        let since = self.outage.since.or(Some(now));
        let is_refused = self.outage.is_refused || cause == TransitionCause::Unauthorized;
        self.outage = Outage { since, cause, last, is_refused };
    }

    /// Closes for everybody, and begins to count anew.
    pub(super) fn close(&mut self, cause: TransitionCause, now: Instant) {
        self.outage.since = None;
        self.close_with(None, cause, now);
    }

    /// Closes for a few at first, and begins to count anew.
    pub(super) fn recover(&mut self, now: Instant) {
        let climb = Climb::begin(self.ramp, now);
        if climb.is_none() {
            self.outage.since = None;
        }
        self.close_with(climb, TransitionCause::ProbeSucceeded, now);
    }

    fn close_with(&mut self, climb: Option<Climb>, cause: TransitionCause, now: Instant) {
        self.health.clear();
        self.shift(Phase::Closed { since: Some(now), climb }, cause, None, now);
    }

    /// Begins an epoch, and notes what there is to tell of it.
    pub(super) fn shift(
        &mut self,
        phase: Phase,
        cause: TransitionCause,
        last: Option<Outcome>,
        now: Instant,
    ) {
        let cooldown = match phase {
            Phase::Open { until } => Some(until - now),
            _ => None,
        };
        let from = self.phase.state();
        self.phase = phase;
        self.epoch += 1;
        self.recovered_from = None;
        self.cause = Some(cause);
        let (to, epoch) = (self.phase.state(), self.epoch);
        self.outage.is_refused &= matches!(to, State::Open | State::HalfOpen);
        // A closed circuit that is reset begins anew, but it was closed before.
        if from != to {
            self.untold.push_back(Transition { from, to, epoch, cause, at: now, cooldown, last });
        }
    }

    pub(super) fn why(&self, now: Instant) -> OpenReason {
        let Outage { since, cause, last, .. } = self.outage;
        OpenReason {
            state: self.phase.state(),
            cause,
            since: since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            retry_after: self.retry_after(now),
            last,
        }
    }

    /// How long until a call may pass that may not now: when a place has probably become free by an
    /// answer, and at the latest when somebody passes for sure.
    pub(super) fn retry_after(&self, now: Instant) -> Option<Duration> {
        if let Phase::Open { until } = self.phase {
            return Some(until - now);
        }
        let longest = self.phase.lapses()?.saturating_duration_since(now);
        let usual = Some(self.pace.answers_in()).filter(|usual| !usual.is_zero());
        Some(usual.map_or(longest, |usual| usual.min(longest)))
    }
}

impl Phase {
    pub(super) const fn state(&self) -> State {
        match self {
            Self::Closed { .. } => State::Closed,
            Self::Open { .. } => State::Open,
            Self::HalfOpen(_) => State::HalfOpen,
            Self::Isolated => State::Isolated,
            Self::Disabled => State::Disabled,
        }
    }

    /// When somebody passes for sure who does not now.
    pub(super) fn lapses(&self) -> Option<Instant> {
        match self {
            Self::HalfOpen(trial) if !trial.has_place() => trial.lapses(),
            Self::Closed { climb: Some(climb), .. } if !climb.has_place() => Some(climb.ends()),
            _ => None,
        }
    }
}
