//! A call that has not ended.

use tokio::sync::watch;

use super::tenants::TenantCharge;

/// Held by a call that has not ended.
pub(super) struct InProgress {
    _call: watch::Receiver<()>,
    /// The call's charge on its tenant. In a box, since few endpoints have tenants, and this moves with the response.
    pub(super) tenant: Option<Box<TenantCharge>>,
}

impl InProgress {
    pub(super) const fn new(call: watch::Receiver<()>) -> Self {
        Self { _call: call, tenant: None }
    }
}
