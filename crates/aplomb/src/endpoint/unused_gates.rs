//! Gates that no call has used yet, as a policy sets them.

use std::collections::VecDeque;
use std::sync::Arc;

use aplomb_admission::server::{Server, ServerSettings};
use aplomb_circuit_breaker::{Circuit, CircuitSettings, Trip};
use aplomb_concurrency::{Limit, Slots};
use aplomb_rate_limit::{Pool, Quota, Quotas, Settle};
use tokio::time::Instant;

use super::gates::EndpointGates;
use crate::Policy;

/// Unused gates, by the settings that do not change with every key: keys with equal ones share those of their quotas and of
/// their circuit, so that they take less memory.
#[derive(Clone)]
pub(super) struct UnusedGates {
    quotas: Quotas,
    circuit: Arc<CircuitSettings>,
    server: ServerSettings,
    pool: Option<Pool>,
    concurrency: Option<Limit>,
    own_recovery: bool,
}

impl UnusedGates {
    /// Gates under a policy, with these quotas; `one_credential` if all calls carry the same one.
    pub(super) fn new(policy: &Policy, configured: &[Quota], one_credential: bool, settle: Settle) -> Self {
        let now = Instant::now();
        let mut quotas = Quotas::new(configured.iter().copied());
        if let Some(seed) = policy.seed {
            quotas.set_seed(seed, now);
        }
        quotas.set_max_pause(policy.max_retry_after, now);
        quotas.set_settle(settle);
        // With a pool, what the server says is about the pool, which learns it for all its members.
        quotas.set_learning(policy.pool.is_none(), now);
        quotas.set_pausing(false);
        Self {
            quotas,
            circuit: Arc::new(circuit(policy, one_credential)),
            server: server(policy, one_credential),
            pool: policy.pool.clone(),
            concurrency: policy.concurrency,
            own_recovery: policy.own_recovery,
        }
    }

    /// The gates of a key, or of all calls.
    pub(super) fn gates(self) -> EndpointGates {
        EndpointGates {
            server: Server::new(self.server),
            circuit: Circuit::new(self.circuit),
            quotas: self.quotas.fresh(),
            pool: self.pool.as_ref().map(Pool::member),
            concurrency: self.concurrency.map(Slots::new),
            events: VecDeque::new(),
            own_recovery: self.own_recovery,
        }
    }
}

/// A pool does not refuse all callers a wait that this endpoint would accept.
pub(super) fn raise_max_pause(policy: &Policy) {
    if let Some(pool) = &policy.pool {
        pool.raise_max_pause(policy.max_retry_after);
    }
}

fn trip(policy: &Policy, one_credential: bool) -> Trip {
    let trip = policy.trip.clone();
    if one_credential {
        trip.one_credential()
    } else {
        trip
    }
}

/// The settings of the circuit under a policy; `one_credential` if all its calls carry the same one.
pub(super) fn circuit(policy: &Policy, one_credential: bool) -> CircuitSettings {
    let trip = trip(policy, one_credential);
    let settings = CircuitSettings::new()
        .trip(trip.following().unwrap_or(trip))
        .cooldown(policy.cooldown)
        .ramp(policy.ramp)
        .on_open(policy.on_open);
    match policy.seed {
        Some(seed) => settings.seed(seed),
        None => settings,
    }
}

/// The brakes that the policy leaves to the server: those for which it has none of its own.
pub(super) fn server(policy: &Policy, one_credential: bool) -> ServerSettings {
    let settings = ServerSettings::new()
        .failures(trip(policy, one_credential).following().is_some())
        // The server's rate is about the pool.
        .throttles(policy.pool.is_none())
        .places(policy.concurrency.is_none())
        .spread(policy.concurrency.is_none())
        .max_pause(policy.max_retry_after);
    match policy.seed {
        Some(seed) => settings.seed(seed),
        None => settings,
    }
}
