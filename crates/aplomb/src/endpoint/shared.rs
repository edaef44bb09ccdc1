//! What all services of a layer share, and what can be changed while they run.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use aplomb_admission::Closing;
use tokio::sync::watch;

use super::calibration::Calibration;
use super::door::Queues;
use crate::{InvalidPolicy, Policy};

/// The policy in force, and which one in a row it is.
pub(super) struct Live(RwLock<InForce>);

#[derive(Clone)]
pub(super) struct InForce {
    pub(super) policy: Policy,
    pub(super) version: u64,
}

impl Live {
    pub(super) fn new(policy: Policy) -> Arc<Self> {
        Arc::new(Self(RwLock::new(InForce { policy, version: 0 })))
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, InForce> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all services of a layer share.
pub(super) struct Shared {
    live: Arc<Live>,
    /// Held by who changes the policy: one after the other.
    changing: Mutex<()>,
    /// That of the policy in force, to be seen without a lock.
    version: AtomicU64,
    queues: Queues,
    calibration: Arc<Calibration>,
    /// Every call holds a receiver until it has ended.
    calls: watch::Sender<()>,
}

/// A call that has not ended.
pub(super) type Running = watch::Receiver<()>;

impl Shared {
    pub(super) fn new(live: Arc<Live>, queues: Queues) -> Arc<Self> {
        let version = AtomicU64::new(live.read().version);
        Arc::new(Self {
            live,
            changing: Mutex::new(()),
            version,
            queues,
            calibration: Arc::new(Calibration::new()),
            calls: watch::Sender::new(()),
        })
    }

    pub(super) const fn queues(&self) -> &Queues {
        &self.queues
    }

    pub(super) const fn calibration(&self) -> &Arc<Calibration> {
        &self.calibration
    }

    pub(super) fn live(&self) -> InForce {
        self.live.read().clone()
    }

    /// Which policy is in force.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn policy(&self) -> Policy {
        self.live.read().policy.clone()
    }

    pub(super) fn set_policy(&self, policy: Policy) -> Result<(), InvalidPolicy> {
        policy.validate()?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let InForce { policy, version } = {
            let mut in_force = self.live.0.write().unwrap_or_else(PoisonError::into_inner);
            let pool = in_force.policy.pool.take();
            in_force.policy = policy;
            in_force.policy.pool = pool;
            in_force.version += 1;
            in_force.clone()
        };
        self.queues.adopt(&policy);
        self.version.store(version, Ordering::Release);
        Ok(())
    }

    pub(super) fn close(&self, closing: Closing) {
        self.queues.close(closing);
    }

    /// A call begins.
    pub(super) fn begin(&self) -> Running {
        self.calls.subscribe()
    }

    pub(super) async fn drained(&self) {
        self.calls.closed().await;
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("queues", &self.queues).finish_non_exhaustive()
    }
}
