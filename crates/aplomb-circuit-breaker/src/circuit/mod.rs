//! The circuit: a state machine that is handed the time.

mod gate;
mod pace;
mod phase;
mod rest;

use std::collections::VecDeque;

use tokio::time::Instant;

pub use self::gate::CircuitToken;
use self::pace::Pace;
use self::phase::{Outage, Phase};
pub use self::rest::CircuitAtRest;
use crate::cooldown::Strain;
use crate::health::Health;
use crate::{
    CircuitSnapshot, Cooldown, OnAbandoned, OnOpen, OpenReason, Probes, Ramp, State, Transition,
    TransitionCause, Trip,
};

/// A circuit: the pure part of [`CircuitBreakerLayer`](crate::CircuitBreakerLayer), which puts it
/// behind a queue.
///
/// It decides and never waits, reads no clock and takes no lock. Use it where several gates decide
/// together, joined by [`Both`](aplomb_admission::Both). Given a [`seed`](Self::seed), it always decides
/// the same.
///
/// # Examples
///
/// ```
/// use aplomb_circuit_breaker::{Circuit, State, Trip};
/// use aplomb_admission::{Decision, End, Gate};
/// use aplomb_core::Outcome;
/// use tokio::time::Instant;
///
/// let now = Instant::now();
/// let mut circuit = Circuit::new().trip(Trip::consecutive(1));
/// assert_eq!(circuit.check(&(), now), Decision::Admit);
/// let slip = circuit.admit(&(), now);
/// circuit.end(slip, End::Judged { outcome: Outcome::transient(), usage: None }, now);
/// assert_eq!(circuit.state(now), State::Open);
/// ```
#[derive(Debug)]
pub struct Circuit {
    trip: Trip,
    cooldown: Cooldown,
    probes: Probes,
    ramp: Ramp,
    on_open: OnOpen,
    abandoned: OnAbandoned,
    seed: Option<u64>,

    phase: Phase,
    /// Each change of phase begins an epoch; what was admitted in another moves nothing.
    epoch: u64,
    /// The half-open epoch from which the circuit recovered: its probes go on as ordinary calls.
    recovered_from: Option<u64>,
    health: Health,
    strain: Strain,
    pace: Pace,
    outage: Outage,
    cause: Option<TransitionCause>,
    untold: VecDeque<Transition>,
}

