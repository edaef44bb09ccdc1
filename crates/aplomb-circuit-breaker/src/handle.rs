//! A handle on a circuit, to read and to switch it.

use aplomb_admission::{Closing, Queue};
use tokio::sync::watch;

use crate::{Circuit, CircuitSnapshot, CircuitState, StateWatch};

/// Reads and switches the circuit of a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
///
/// Clones are handles on the same circuit. It may be used from anywhere, from an observer too.
#[derive(Clone, Debug)]
pub struct CircuitHandle {
    queue: Queue<Circuit>,
    watch: StateWatch,
}

impl CircuitHandle {
    pub(crate) const fn new(queue: Queue<Circuit>, watch: StateWatch) -> Self {
        Self { queue, watch }
    }

    pub(crate) const fn queue(&self) -> &Queue<Circuit> {
        &self.queue
    }

    /// The state.
    pub fn state(&self) -> CircuitState {
        self.queue.with(Circuit::state)
    }

    /// The state, to be watched. What is seen is the latest state, not each on the way: an
    /// [observer](crate::CircuitBreakerLayer::observer) is told of every one.
    ///
    /// A circuit does nothing by itself: that its cooldown is over is noticed with the next call or the
    /// next look through a handle; where calls are parked, when it is over.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_circuit_breaker::{CircuitBreakerLayer, CircuitState};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let layer = CircuitBreakerLayer::new();
    /// let circuit = layer.handle();
    /// let mut watch = circuit.watch();
    /// circuit.isolate();
    /// watch.changed().await.unwrap();
    /// assert_eq!(*watch.borrow_and_update(), CircuitState::Isolated);
    /// # }
    /// ```
    pub fn watch(&self) -> watch::Receiver<CircuitState> {
        self.watch.watch()
    }

    /// How the circuit stands.
    pub fn snapshot(&self) -> CircuitSnapshot {
        self.queue.with(Circuit::snapshot)
    }

    /// Opens the circuit now, as a failure would that opens it: for a cooldown, after which probes
    /// decide.
    pub fn force_open(&self) {
        self.queue.with(Circuit::force_open);
    }

    /// Closes the circuit now for everybody, and begins to count anew. Parked calls pass.
    pub fn force_closed(&self) {
        self.queue.with(Circuit::force_closed);
    }

    /// Lets nothing pass, until the circuit is reset or switched otherwise. Parked calls are refused.
    pub fn isolate(&self) {
        self.queue.with(Circuit::isolate);
    }

    /// Lets everything pass and counts nothing, until the circuit is reset or switched otherwise. Parked
    /// calls pass.
    pub fn disable(&self) {
        self.queue.with(Circuit::disable);
    }

    /// Closes the circuit and forgets everything, how often it has opened included. Parked calls pass.
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
