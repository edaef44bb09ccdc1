//! A circuit for each key, to read and to switch.

use std::fmt;
use std::hash::Hash;

use aplomb_admission::{Closing, Full, KeyNotice, QueueLimits, Queues};
use aplomb_core::Observe;
use tokio::time::Instant;

use crate::{Circuit, CircuitSnapshot, CircuitState, Transition};

/// A circuit for each key, of which none affects another: a host, a model, a tenant, an account.
///
/// The circuit of a key is made when the key is first used, as the policy says. While it has anything to
/// remember it stays, however long nobody uses it and however many others come and go: open, isolated or
/// disabled, half-open, recovering, failures counted of late, a cooldown that has grown. When there is
/// nothing of that it is [forgotten](Circuit::is_forgettable), a few keys at a time. There are never
/// more than `max_keys` keys: where none of those looked at can be forgotten, a call with another key is
/// refused with [`TooManyKeys`](crate::TooManyKeys).
///
/// Clones share everything. It may be used from anywhere, from an observer too. See [`Queues`] for how keys
/// come and go.
///
/// # Examples
///
/// ```
/// use aplomb_circuit_breaker::{Circuit, KeyedCircuits, CircuitState, Trip};
///
/// # fn main() -> Result<(), aplomb_admission::Full> {
/// let circuits = KeyedCircuits::new(10_000, |host: &String| {
///     let patience = if host.ends_with(".internal") { 20 } else { 5 };
///     Circuit::new().trip(Trip::consecutive(patience))
/// });
/// let host = "api.example.com".to_owned();
/// circuits.isolate(&host)?; // before its maintenance
/// assert_eq!(circuits.state(&host), CircuitState::Isolated);
/// assert_eq!(circuits.keys(), 1);
/// circuits.reset(&host);
/// # Ok(()) }
/// ```
pub struct KeyedCircuits<K> {
    queues: Queues<K, Circuit>,
}

impl<K: Clone + Hash + Eq + Send + Sync + 'static> KeyedCircuits<K> {
    /// Room for `max_keys` keys; `policy` says how the circuit of each is set.
    ///
    /// It is asked whenever a key comes into use that has no circuit, outside of any lock.
    pub fn new(max_keys: usize, policy: impl Fn(&K) -> Circuit + Send + Sync + 'static) -> Self {
        Self::with_observer(max_keys, policy, ())
    }

    /// The same, with an observer that is told each [`Transition`] of any circuit exactly once, with its key.
    ///
    /// It is called outside of any lock, so it may use this.
    /// [`TracingObserver`](crate::TracingObserver) writes to the log. Nothing is told where a circuit is
    /// forgotten: the next one of its key is closed, and its epochs begin anew.
    pub fn with_observer(
        max_keys: usize,
        policy: impl Fn(&K) -> Circuit + Send + Sync + 'static,
        observer: impl for<'a> Observe<KeyNotice<'a, K, Transition>> + Send + Sync + 'static,
    ) -> Self {
        Self { queues: Queues::new(max_keys, QueueLimits::new(), policy, observer) }
    }

    /// The state of a key's circuit. Where the key has none, [`CircuitState::Closed`]: a new one would be.
    pub fn state(&self, key: &K) -> CircuitState {
        self.queues.get(key).map_or(CircuitState::Closed, |queue| queue.with(Circuit::state))
    }

    /// How a key's circuit stands, if it has one.
    pub fn snapshot(&self, key: &K) -> Option<CircuitSnapshot> {
        self.queues.get(key).map(|queue| queue.with(Circuit::snapshot))
    }

    /// Every key, and how its circuit stands, a few at a time. Keys that come and go meanwhile may be seen or
    /// not.
    pub fn snapshots(&self) -> impl Iterator<Item = (K, CircuitSnapshot)> {
        self.queues.snapshot(|key, circuit, _, now| (key.clone(), circuit.snapshot(now)))
    }

    /// How many calls with a key are parked.
    pub fn parked(&self, key: &K) -> usize {
        self.queues.get(key).map_or(0, |queue| queue.waiting())
    }

    /// Opens a key's circuit now, as [`CircuitHandle::force_open`](crate::CircuitHandle::force_open) does; where the key
    /// has none, one is made.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key has no circuit and there is no room for one.
    pub fn force_open(&self, key: &K) -> Result<(), Full> {
        self.switch(key, Circuit::force_open)
    }

    /// Lets no call with this key pass, as [`CircuitHandle::isolate`](crate::CircuitHandle::isolate) does; where the key
    /// has no circuit, one is made. The key counts as busy until it is reset or switched otherwise.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key has no circuit and there is no room for one.
    pub fn isolate(&self, key: &K) -> Result<(), Full> {
        self.switch(key, Circuit::isolate)
    }

    /// Lets every call with this key pass, as [`CircuitHandle::disable`](crate::CircuitHandle::disable) does; where the
    /// key has no circuit, one is made. The key counts as busy until it is reset or switched otherwise.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key has no circuit and there is no room for one.
    pub fn disable(&self, key: &K) -> Result<(), Full> {
        self.switch(key, Circuit::disable)
    }

    /// Closes a key's circuit now, as [`CircuitHandle::force_closed`](crate::CircuitHandle::force_closed) does. Where the
    /// key has none there is nothing to do.
    pub fn force_closed(&self, key: &K) {
        if let Some(queue) = self.queues.get(key) {
            queue.with(Circuit::force_closed);
        }
    }

    /// Closes a key's circuit and forgets everything, as [`CircuitHandle::reset`](crate::CircuitHandle::reset) does. Where
    /// the key has none there is nothing to do.
    pub fn reset(&self, key: &K) {
        if let Some(queue) = self.queues.get(key) {
            queue.with(Circuit::reset);
        }
    }

    /// Changes the bounds of every key's line of parked calls. Those who wait keep the ones they came under.
    /// How long a call may be parked is also bounded by the circuit's own [`OnOpen`](crate::OnOpen).
    pub fn set_queue_limits(&self, change: impl Fn(QueueLimits) -> QueueLimits) {
        self.queues.set_limits(change);
    }

    /// Refuses new calls of every key from now on, for good; those that are parked are served or refused, as
    /// `closing` says. Calls that are in flight end as they would have.
    pub fn close(&self, closing: Closing) {
        self.queues.close(closing);
    }

    /// Forgets every key that can be forgotten now, and says how many those were. It need not be called:
    /// that happens bit by bit.
    pub fn forget_idle(&self) -> usize {
        self.queues.forget_idle(Instant::now())
    }

    fn switch(&self, key: &K, change: impl FnOnce(&mut Circuit, Instant)) -> Result<(), Full> {
        self.queues.queue(key)?.with(change);
        Ok(())
    }
}

impl<K> KeyedCircuits<K> {
    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.queues.len()
    }

    /// How many keys there may be.
    pub fn max_keys(&self) -> usize {
        self.queues.max_keys()
    }

    pub(crate) const fn queues(&self) -> &Queues<K, Circuit> {
        &self.queues
    }
}

impl<K> Clone for KeyedCircuits<K> {
    fn clone(&self) -> Self {
        Self { queues: self.queues.clone() }
    }
}

impl<K> fmt::Debug for KeyedCircuits<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuits").field("queues", &self.queues).finish()
    }
}
