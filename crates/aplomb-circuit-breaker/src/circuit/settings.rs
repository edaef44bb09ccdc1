//! The settings of a circuit.

use crate::{Cooldown, OnAbandoned, OnOpen, Probes, Ramp, Trip};

/// Everything that can be set; equal if the same things are set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Settings {
    pub(super) trip: Trip,
    pub(super) cooldown: Cooldown,
    pub(super) probes: Probes,
    pub(super) ramp: Ramp,
    pub(super) on_open: OnOpen,
    pub(super) on_abandoned: OnAbandoned,
    pub(super) seed: Option<u64>,
}
