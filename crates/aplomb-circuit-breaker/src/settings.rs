//! The settings of a circuit.

use crate::{Cooldown, OnAbandoned, OnOpen, Probes, Ramp, Trip};

/// The settings of a circuit, for layers with a circuit for each key: see
/// [`by_key_with`](crate::CircuitBreakerLayer::by_key_with).
///
/// The defaults are those of [`Trip`], [`Cooldown`], [`Probes`], [`Ramp`], [`OnOpen`] and [`OnAbandoned`].
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct CircuitSettings {
    pub(crate) trip: Trip,
    pub(crate) cooldown: Cooldown,
    pub(crate) probes: Probes,
    pub(crate) ramp: Ramp,
    pub(crate) on_open: OnOpen,
    pub(crate) on_abandoned: OnAbandoned,
    pub(crate) seed: Option<u64>,
    /// True if the cooldown, the probes or the ramp were set: then the circuit recovers as they say, whatever opened it.
    pub(crate) own_recovery: bool,
}

impl CircuitSettings {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what opens the circuit.
    pub fn trip(mut self, trip: Trip) -> Self {
        self.trip = trip;
        self
    }

    /// Sets how long it stays open. It then recovers by its cooldown, its probes and its ramp, also where
    /// [nobody gets through](Trip::nobody_gets_through).
    pub fn cooldown(mut self, cooldown: impl Into<Cooldown>) -> Self {
        self.cooldown = cooldown.into();
        self.own_recovery = true;
        self
    }

    /// Sets how it finds out whether the server is back: [`Probes`], or just their number at a time. See
    /// [`cooldown`](Self::cooldown).
    pub fn probes(mut self, probes: impl Into<Probes>) -> Self {
        self.probes = probes.into();
        self.own_recovery = true;
        self
    }

    /// Sets how it admits callers after it has closed. See [`cooldown`](Self::cooldown).
    pub const fn ramp(mut self, ramp: Ramp) -> Self {
        self.ramp = ramp;
        self.own_recovery = true;
        self
    }

    /// Sets what happens to calls that it does not admit. Default: they are rejected.
    pub const fn on_open(mut self, on_open: OnOpen) -> Self {
        self.on_open = on_open;
        self
    }

    /// Sets the meaning of a call that is dropped before it was answered. Default: none.
    pub const fn on_abandoned(mut self, on_abandoned: OnAbandoned) -> Self {
        self.on_abandoned = on_abandoned;
        self
    }

    /// Makes the jitter of cooldowns repeatable, for tests and simulations.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}
