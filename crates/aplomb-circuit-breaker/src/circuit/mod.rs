//! The circuit: a pure state machine, given the time.

mod follow;
mod gate;
mod owned;
mod phase;
mod response_time;
mod state_watch;
mod worth;

use std::collections::VecDeque;
use std::sync::Arc;

use aplomb_admission::server::Server;
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::gate::CircuitToken;
use self::phase::{Outage, Phase};
use self::response_time::ResponseTime;
pub(crate) use self::state_watch::StateWatch;
use aplomb_core::CircuitCause;

use crate::cooldown::BackoffLevel;
use crate::health::Health;
use crate::{CircuitSettings, CircuitSnapshot, CircuitState, OpenReason, Transition};

/// A circuit: the pure part of [`CircuitBreakerLayer`](crate::CircuitBreakerLayer), which puts it
/// behind a queue.
///
/// It decides and never waits, reads no clock and takes no lock. Given a [`seed`](CircuitSettings::seed), it is deterministic.
///
/// # Examples
///
/// ```
/// use aplomb_circuit_breaker::{Circuit, CircuitSettings, CircuitState, Trip};
/// use aplomb_admission::{Decision, End, Gate};
/// use aplomb_core::Outcome;
/// use tokio::time::Instant;
///
/// let now = Instant::now();
/// let mut circuit = Circuit::new(CircuitSettings::new().trip(Trip::consecutive(1)));
/// assert_eq!(circuit.check(&(), now), Decision::Admit);
/// let token = circuit.admit(&(), now);
/// circuit.end(token, End::Judged { outcome: Outcome::transient(), usage: None }, now);
/// assert_eq!(circuit.state(now), CircuitState::Open);
/// ```
#[derive(Debug)]
pub struct Circuit {
    settings: Arc<CircuitSettings>,
    phase: Phase,
    /// Every transition begins an epoch; a call admitted in another one changes nothing.
    epoch: u64,
    /// The half-open epoch from which the circuit recovered: its probes go on as ordinary calls.
    recovered_from: Option<u64>,
    health: Health,
    backoff_level: BackoffLevel,
    response_time: ResponseTime,
    outage: Outage,
    cause: Option<CircuitCause>,
    events: VecDeque<Transition>,
    watch: Option<StateWatch>,
    /// True if the trip asks for a server: read for every call.
    needs_server: bool,
    /// Decides whether anybody gets through, if the trip asks for that.
    server: Option<Box<Server>>,
}

impl Circuit {
    /// A closed circuit.
    #[must_use]
    pub fn new(settings: impl Into<Arc<CircuitSettings>>) -> Self {
        let settings = settings.into();
        Self {
            health: Health::new(&settings.trip),
            needs_server: settings.trip.needs_server(),
            settings,
            phase: Phase::Closed { since: None, slow_start: None },
            epoch: 0,
            recovered_from: None,
            backoff_level: BackoffLevel::default(),
            response_time: ResponseTime::default(),
            outage: Outage { since: None, cause: CircuitCause::Forced, last: None, is_refused: false },
            cause: None,
            events: VecDeque::new(),
            watch: None,
            server: None,
        }
    }

    /// Applies other settings from now on.
    ///
    /// The state stays, and how often the circuit has opened; a running cooldown ends when it would have. The counts
    /// stay if the trip stays. Under another trip, failures in a row go on counting, and so does every window and
    /// custom rule that both trips have in common.
    pub fn set_settings(&mut self, settings: impl Into<Arc<CircuitSettings>>, now: Instant) {
        let settings = settings.into();
        if self.settings.trip != settings.trip {
            self.health.adopt(&settings.trip);
        }
        self.settings = settings;
        self.adopt_owned(now);
    }

    /// Watches the state.
    pub fn watch(&mut self, now: Instant) -> watch::Receiver<CircuitState> {
        self.advance(now);
        let (state, epoch) = (self.phase.state(), self.epoch);
        self.watch.get_or_insert_with(|| StateWatch::new(state, epoch)).subscribe()
    }

    /// The state.
    pub fn state(&mut self, now: Instant) -> CircuitState {
        self.advance(now);
        self.phase.state()
    }

    /// State and counts at `now`.
    pub fn snapshot(&mut self, now: Instant) -> CircuitSnapshot {
        self.advance(now);
        CircuitSnapshot {
            state: self.phase.state(),
            epoch: self.epoch,
            window: self.health.failure_counts(now),
            slow_calls: self.health.slow_counts(now),
            failures_in_a_row: self.health.failures_in_a_row(),
            probes_in_flight: match &self.phase {
                Phase::HalfOpen(half_open) => half_open.in_flight(),
                Phase::Follows { probing: true, .. } => 1,
                _ => 0,
            },
            ramp: match &self.phase {
                Phase::Closed { slow_start: Some(slow_start), .. } => Some(slow_start.limit()),
                Phase::Closed { .. } => self.slow_start(),
                _ => None,
            },
            retry_after: self.retry_after(now),
            cause: self.cause,
        }
    }

    /// Why calls are rejected, if the circuit is open or isolated. Unlike
    /// [`check`](aplomb_admission::Gate::check), it passes calls that may become a probe, be parked for one, or only
    /// have to wait for the ramp.
    pub fn rejection(&mut self, now: Instant) -> Option<OpenReason> {
        self.advance(now);
        let rejects = match self.phase {
            Phase::Open { .. } | Phase::Isolated => true,
            Phase::Follows { probing: false, .. } => !self.check_owned(now).is_admit(),
            _ => false,
        };
        rejects.then(|| self.reason(now))
    }

    /// Why a call has to wait now, or would be rejected.
    pub(crate) fn reason_now(&mut self, now: Instant) -> OpenReason {
        self.advance(now);
        self.reason(now)
    }

    /// Opens it now, as if it had tripped: after a cooldown, probes decide.
    pub fn force_open(&mut self, now: Instant) {
        self.advance(now);
        if self.phase.state() != CircuitState::Open {
            self.open(CircuitCause::Forced, None, now);
        }
    }

    /// Closes it now for everyone, and starts counting afresh. The next cooldown is as long as it would have been.
    pub fn force_closed(&mut self, now: Instant) {
        self.advance(now);
        self.reset_owned(now);
        self.close(CircuitCause::Forced, now);
    }

    /// Rejects all calls, until it is [reset](Self::reset) or switched otherwise.
    pub fn isolate(&mut self, now: Instant) {
        self.advance(now);
        if self.phase.state() != CircuitState::Isolated {
            self.begin_outage(CircuitCause::Forced, None, now);
            self.shift(Phase::Isolated, CircuitCause::Forced, None, now);
        }
    }

    /// Admits all calls and counts none, until it is [reset](Self::reset) or switched otherwise.
    pub fn disable(&mut self, now: Instant) {
        self.advance(now);
        if self.phase.state() != CircuitState::Disabled {
            self.outage.since = None;
            self.reset_owned(now);
            self.shift(Phase::Disabled, CircuitCause::Forced, None, now);
        }
    }

    /// Closes it and forgets everything, including how often it has opened. Calls in flight will not be counted.
    pub fn reset(&mut self, now: Instant) {
        self.advance(now);
        self.backoff_level = BackoffLevel::default();
        self.reset_owned(now);
        self.close(CircuitCause::Reset, now);
    }
}

impl Default for Circuit {
    fn default() -> Self {
        Self::new(CircuitSettings::new())
    }
}
