//! The state of an endpoint at one moment.

use std::time::Duration;

use aplomb_admission::Queue;
use aplomb_circuit_breaker::CircuitSnapshot;
use aplomb_concurrency::ConcurrencySnapshot;
use aplomb_rate_limit::Quota;

use super::gates::EndpointGates;

/// The state of an endpoint's gates at one moment, or of one key's.
#[derive(Clone, Debug)]
pub struct EndpointSnapshot {
    waiting: usize,
    in_flight: usize,
    available: Vec<(Quota, i64)>,
    paused_for: Option<Duration>,
    circuit: CircuitSnapshot,
    concurrency: Option<ConcurrencySnapshot>,
}

impl EndpointSnapshot {
    pub(super) fn of(queue: &Queue<EndpointGates>) -> Self {
        let waiting = queue.waiting();
        queue.with(|gates, now| Self {
            waiting,
            in_flight: gates.quotas.in_flight(),
            available: gates.quotas.available(now).collect(),
            paused_for: gates.paused_until(now).map(|until| until.saturating_duration_since(now)),
            circuit: gates.circuit.snapshot(now),
            concurrency: gates.limited().map(|slots| slots.snapshot(waiting, now)),
        })
    }

    /// How many calls wait in the queue.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many calls have been admitted and have not ended.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The remainder of each quota, including learned ones; negative where it is in debt.
    pub fn available(&self) -> &[(Quota, i64)] {
        &self.available
    }

    /// How long the pause of all calls still lasts, if a throttled response caused one.
    #[must_use]
    pub const fn paused_for(&self) -> Option<Duration> {
        self.paused_for
    }

    /// The circuit.
    #[must_use]
    pub const fn circuit(&self) -> &CircuitSnapshot {
        &self.circuit
    }

    /// The concurrency limit, if there is one.
    #[must_use]
    pub const fn concurrency(&self) -> Option<&ConcurrencySnapshot> {
        self.concurrency.as_ref()
    }
}
