//! Inspecting and controlling an endpoint.

use std::hash::Hash;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use aplomb_admission::{Closing, Entries, Full, Queue};
use aplomb_circuit_breaker::{Circuit, CircuitSnapshot, CircuitState};
use aplomb_concurrency::ConcurrencySnapshot;
use aplomb_core::KeyLabel;
use aplomb_rate_limit::{Learned, Quota};
use tokio::sync::watch;
use tokio::time::Instant;

use super::gates::EndpointGates;
use super::state::EndpointState;
use crate::{InvalidPolicy, Policy};

/// A handle on an [`EndpointLayer`](crate::EndpointLayer): its policy, and through [`Deref`] its
/// [gates](GatesHandle).
///
/// Clones are handles on the same endpoint.
#[derive(Clone, Debug)]
pub struct EndpointHandle {
    gates: GatesHandle,
    state: Arc<EndpointState>,
}

impl EndpointHandle {
    pub(super) fn new(state: Arc<EndpointState>) -> Self {
        Self { gates: GatesHandle { entries: state.entries().clone() }, state }
    }

    /// A handle on the gates of `key`, which are made if they are not there, and kept for as long as the handle is.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and there is no room for it.
    pub fn of<K>(&self, key: &K) -> Result<GatesHandle, Full>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.state.entries().queue(key).map(GatesHandle::one)
    }

    /// A handle on the gates of `key`, if the key is there.
    #[must_use]
    pub fn get<K>(&self, key: &K) -> Option<GatesHandle>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.state.entries().get(key).map(GatesHandle::one)
    }

    /// The state of the gates of `key`, if the key is there. Looking at it does not keep it.
    #[must_use]
    pub fn snapshot_of<K>(&self, key: &K) -> Option<EndpointSnapshot>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.state.entries().get(key).map(|queue| EndpointSnapshot::of(&queue))
    }

    /// The states of the gates of all keys, with their labels; or of the gates of all calls.
    #[must_use]
    pub fn snapshots(&self) -> Vec<(Option<KeyLabel>, EndpointSnapshot)> {
        let mut snapshots = Vec::new();
        let entries = self.state.entries();
        entries.for_each(|label, queue| snapshots.push((label.cloned(), EndpointSnapshot::of(queue))));
        snapshots
    }

    /// How many keys there are; `None` if all calls have the same gates.
    #[must_use]
    pub fn keys(&self) -> Option<usize> {
        self.state.entries().keys()
    }

    /// The policy in force.
    pub fn policy(&self) -> Policy {
        self.state.policy()
    }

    /// Puts another policy in force, also for existing services.
    ///
    /// Calls that have begun keep the old one, except for the gates, which all calls share: quotas keep their levels, the
    /// concurrency limit what is in flight and what it has learned, the circuit its state and its counts. Calls that wait
    /// in the queue keep the limits they came with. The pool of the first policy stays.
    ///
    /// To change the quotas alone: `handle.set_policy(handle.policy().quotas([..]))`. The setters of single quotas add to
    /// those of the policy.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if it is contradictory; then nothing changes.
    pub fn set_policy(&self, policy: Policy) -> Result<(), InvalidPolicy> {
        self.state.set_policy(policy)
    }

    /// Rejects new calls from now on. Calls that wait, and retries of calls that have begun, are served or rejected, as
    /// `closing` says. Attempts in progress are not affected.
    pub fn close(&self, closing: Closing) {
        self.state.close(closing);
    }

    /// Waits until no call is in progress, including response bodies. Call it after [`close`](Self::close): otherwise new
    /// calls may keep it waiting forever. Dropping the future changes nothing.
    pub async fn drained(&self) {
        self.state.drained().await;
    }
}

impl Deref for EndpointHandle {
    type Target = GatesHandle;

    fn deref(&self) -> &GatesHandle {
        &self.gates
    }
}

/// A handle on gates and the queue before them: those of all calls, those of one key, or those of every key.
///
/// If it is the handle of an endpoint with keys, a switch turns the circuits of all keys that there are, and what would be
/// read of one key panics: see [`EndpointHandle::get`] and [`EndpointHandle::snapshots`]. Clones are handles on the same
/// gates.
#[derive(Clone, Debug)]
pub struct GatesHandle {
    entries: Entries<EndpointGates>,
}

impl GatesHandle {
    fn one(queue: Queue<EndpointGates>) -> Self {
        Self { entries: Entries::of(queue) }
    }

