//! Inspecting and controlling an endpoint.

use std::hash::Hash;
use std::sync::Arc;

use aplomb_admission::{Closing, Entries, Full, Queue};
use aplomb_circuit_breaker::{Circuit, CircuitSnapshot, CircuitState};
use aplomb_concurrency::ConcurrencySnapshot;
use aplomb_core::KeyLabel;
use aplomb_rate_limit::{Learned, Quota, RateLimiter};
use tokio::sync::watch;
use tokio::time::Instant;

use super::gates::EndpointGates;
use super::snapshot::EndpointSnapshot;
use super::state::EndpointState;
use crate::{InvalidPolicy, Policy};

/// A handle on an [`EndpointLayer`](crate::EndpointLayer): to see its state, to change its policy, to close it.
///
/// Clones are handles on the same endpoint. With gates for each key, [`get`](Self::get) and [`of`](Self::of) return a handle
/// on the queue and the gates of one key. On a handle on several keys, methods that read one circuit or one set of quotas
/// return nothing, and those that change gates change those of all keys in use.
#[derive(Clone, Debug)]
pub struct EndpointHandle {
    state: Arc<EndpointState>,
    /// The gates of all calls, of one key, or of all keys.
    entries: Entries<EndpointGates>,
}

impl EndpointHandle {
    pub(super) fn new(state: Arc<EndpointState>) -> Self {
        Self { entries: state.entries().clone(), state }
    }

    fn one(&self, queue: Queue<EndpointGates>) -> Self {
        Self { entries: Entries::of(queue), state: Arc::clone(&self.state) }
    }

    /// The quotas of all tenants, if they have some of their own: see
    /// [`quotas_per`](crate::EndpointLayer::quotas_per).
    #[must_use]
    pub fn tenants(&self) -> Option<RateLimiter> {
        self.state.tenants().cloned()
    }

    /// A handle on the gates of `key`, which are made if the key is new. It is not evicted while the handle exists.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and there is no room for it.
    pub fn of<K>(&self, key: &K) -> Result<Self, Full>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.state.entries().queue(key).map(|queue| self.one(queue))
    }

    /// A handle on the gates of `key`, if the key is in use. It is not evicted while the handle exists.
    #[must_use]
    pub fn get<K>(&self, key: &K) -> Option<Self>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.state.entries().get(key).map(|queue| self.one(queue))
    }

    /// The state of the gates of `key`, if the key is in use.
    #[must_use]
    pub fn snapshot_of<K>(&self, key: &K) -> Option<EndpointSnapshot>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.state.entries().get(key).map(|queue| EndpointSnapshot::of(&queue))
    }

    /// The states of the gates of all keys, with their labels. Keys that come and go meanwhile may be missing.
    #[must_use]
    pub fn snapshots(&self) -> Vec<(Option<KeyLabel>, EndpointSnapshot)> {
        let mut snapshots = Vec::new();
        self.entries
            .for_each(|label, queue| snapshots.push((label.cloned(), EndpointSnapshot::of(queue))));
        snapshots
    }

    /// The number of keys in use; `None` if all calls have the same gates.
    #[must_use]
    pub fn keys(&self) -> Option<usize> {
        self.state.entries().keys()
    }

    /// The policy in force, for all keys.
    pub fn policy(&self) -> Policy {
        self.state.policy()
    }

    /// Puts another policy in force, for all keys and also for existing services.
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

    /// Rejects new calls from now on: of the endpoint, or of the key that this is a handle on. Calls that wait, and retries
    /// of calls that have begun, are served or rejected, as `closing` says. Attempts in progress are not affected.
    pub fn close(&self, closing: Closing) {
        self.entries.close(closing);
    }

    /// Waits until no call of the endpoint is in progress, including response bodies. Call it after [`close`](Self::close): otherwise new
    /// calls may keep it waiting forever. Dropping the future changes nothing.
    pub async fn drained(&self) {
        self.state.drained().await;
    }
}

/// The queue and the gates of all calls, of the key that this is a handle on, or of all keys in use.
impl EndpointHandle {
    fn with<T>(&self, look: impl FnOnce(&mut EndpointGates, Instant) -> T) -> Option<T> {
        self.entries.single().map(|queue| queue.with(look))
    }

    fn with_each(&self, mut act: impl FnMut(&mut EndpointGates, Instant)) {
        self.entries.for_each(|_, queue| queue.with(&mut act));
    }

    /// The current state; `None` on a handle on several keys, see [`snapshots`](Self::snapshots).
    #[must_use]
    pub fn snapshot(&self) -> Option<EndpointSnapshot> {
        self.entries.single().map(EndpointSnapshot::of)
    }

    /// How many calls wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let mut waiting = 0;
        self.entries.for_each(|_, queue| waiting += queue.waiting());
        waiting
    }

    /// How many calls have been admitted and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let mut in_flight = 0;
        self.with_each(|gates, _| in_flight += gates.quotas.in_flight());
        in_flight
    }

    /// The learned limits of the server, for a later run: those that its responses reported, and the estimated rate if
    /// it reports none. Nothing on a handle on several keys.
    pub fn learned(&self) -> Learned {
        self.with(EndpointGates::learned).unwrap_or_default()
    }

    /// Starts with what was learned in an earlier run. Configured quotas take precedence, and so does what the server reports
    /// from now on.
    pub fn remember(&self, learned: &Learned) {
        self.with_each(|gates, now| gates.remember(learned, now));
    }

    /// The remainder of each quota, including learned ones; negative where it is in debt. Nothing on a handle on
    /// several keys.
    #[must_use]
    pub fn available(&self) -> Vec<(Quota, i64)> {
        self.with(|gates, now| gates.quotas.available(now).collect()).unwrap_or_default()
    }

    /// When the pause of all calls ends, if a throttled response caused one; of several keys, the last one.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        let mut latest = None;
        self.with_each(|gates, now| latest = latest.max(gates.paused_until(now)));
        latest
    }

    /// The concurrency limit, if there is one. `None` on a handle on several keys.
    #[must_use]
    pub fn concurrency(&self) -> Option<ConcurrencySnapshot> {
        self.snapshot()?.concurrency().copied()
    }

    /// The state and counts of the circuit. `None` on a handle on several keys.
    #[must_use]
    pub fn circuit(&self) -> Option<CircuitSnapshot> {
        self.with(|gates, now| gates.circuit.snapshot(now))
    }

    /// Watches the state of the circuit. A receiver sees the latest state, not every one in between: an
    /// [observer](crate::EndpointLayer::observer) sees each of them. A key whose circuit is watched is not evicted.
    /// `None` on a handle on several keys.
    #[must_use]
    pub fn watch_circuit(&self) -> Option<watch::Receiver<CircuitState>> {
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
        self.with_each(|gates, now| gates.switch(&change, now));
    }
}