impl Circuit {
    /// A closed circuit with the defaults of [`Trip`], [`Cooldown`], [`Probes`], [`Ramp`], [`OnOpen`]
    /// and [`OnAbandoned`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            trip: Trip::default(),
            cooldown: Cooldown::default(),
            probes: Probes::default(),
            ramp: Ramp::default(),
            on_open: OnOpen::default(),
            abandoned: OnAbandoned::default(),
            seed: None,
            phase: Phase::Closed { since: None, climb: None },
            epoch: 0,
            recovered_from: None,
            health: Health::new(&Trip::default()),
            strain: Strain::default(),
            pace: Pace::default(),
            outage: Outage { since: None, cause: TransitionCause::Forced, last: None, is_refused: false },
            cause: None,
            untold: VecDeque::new(),
        }
    }

    /// Sets what opens it. Forgets what has been counted.
    #[must_use]
    pub fn trip(mut self, trip: Trip) -> Self {
        self.health = Health::new(&trip);
        self.trip = trip;
        self
    }

    /// Sets how long it stays open.
    #[must_use]
    pub fn cooldown(mut self, cooldown: impl Into<Cooldown>) -> Self {
        self.cooldown = cooldown.into();
        self
    }

    /// Sets how it finds out whether the peer is back.
    #[must_use]
    pub fn probes(mut self, probes: impl Into<Probes>) -> Self {
        self.probes = probes.into();
        self
    }

    /// Sets how it lets its callers in when it has closed.
    #[must_use]
    pub const fn ramp(mut self, ramp: Ramp) -> Self {
        self.ramp = ramp;
        self
    }

    /// Sets what becomes of calls while it is open.
    #[must_use]
    pub const fn on_open(mut self, on_open: OnOpen) -> Self {
        self.on_open = on_open;
        self
    }

    /// Sets what a call says that is dropped before it was answered.
    #[must_use]
    pub const fn on_abandoned(mut self, abandoned: OnAbandoned) -> Self {
        self.abandoned = abandoned;
        self
    }

    /// Makes the spread of the cooldowns repeatable, for tests and simulations.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// A circuit with the same settings: closed, and nothing has been counted.
    #[must_use]
    pub fn fresh(&self) -> Self {
        let new = Self::new()
            .trip(self.trip.clone())
            .cooldown(self.cooldown)
            .probes(self.probes)
            .ramp(self.ramp)
            .on_open(self.on_open)
            .on_abandoned(self.abandoned);
        Self { seed: self.seed, ..new }
    }

    /// Puts the settings of another circuit in force, and begins to count anew. The state stays, and how often
    /// it has opened; a cooldown that runs ends when it would have.
    pub fn adopt(&mut self, settings: &Self) {
        let fresh = settings.fresh();
        self.health = fresh.health;
        self.trip = fresh.trip;
        self.cooldown = fresh.cooldown;
        self.probes = fresh.probes;
        self.ramp = fresh.ramp;
        self.on_open = fresh.on_open;
        self.abandoned = fresh.abandoned;
        self.seed = fresh.seed;
    }

    /// The state.
    pub fn state(&mut self, now: Instant) -> State {
        self.pass(now);
        self.phase.state()
    }

    /// How it stands.
    pub fn snapshot(&mut self, now: Instant) -> CircuitSnapshot {
        self.pass(now);
        CircuitSnapshot {
            state: self.phase.state(),
            epoch: self.epoch,
            tally: self.health.tally(now),
            slow: self.health.slow(now),
            failures_in_a_row: self.health.failures_in_a_row(),
            probes_in_flight: match &self.phase {
                Phase::HalfOpen(trial) => trial.in_flight(),
                _ => 0,
            },
            ramp: match &self.phase {
                Phase::Closed { climb: Some(climb), .. } => Some(climb.limit()),
                _ => None,
            },
            retry_after: self.retry_after(now),
            cause: self.cause,
        }
    }

    /// OpenReason a call would be refused for as long as the circuit stays open, if that is so. Unlike
    /// [`check`](aplomb_admission::Gate::check) it lets everybody pass who may become a probe, be parked for one, or
    /// has to wait for the ramp only.
    pub fn refusal(&mut self, now: Instant) -> Option<OpenReason> {
        self.pass(now);
        matches!(self.phase, Phase::Open { .. } | Phase::Isolated).then(|| self.why(now))
    }

    /// Opens it now, as a failure would that opens it: for a cooldown, after which probes decide.
    pub fn force_open(&mut self, now: Instant) {
        self.pass(now);
        if self.phase.state() != State::Open {
            self.open(TransitionCause::Forced, None, now);
        }
    }

    /// Closes it now for everybody, and begins to count anew. The next cooldown is as long as it would
    /// have been.
    pub fn force_closed(&mut self, now: Instant) {
        self.pass(now);
        self.close(TransitionCause::Forced, now);
    }

    /// Lets nothing pass, until it is [reset](Self::reset) or switched otherwise.
    pub fn isolate(&mut self, now: Instant) {
        self.pass(now);
        if self.phase.state() != State::Isolated {
            self.begin_outage(TransitionCause::Forced, None, now);
            self.shift(Phase::Isolated, TransitionCause::Forced, None, now);
        }
    }

    /// Lets everything pass and counts nothing, until it is [reset](Self::reset) or switched otherwise.
    pub fn disable(&mut self, now: Instant) {
        self.pass(now);
        if self.phase.state() != State::Disabled {
            self.outage.since = None;
            self.shift(Phase::Disabled, TransitionCause::Forced, None, now);
        }
    }

    /// Closes it and forgets everything, how often it has opened included. Results of calls that are in
    /// flight will move nothing.
    pub fn reset(&mut self, now: Instant) {
        self.pass(now);
        self.strain = Strain::default();
        self.close(TransitionCause::Reset, now);
    }
}

impl Default for Circuit {
    fn default() -> Self {
        Self::new()
    }
}