    fn single(&self) -> &Queue<EndpointGates> {
        self.entries.single().expect("each key has gates of its own")
    }

    fn with<T>(&self, look: impl FnOnce(&mut EndpointGates, Instant) -> T) -> T {
        self.single().with(look)
    }

    /// The current state.
    ///
    /// # Panics
    ///
    /// Panics if each key has gates of its own.
    #[must_use]
    pub fn snapshot(&self) -> EndpointSnapshot {
        EndpointSnapshot::of(self.single())
    }

    /// How many calls wait, of all keys.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let mut waiting = 0;
        self.entries.for_each(|_, queue| waiting += queue.waiting());
        waiting
    }

    /// How many calls have been admitted and have not ended, of all keys.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let mut in_flight = 0;
        self.entries
            .for_each(|_, queue| in_flight += queue.with(|gates, _| gates.quotas.in_flight()));
        in_flight
    }

    /// The learned limits of the server, for a later run: those that its responses reported, and the estimated rate if
    /// it reports none.
    ///
    /// # Panics
    ///
    /// Panics if each key has gates of its own.
    pub fn learned(&self) -> Learned {
        self.with(|gates, _| gates.quotas.learned())
    }

    /// Starts with what was learned in an earlier run. Configured quotas take precedence, and so does what the server reports
    /// from now on.
    ///
    /// # Panics
    ///
    /// Panics if each key has gates of its own.
    pub fn remember(&self, learned: &Learned) {
        self.with(|gates, now| gates.quotas.remember(learned, now));
    }

    /// The remainder of each quota, including learned ones; negative where it is in debt.
    ///
    /// # Panics
    ///
    /// Panics if each key has gates of its own.
    #[must_use]
    pub fn available(&self) -> Vec<(Quota, i64)> {
        self.with(|gates, now| gates.quotas.available(now).collect())
    }

    /// When the pause of all calls ends, if a throttled response caused one.
    ///
    /// # Panics
    ///
    /// Panics if each key has gates of its own.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        self.with(|gates, now| gates.quotas.paused_until(now))
    }

    /// The concurrency limit, if there is one.
    ///
    /// # Panics
    ///
    /// Panics if each key has gates of its own.
    #[must_use]
    pub fn concurrency(&self) -> Option<ConcurrencySnapshot> {
        self.snapshot().concurrency
    }

    /// The state and counts of the circuit.
    ///
    /// # Panics
    ///
    /// Panics if each key has gates of its own.
    #[must_use]
    pub fn circuit(&self) -> CircuitSnapshot {
        self.with(|gates, now| gates.circuit.snapshot(now))
    }

    /// Watches the state of the circuit. A receiver sees the latest state, not every one in between: an
    /// [observer](crate::EndpointLayer::observer) sees each of them. A key whose circuit is watched is not evicted.
    ///
    /// # Panics
    ///
    /// Panics if each key has gates of its own.
    #[must_use]
    pub fn watch_circuit(&self) -> watch::Receiver<CircuitState> {
        self.with(|gates, now| gates.circuit.watch(now))
    }

    /// Opens the circuit now, as a failure would: for a cooldown, after which probes decide.
    pub fn force_open(&self) {
        self.switch(Circuit::force_open);
    }

    /// Closes the circuit now for everyone, and starts counting afresh.
    pub fn force_closed(&self) {
        self.switch(Circuit::force_closed);
    }

    /// Lets no call pass until the circuit is reset or switched otherwise. Calls that wait are rejected.
    pub fn isolate(&self) {
        self.switch(Circuit::isolate);
    }

    /// Lets the circuit pass every call and count none until it is reset or switched otherwise.
    pub fn disable(&self) {
        self.switch(Circuit::disable);
    }

    /// Closes the circuit and forgets everything, including how often it has opened.
    pub fn reset(&self) {
        self.switch(Circuit::reset);
    }

    fn switch(&self, change: impl Fn(&mut Circuit, Instant)) {
        self.entries.for_each(|_, queue| queue.with(|gates, now| change(&mut gates.circuit, now)));
    }
}

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
    fn of(queue: &Queue<EndpointGates>) -> Self {
        let waiting = queue.waiting();
        queue.with(|gates, now| Self {
            waiting,
            in_flight: gates.quotas.in_flight(),
            available: gates.quotas.available(now).collect(),
            paused_for: gates.quotas.paused_until(now).map(|until| until.saturating_duration_since(now)),
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
