//! The policy in force, and the gates that are made under it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aplomb_admission::ErasedKey;
use aplomb_circuit_breaker::CircuitSettings;
use aplomb_core::Account;
use aplomb_rate_limit::{Quota, Quotas, Settle};

use super::gates::{self, EndpointGates};
use super::state::QuotasOf;
use crate::Policy;

/// The policy in force. Shared with what makes the gates of a new key.
pub(super) struct PolicyInForce(RwLock<InForce>);

struct InForce {
    policy: Policy,
    /// The latest templates of the gates of keys.
    templates: Vec<Template>,
}

/// Unused quotas and the settings of a circuit. Keys with equal ones share them, so that they take less memory.
struct Template {
    /// `None` if they are the policy's.
    own: Option<Vec<Quota>>,
    one_credential: bool,
    quotas: Quotas,
    circuit: Arc<CircuitSettings>,
}

/// So many different lists of quotas are shared: a plan or tier each.
const MAX_TEMPLATES: usize = 32;

impl PolicyInForce {
    pub(super) fn new(policy: Policy) -> Arc<Self> {
        Arc::new(Self(RwLock::new(InForce { policy, templates: Vec::new() })))
    }

    /// A copy of the policy.
    pub(super) fn policy(&self) -> Policy {
        self.read().policy.clone()
    }

    /// Puts another policy in force, with the pool of this one, and returns it.
    pub(super) fn replace(&self, mut policy: Policy) -> Policy {
        let mut in_force = self.write();
        policy.pool = in_force.policy.pool.take();
        in_force.templates.clear();
        in_force.policy = policy.clone();
        policy
    }

    /// The gates of a new key.
    pub(super) fn gates(
        &self,
        key: &dyn ErasedKey,
        quotas_of: Option<&QuotasOf>,
        settle: Settle,
    ) -> EndpointGates {
        // Not under the lock: it is the user's code.
        let own = quotas_of.and_then(|quotas_of| quotas_of(key));
        let one_credential = has_one_credential(key);
        let (quotas, circuit, pool, concurrency) = {
            let mut in_force = self.write();
            let InForce { policy, templates } = &mut *in_force;
            let known = templates
                .iter()
                .position(|known| known.one_credential == one_credential && known.own == own);
            let index = known.unwrap_or_else(|| {
                if templates.len() == MAX_TEMPLATES {
                    templates.remove(0);
                }
                templates.push(Template::new(policy, own, one_credential, settle));
                templates.len() - 1
            });
            let template = &templates[index];
            let circuit = Arc::clone(&template.circuit);
            (template.quotas.fresh(), circuit, policy.pool.clone(), policy.concurrency)
        };
        EndpointGates::of(quotas, circuit, pool.as_ref(), concurrency)
    }

    fn read(&self) -> RwLockReadGuard<'_, InForce> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, InForce> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Template {
    fn new(policy: &Policy, own: Option<Vec<Quota>>, one_credential: bool, settle: Settle) -> Self {
        let quotas = gates::quotas(policy, own.as_ref().unwrap_or(&policy.quotas), settle);
        Self {
            quotas,
            circuit: Arc::new(gates::circuit(policy, one_credential)),
            own,
            one_credential,
        }
    }
}

/// Returns whether all calls of a key carry the same credential: those of an account do.
pub(super) fn has_one_credential(key: &dyn ErasedKey) -> bool {
    key.as_any().is::<Account>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[test]
    fn keys_with_equal_quotas_share_a_template_until_the_policy_changes() {
        fn per_minute(requests: u64) -> Quota {
            Quota::requests_per_minute(requests)
        }
        let in_force = PolicyInForce::new(Policy::new().quota(per_minute(1)));
        let quotas_of = |key: &dyn ErasedKey| {
            let key: u64 = *key.as_any().downcast_ref()?;
            (key > 0).then(|| vec![per_minute(1 + key % 2)])
        };
        let quota = |key: &u64| {
            let gates = in_force.gates(key, Some(&quotas_of), Settle::DebtOnly);
            gates.quotas.available(Instant::now()).next().map(|(quota, _)| quota)
        };
        for key in 0..10 {
            assert_eq!(quota(&key), Some(per_minute(if key > 0 { 1 + key % 2 } else { 1 })));
        }
        assert_eq!(in_force.read().templates.len(), 3, "the policy's, and two others");
        assert!(in_force.replace(Policy::new().quota(per_minute(7))).pool.is_none());
        assert_eq!((quota(&0), quota(&1)), (Some(per_minute(7)), Some(per_minute(2))));
        assert_eq!(in_force.read().templates.len(), 2);
    }
}
