//! The policy in force, and the gates that are made under it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aplomb_admission::ErasedKey;
use aplomb_core::Account;
use aplomb_rate_limit::{Quota, Settle};

use super::gates::EndpointGates;
use super::settings::QuotasOf;
use super::unused_gates::UnusedGates;
use crate::Policy;

/// The policy in force. Shared with what makes the gates of a new key.
pub(super) struct PolicyInForce(RwLock<InForce>);

struct InForce {
    policy: Policy,
    /// The latest templates of the gates of keys.
    templates: Vec<Template>,
}

/// The gates that new keys with these quotas get.
struct Template {
    /// `None` if they are the policy's.
    own: Option<Vec<Quota>>,
    one_credential: bool,
    gates: UnusedGates,
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

    /// The gates of a new key, or of all calls.
    pub(super) fn gates(
        &self,
        key: Option<&dyn ErasedKey>,
        quotas_of: Option<&QuotasOf>,
        settle: Settle,
    ) -> EndpointGates {
        // Not under the lock: it is the user's code.
        let own = quotas_of.zip(key).and_then(|(quotas_of, key)| quotas_of(key));
        let one_credential = key.is_some_and(has_one_credential);
        let unused = {
            let mut in_force = self.write();
            let InForce { policy, templates } = &mut *in_force;
            let is_known = |known: &Template| known.one_credential == one_credential && known.own == own;
            let index = templates.iter().position(is_known).unwrap_or_else(|| {
                if templates.len() == MAX_TEMPLATES {
                    templates.remove(0);
                }
                let quotas = own.as_ref().unwrap_or(&policy.quotas);
                let gates = UnusedGates::new(policy, quotas, one_credential, settle);
                templates.push(Template { own, one_credential, gates });
                templates.len() - 1
            });
            templates[index].gates.clone()
        };
        unused.gates()
    }

    fn read(&self) -> RwLockReadGuard<'_, InForce> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, InForce> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
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
            let gates = in_force.gates(Some(key), Some(&quotas_of), Settle::DebtOnly);
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
