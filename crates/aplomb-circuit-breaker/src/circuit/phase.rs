//! The states, and what changes from one to the next.

use std::time::Duration;

use aplomb_core::Outcome;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::Circuit;
use crate::probes::Trial;
use crate::{Cause, State, Transition, Why, later};

/// A state, with what belongs to it.
#[derive(Debug)]
pub(super) enum Phase {
    Closed { since: Option<Instant> },
    Open { until: Instant },
    HalfOpen(Trial),
    ForcedOpen,
    ForcedClosed,
}

/// What is said of a circuit that is not closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    /// When it began; nothing while the circuit is closed.
    pub(super) since: Option<Instant>,
    pub(super) cause: Cause,
    pub(super) last: Option<Outcome>,
}

impl Circuit {
    /// Notes that time has passed.
    pub(super) fn pass(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Open { until } if *until <= now => {
                let trial = Trial::new(self.probes);
                self.shift(Phase::HalfOpen(trial), Cause::CooldownOver, None, now);
            }
            Phase::HalfOpen(trial) => trial.pass(now),
            _ => {}
        }
    }

    /// Opens for as long as its cause asks for.
    pub(super) fn open(&mut self, cause: Cause, last: Outcome, now: Instant) {
        if let Phase::Closed { since: Some(since) } = self.phase {
            self.strain.ease(since, now, &self.cooldown);
        }
        let seed = self.seed.map_or_else(rand::random, |seed| seed.wrapping_add(self.epoch));
        let mut random = StdRng::seed_from_u64(seed);
        let until = later(now, self.cooldown.after(cause, last, &mut self.strain, &mut random));
        let since = self.outage.since.or(Some(now));
        self.outage = Outage { since, cause, last: Some(last) };
        self.shift(Phase::Open { until }, cause, Some(last), now);
    }

    /// Closes, and begins to count anew.
    pub(super) fn close(&mut self, cause: Cause, now: Instant) {
        self.health.clear();
        self.outage.since = None;
        self.shift(Phase::Closed { since: Some(now) }, cause, None, now);
    }

    /// Begins an epoch, and notes what there is to tell of it.
    pub(super) fn shift(&mut self, phase: Phase, cause: Cause, last: Option<Outcome>, now: Instant) {
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
        // A closed circuit that is reset begins anew, but it was closed before.
        if from != to {
            self.untold.push_back(Transition { from, to, epoch, cause, at: now, cooldown, last });
        }
    }

    pub(super) fn why(&self, now: Instant) -> Why {
        let Outage { since, cause, last } = self.outage;
        Why {
            state: self.phase.state(),
            cause,
            since: since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            retry_after: self.phase.retry_after(now),
            last,
        }
    }
}

impl Phase {
    pub(super) const fn state(&self) -> State {
        match self {
            Self::Closed { .. } => State::Closed,
            Self::Open { .. } => State::Open,
            Self::HalfOpen(_) => State::HalfOpen,
            Self::ForcedOpen => State::ForcedOpen,
            Self::ForcedClosed => State::ForcedClosed,
        }
    }

    pub(super) fn retry_after(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Open { until } => Some(*until - now),
            Self::HalfOpen(trial) if !trial.has_place() => trial.lapses().map(|at| at - now),
            _ => None,
        }
    }
}
