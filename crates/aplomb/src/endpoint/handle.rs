//! Looking at an endpoint, and switching it.

use std::ops::Deref;
use std::sync::Arc;

use aplomb_admission::{Closing, Queue};
use aplomb_circuit_breaker::{CircuitSnapshot, CircuitState, StateWatch};
use aplomb_concurrency::ConcurrencySnapshot;
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
    watch: StateWatch,
}

impl EndpointHandle {
    pub(super) const fn new(gates: GatesHandle, state: Arc<EndpointState>, watch: StateWatch) -> Self {
        Self { gates, state, watch }
    }

    /// The policy in force.
    pub fn policy(&self) -> Policy {
        self.state.policy()
    }

    /// Puts another policy in force, also for services that have been made.
    ///
    /// Calls that have begun go on under the old one, but for the gates, which are the same for all: quotas
    /// keep their levels, the concurrency limit what is in flight and what it has learned, the circuit its state and
    /// its counts. Calls that wait in the queue keep the limits they came under. The pool of the policy that the
    /// endpoint was made with stays.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if it contradicts itself; then nothing changes.
    pub fn set_policy(&self, policy: Policy) -> Result<(), InvalidPolicy> {
        self.state.set_policy(policy)
    }

    /// The state of the circuit, to be watched: the latest, not each on the way.
    #[must_use]
    pub fn watch_circuit(&self) -> watch::Receiver<CircuitState> {
        self.watch.watch()
    }

    /// Refuses new calls from now on; those who wait are served or refused, as `closing` says, and so are the
    /// retries of calls that have begun. Attempts that are under way end as they would have.
    pub fn close(&self, closing: Closing) {
        self.state.close(closing);
    }

    /// Waits until no call is under way, the bodies of responses included. For after
    /// [`close`](Self::close): while new calls come it may never end. Dropping the future changes nothing.
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

/// A handle on one queue and its gates: those of an endpoint, or of one key.
///
/// Clones are handles on the same gates.
#[derive(Clone, Debug)]
pub struct GatesHandle {
    queue: Queue<EndpointGates>,
}

impl GatesHandle {
    pub(super) const fn new(queue: Queue<EndpointGates>) -> Self {
        Self { queue }
    }

    /// How many calls wait in the queue.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// How many calls have been admitted and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.queue.with(|gates, _| gates.quotas.in_flight())
    }

    /// What was learned of the server's limits: those it told of in the heads of its responses, and the rate
    /// found where it tells of none. For a later run that shall not start blind.
    pub fn learned(&self) -> Learned {
        self.queue.with(|gates, _| gates.quotas.learned())
    }

    /// Starts with what was learned in an earlier run. What is configured goes before it, and what the
    /// server says from now on as well.
    pub fn remember(&self, learned: &Learned) {
        self.queue.with(|gates, now| gates.quotas.remember(learned, now));
    }

    /// What each quota has left, those that were learned included; negative where it is in debt.
    #[must_use]
    pub fn available(&self) -> Vec<(Quota, i64)> {
        self.queue.with(|gates, now| gates.quotas.available(now).collect())
    }

    /// Until when a throttled response pauses every call, if one does.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        self.queue.with(|gates, now| gates.quotas.paused_until(now))
    }

    /// How the concurrency limit stands, where there is one.
    #[must_use]
    pub fn concurrency(&self) -> Option<ConcurrencySnapshot> {
        let waiting = self.queue.waiting();
        self.queue.with(|gates, now| gates.limited().map(|slots| slots.snapshot(waiting, now)))
    }

    /// How the circuit stands.
    #[must_use]
    pub fn circuit(&self) -> CircuitSnapshot {
        self.queue.with(|gates, now| gates.circuit.snapshot(now))
    }

    /// Opens the circuit now, as a failure would that opens it: for a cooldown, after which probes
    /// decide.
    pub fn force_open(&self) {
        self.queue.with(|gates, now| gates.circuit.force_open(now));
    }

    /// Closes the circuit now for everybody, and begins to count anew.
    pub fn force_closed(&self) {
        self.queue.with(|gates, now| gates.circuit.force_closed(now));
    }

    /// Lets nothing pass, until the circuit is reset or switched otherwise. Calls that wait are refused.
    pub fn isolate(&self) {
        self.queue.with(|gates, now| gates.circuit.isolate(now));
    }

    /// Lets the circuit pass everything and count nothing, until it is reset or switched otherwise.
    pub fn disable(&self) {
        self.queue.with(|gates, now| gates.circuit.disable(now));
    }

    /// Closes the circuit and forgets everything, how often it has opened included.
    pub fn reset(&self) {
        self.queue.with(|gates, now| gates.circuit.reset(now));
    }
}
