//! A handle on circuits, to read and to switch them.

use std::fmt;
use std::hash::Hash;

use aplomb_admission::{Closing, Entries, Full, Queue, QueueLimits};
use aplomb_core::KeyLabel;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Circuit, CircuitSnapshot, CircuitState, StateWatch};

/// Reads and switches the circuit of a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer), or those of its keys.
///
/// If each key has a circuit of its own, a switch turns all of those there are; [`of`](Self::of) and [`get`](Self::get) are
/// handles on one of them. Clones are handles on the same circuits. It may be used from anywhere, from an observer too.
#[derive(Clone)]
pub struct CircuitHandle {
    entries: Entries<Circuit>,
    watch: StateWatch,
}

impl CircuitHandle {
    pub(crate) const fn new(entries: Entries<Circuit>, watch: StateWatch) -> Self {
        Self { entries, watch }
    }

    pub(crate) const fn entries(&self) -> &Entries<Circuit> {
        &self.entries
    }

    /// A handle on the circuit of `key`, which is made if it is not there, and kept for as long as the handle is.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key has no circuit and there is no room for one.
    pub fn of<K>(&self, key: &K) -> Result<Self, Full>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.entries.queue(key).map(|queue| self.one(queue))
    }

    /// A handle on the circuit of `key`, if it has one.
    #[must_use]
    pub fn get<K>(&self, key: &K) -> Option<Self>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.entries.get(key).map(|queue| self.one(queue))
    }

    fn one(&self, queue: Queue<Circuit>) -> Self {
        Self { entries: Entries::of(queue), watch: self.watch.clone() }
    }

    /// The state.
    ///
    /// # Panics
    ///
    /// Panics if each key has a circuit of its own: see [`snapshots`](Self::snapshots) and [`get`](Self::get).
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.single().with(Circuit::state)
    }

    /// The state, to be watched: the latest one, not each on the way. An
    /// [observer](crate::CircuitBreakerLayer::observer) receives every transition, also those of keys, which this does not
    /// show.
    ///
    /// A circuit does nothing by itself: that its cooldown is over is noticed with the next call or the next look through a
    /// handle; if calls are parked, when it is over.
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
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<CircuitState> {
        self.watch.watch()
    }

    /// The state and counts.
    ///
    /// # Panics
    ///
    /// Panics if each key has a circuit of its own: see [`snapshot_of`](Self::snapshot_of).
    #[must_use]
    pub fn snapshot(&self) -> CircuitSnapshot {
        self.single().with(Circuit::snapshot)
    }

    /// The state and counts of the circuit of `key`, if it has one. Looking at it does not keep it.
    #[must_use]
    pub fn snapshot_of<K>(&self, key: &K) -> Option<CircuitSnapshot>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.entries.get(key).map(|queue| queue.with(Circuit::snapshot))
    }

    /// The states and counts of all keys, with their labels; or of the one circuit.
    #[must_use]
    pub fn snapshots(&self) -> Vec<(Option<KeyLabel>, CircuitSnapshot)> {
        let mut snapshots = Vec::new();
        self.entries
            .for_each(|label, queue| snapshots.push((label.cloned(), queue.with(Circuit::snapshot))));
        snapshots
    }

    /// How many keys there are; `None` if there is one circuit for all calls.
    #[must_use]
    pub fn keys(&self) -> Option<usize> {
        self.entries.keys()
    }

    /// Opens the circuit now, as a failure would: for a cooldown, after which probes decide.
    pub fn force_open(&self) {
        self.switch(Circuit::force_open);
    }

    /// Closes the circuit now for everyone, and starts counting afresh. Parked calls pass.
    pub fn force_closed(&self) {
        self.switch(Circuit::force_closed);
    }

    /// Lets no call pass until the circuit is reset or switched otherwise. Parked calls are rejected.
    pub fn isolate(&self) {
        self.switch(Circuit::isolate);
    }

    /// Lets every call pass and counts none until the circuit is reset or switched otherwise. Parked calls pass.
    pub fn disable(&self) {
        self.switch(Circuit::disable);
    }

    /// Closes the circuit and forgets everything, including how often it has opened. Parked calls pass.
    pub fn reset(&self) {
        self.switch(Circuit::reset);
    }

    fn switch(&self, change: impl Fn(&mut Circuit, Instant)) {
        self.entries.for_each(|_, queue| queue.with(&change));
    }

    /// Changes the limits of the queues of parked calls. Calls that are parked keep those under which they came. How long a
    /// call may be parked is also limited by [`OnOpen`](crate::OnOpen).
    pub fn set_queue_limits(&self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        self.entries.set_limits(change);
    }

    /// Rejects new calls from now on, for good; those that are parked are served or rejected, as `closing` says. Calls in
    /// flight end as they would have.
    pub fn close(&self, closing: Closing) {
        self.entries.close(closing);
    }

    /// How many calls are parked.
    #[must_use]
    pub fn parked(&self) -> usize {
        let mut parked = 0;
        self.entries.for_each(|_, queue| parked += queue.waiting());
        parked
    }

    /// Forgets every key that can be forgotten without loss, and returns their number. It need not be called: that happens bit
    /// by bit.
    pub fn forget_idle(&self) -> usize {
        self.entries.evict_fresh(Instant::now())
    }

    fn single(&self) -> &Queue<Circuit> {
        self.entries.single().expect("each key has a circuit of its own")
    }
}

impl fmt::Debug for CircuitHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitHandle").field("entries", &self.entries).finish_non_exhaustive()
    }
}
