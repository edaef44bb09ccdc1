//! A circuit's transitions, and its state at one moment.

use std::time::Duration;

use aplomb_core::{CircuitCause, CircuitState, Classification, Event, KeyLabel, Observe, Outcome, notify};

use crate::WindowCounts;
use crate::circuit::StateWatch;

/// A change of state: the event of [`Circuit`](crate::Circuit) as a gate.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Transition {
    pub(crate) from: CircuitState,
    pub(crate) to: CircuitState,
    pub(crate) epoch: u64,
    pub(crate) cause: CircuitCause,
    pub(crate) cooldown: Option<Duration>,
    pub(crate) last: Option<Outcome>,
    pub(crate) watch: Option<StateWatch>,
}

impl Transition {
    /// Reports it to those who watch the circuit, and to `observer`. Called outside of any lock.
    pub fn report(&self, observer: &(impl Observe + ?Sized), key: Option<&KeyLabel>) {
        if let Some(watch) = &self.watch {
            watch.show(self.to, self.epoch);
        }
        notify(observer, &self.event().with_key(key.cloned()));
    }

    /// The event that an observer receives.
    pub fn event(&self) -> Event {
        let Self { from, to, epoch, cause, cooldown, last, .. } = *self;
        Event::circuit_changed(from, to, cause, cooldown, last.map(Classification::new), epoch)
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
