//! A circuit's transitions, and its state at one moment.

use std::time::Duration;

use aplomb_core::{CircuitCause, CircuitState, Classification, Event, KeyLabel, Outcome, notify};
use tokio::time::Instant;

use crate::StateWatch;
use crate::layer::Observer;
use crate::window::WindowCounts;

/// A change of state. Reported exactly once, outside of any lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub(crate) from: CircuitState,
    pub(crate) to: CircuitState,
    pub(crate) epoch: u64,
    pub(crate) cause: CircuitCause,
    pub(crate) at: Instant,
    pub(crate) cooldown: Option<Duration>,
    pub(crate) last: Option<Outcome>,
}

impl Transition {
    /// The state before.
    pub const fn from(&self) -> CircuitState {
        self.from
    }

    /// The state after.
    pub const fn to(&self) -> CircuitState {
        self.to
    }

    /// The number of the epoch that begins with it. It orders transitions reported by several threads at once.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Why the state changed.
    pub const fn cause(&self) -> CircuitCause {
        self.cause
    }

    /// When the state changed.
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// How long the circuit stays open, if it opened.
    pub const fn cooldown(&self) -> Option<Duration> {
        self.cooldown
    }

    /// The outcome of the call that opened the circuit, if one did.
    pub const fn last(&self) -> Option<Outcome> {
        self.last
    }
}

/// A circuit at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CircuitSnapshot {
    pub(crate) state: CircuitState,
    pub(crate) epoch: u64,
    pub(crate) window: WindowCounts,
    pub(crate) slow_calls: WindowCounts,
    pub(crate) failures_in_a_row: u32,
    pub(crate) probes_in_flight: usize,
    pub(crate) ramp: Option<u32>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) cause: Option<CircuitCause>,
}

impl CircuitSnapshot {
    /// The state.
    pub const fn state(&self) -> CircuitState {
        self.state
    }

    /// The number of the epoch: how many transitions there have been.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The calls and failures in the window of the trip's first ratio: since the circuit was last closed, or before
    /// it opened.
    pub const fn window(&self) -> WindowCounts {
        self.window
    }

    /// The calls in the window of the trip's first rule about slow calls; slow calls count as failures.
    pub const fn slow_calls(&self) -> WindowCounts {
        self.slow_calls
    }

    /// The number of failures in a row.
    pub const fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    /// The number of probes in flight whose lease has not expired.
    pub const fn probes_in_flight(&self) -> usize {
        self.probes_in_flight
    }

    /// How many calls may be unanswered at a time, during the [ramp](crate::Ramp) after the circuit has closed.
    pub const fn ramp(&self) -> Option<u32> {
        self.ramp
    }

    /// How long until a call may pass; `None` if one may now, or if that is unknown.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Why the circuit is in this state; `None` if it has never been in another.
    pub const fn cause(&self) -> Option<CircuitCause> {
        self.cause
    }
}

/// Passes the transitions of circuits to those who watch the state of the one circuit of all calls, and to an observer.
pub(crate) fn events_to(
    watch: StateWatch,
    observer: Observer,
) -> impl Fn(&Transition, Option<&KeyLabel>) + Send + Sync {
    move |transition, key| {
        if key.is_none() {
            watch.show(transition);
        }
        let Transition { from, to, epoch, cause, cooldown, last, .. } = *transition;
        let event = Event::circuit_changed(from, to, cause, cooldown, last.map(Classification::new), epoch);
        notify(&observer, &event.with_key(key.cloned()));
    }
}
