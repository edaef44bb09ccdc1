//! The state of an endpoint, shared by its layer, its handles and its services.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aplomb_admission::{Closing, Entries};
use aplomb_rate_limit::RateLimiter;
use http_body::Body;
use tokio::sync::watch;

use super::admission;
use super::calibration::Calibration;
use super::future::EndpointFuture;
use super::gates::EndpointGates;
use super::in_force::PolicyInForce;
use super::in_progress::InProgress;
use super::settings::Settings;
use super::stack::{Parts, Stack};
use crate::{HttpClient, InvalidPolicy, Policy};

/// The state of an endpoint: the policy in force, the queues with their gates, and the stack that is derived from
/// the settings and the policy.
pub(crate) struct EndpointState {
    settings: Settings,
    policy: Arc<PolicyInForce>,
    entries: Entries<EndpointGates>,
    /// The quotas of all tenants, if they have some of their own.
    tenants: Option<RateLimiter>,
    calibration: Arc<Calibration>,
    stack: RwLock<Arc<Stack>>,
    /// The version of the stack, readable without a lock.
    version: AtomicU64,
    /// Locked while the policy is changed.
    changing: Mutex<()>,
    /// Each call holds a receiver until it has ended.
    calls: watch::Sender<()>,
}

impl EndpointState {
    pub(super) fn new(settings: Settings, policy: Policy) -> Arc<Self> {
        let policy = PolicyInForce::new(policy);
        let entries = admission::entries(&settings, &policy);
        let tenants = settings
            .tenants
            .as_ref()
            .map(|tenants| tenants.limiter(&policy.policy(), settings.max_keys, settings.observer.clone()));
        let calibration = Arc::new(Calibration::new());
        let parts = Parts { entries: &entries, tenants: tenants.as_ref(), calibration: &calibration };
        let stack = Stack::new(&settings, &policy.policy(), parts, 0);
        Arc::new(Self {
            settings,
            policy,
            entries,
            tenants,
            calibration,
            stack: RwLock::new(stack),
            version: AtomicU64::new(0),
            changing: Mutex::new(()),
            calls: watch::Sender::new(()),
        })
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) const fn entries(&self) -> &Entries<EndpointGates> {
        &self.entries
    }

    pub(super) const fn tenants(&self) -> Option<&RateLimiter> {
        self.tenants.as_ref()
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy.policy()
    }

    pub(super) fn set_policy(&self, policy: Policy) -> Result<(), InvalidPolicy> {
        policy.validate()?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = self.policy.replace(policy);
        admission::adopt(&self.entries, &policy, &self.settings);
        let version = self.version() + 1;
        if let Some(tenants) = &self.tenants {
            tenants.set_max_wait(policy.longest_wait());
        }
        let Self { entries, calibration, .. } = self;
        let parts = Parts { entries, tenants: self.tenants.as_ref(), calibration };
        let stack = Stack::new(&self.settings, &policy, parts, version);
        *self.stack.write().unwrap_or_else(PoisonError::into_inner) = stack;
        self.version.store(version, Ordering::Release);
        Ok(())
    }

    /// The version of the policy in force.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The stack for the policy in force.
    pub(super) fn stack(&self) -> Arc<Stack> {
        Arc::clone(&self.stack.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins a call with any client.
    pub(crate) fn call<S, A>(&self, client: S, request: http::Request<A>) -> EndpointFuture<S, A>
    where
        S: HttpClient<A>,
        A: Body + Clone + 'static,
    {
        self.stack().call(client, request, self.in_progress())
    }

    /// A call begins.
    pub(super) fn in_progress(&self) -> InProgress {
        InProgress::new(self.calls.subscribe())
    }

    /// Rejects new calls from now on.
    pub(crate) fn close(&self, closing: Closing) {
        if let Some(tenants) = &self.tenants {
            tenants.close(closing);
        }
        self.entries.close(closing);
    }

    /// Waits until no call is in progress.
    pub(crate) async fn drained(&self) {
        self.calls.closed().await;
    }
}

impl fmt::Debug for EndpointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointState")
            .field("provider", &self.settings.provider)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}
