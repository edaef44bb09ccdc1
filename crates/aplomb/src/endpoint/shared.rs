//! What all services of a layer share, and what can be changed while they run.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use aplomb_core::{Closing, Dimension, Reading};
use aplomb_rate_limit::Quota;
use tokio::sync::watch;

use super::calibration::Calibration;
use super::gates::Queues;
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
    tokens: Arc<TokensCount>,
    calibration: Arc<Calibration>,
    /// Every call holds a receiver until it has ended.
    calls: watch::Sender<()>,
}

/// A call that has not ended.
pub(super) type Running = watch::Receiver<()>;

impl Shared {
    pub(super) fn new(live: Arc<Live>, queues: Queues) -> Arc<Self> {
        let tokens = TokensCount::new(&live.read().policy);
        let version = AtomicU64::new(live.read().version);
        Arc::new(Self {
            live,
            changing: Mutex::new(()),
            version,
            queues,
            tokens: Arc::new(tokens),
            calibration: Arc::new(Calibration::new()),
            calls: watch::Sender::new(()),
        })
    }

    pub(super) const fn queues(&self) -> &Queues {
        &self.queues
    }

    pub(super) const fn tokens(&self) -> &Arc<TokensCount> {
        &self.tokens
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
        if TokensCount::new(&policy).is_set() {
            self.tokens.set();
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let InForce { policy, version } = {
            let mut in_force = self.live.0.write().unwrap_or_else(PoisonError::into_inner);
            let pool = in_force.policy.pool.take();
            in_force.policy = Policy { pool, ..policy };
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

/// Whether some quota counts tokens, so that it is worth estimating what a request comes to: one that is
/// configured, or one that the server has told of.
#[derive(Debug, Default)]
pub(super) struct TokensCount(AtomicBool);

impl TokensCount {
    fn new(policy: &Policy) -> Self {
        let counts = |quota: &Quota| quota.dimension() != Dimension::REQUESTS;
        // What a pool counts may change while it is in use.
        let counts = policy.pool.is_some() || policy.quotas.iter().any(counts);
        Self(AtomicBool::new(counts))
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Takes note of what the server tells of its limits.
    pub(super) fn heard(&self, readings: &[Reading]) {
        if !self.is_set() && readings.iter().any(|reading| reading.dimension() != Dimension::REQUESTS) {
            self.set();
        }
    }
}
