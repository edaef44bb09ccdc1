//! The configuration of an endpoint.

use std::sync::Arc;

use aplomb_admission::{Entries, ErasedKey, KeyBy};
use aplomb_core::{Observe, WallClock};
use aplomb_provider::{Correction, Provider};
use aplomb_rate_limit::{Quota, Settle};

use super::gates::EndpointGates;
use super::hook::RequestHook;
use super::judge::JudgeFn;
use super::tenants::Tenants;

/// The configuration besides the policy. It does not change while calls run.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) clock: WallClock,
    /// `None` logs events.
    pub(super) observer: Option<Arc<dyn Observe + Send + Sync>>,
    pub(super) hook: Option<Arc<dyn RequestHook>>,
    pub(super) judge: Option<Arc<JudgeFn>>,
    /// Says which key a call has, if each has gates of its own.
    pub(super) key_by: Option<KeyBy>,
    pub(super) quotas_of: Option<Arc<QuotasOf>>,
    pub(super) tenants: Option<Tenants>,
    pub(super) max_keys: usize,
}

/// The quotas of a key; `None` if it has those of the policy.
pub(super) type QuotasOf = dyn Fn(&dyn ErasedKey) -> Option<Vec<Quota>> + Send + Sync;

impl Settings {
    pub(super) fn new(provider: Arc<dyn Provider>) -> Self {
        Self {
            provider,
            clock: WallClock::system(),
            observer: None,
            hook: None,
            judge: None,
            key_by: None,
            quotas_of: None,
            tenants: None,
            max_keys: Entries::<EndpointGates>::MAX_KEYS,
        }
    }

    /// How the provider settles quotas that do not say it themselves.
    pub(super) fn settle(&self) -> Settle {
        match self.provider.accounting().correction() {
            Correction::None => Settle::Keep,
            Correction::Both => Settle::Correct,
            _ => Settle::DebtOnly,
        }
    }
}
