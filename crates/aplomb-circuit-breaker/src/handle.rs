//! A handle on a circuit, to read and to switch it.

use aplomb_core::{Closing, Queue};

use crate::{Circuit, Snapshot, State};

/// Reads and switches the circuit of a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
///
/// Clones are handles on the same circuit. It may be used from anywhere, from an observer too.
#[derive(Clone, Debug)]
pub struct Handle {
    queue: Queue<Circuit>,
}

impl Handle {
    pub(crate) const fn new(queue: Queue<Circuit>) -> Self {
        Self { queue }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.queue.with(Circuit::state)
    }

    /// How the circuit stands.
    pub fn snapshot(&self) -> Snapshot {
        self.queue.with(Circuit::snapshot)
    }

    /// Lets nothing pass, until the circuit is forced closed or reset. Parked calls are refused.
    pub fn force_open(&self) {
        self.queue.with(Circuit::force_open);
    }

    /// Lets everything pass and counts nothing, until the circuit is forced open or reset. Parked
    /// calls pass.
    pub fn force_closed(&self) {
        self.queue.with(Circuit::force_closed);
    }

    /// Closes the circuit and forgets everything, what was forced included. Parked calls pass.
    pub fn reset(&self) {
        self.queue.with(Circuit::reset);
    }

    /// Refuses new calls from now on, for good; those that are parked are served or refused, as
    /// `closing` says. Calls that are in flight end as they would have.
    pub fn close(&self, closing: Closing) {
        self.queue.close(closing);
    }

    /// How many calls are parked.
    pub fn parked(&self) -> usize {
        self.queue.waiting()
    }
}
