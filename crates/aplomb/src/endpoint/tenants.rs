//! The quotas of tenants, in front of everything that concerns the account.

use std::fmt;
use std::hash::Hash;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aplomb_core::{BoxError, CallOptions, Kind, Observe, Outcome, RequestView};
use aplomb_rate_limit::{Quota, RateLimitLayer, RateLimitPermit, RateLimited, RateLimiter};

use crate::Policy;
use crate::context::CallContext;

/// Which tenant a call belongs to, and the quotas that a tenant has.
///
/// The quotas are charged once for a call, before its first attempt: what the attempts need of the account is the business of
/// the gates.
#[derive(Clone)]
pub(super) struct Tenants(Arc<MakeLimiter>);

type MakeLimiter = dyn Fn(RateLimitLayer) -> RateLimiter + Send + Sync;

impl Tenants {
    pub(super) fn new<K, I>(
        tenant_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
        quotas_of: impl Fn(&K) -> I + Send + Sync + 'static,
    ) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        I: IntoIterator<Item = Quota>,
    {
        let (tenant_of, quotas_of) = (Arc::new(tenant_of), Arc::new(quotas_of));
        Self(Arc::new(move |layer| {
            let (tenant_of, quotas_of) = (Arc::clone(&tenant_of), Arc::clone(&quotas_of));
            layer
                .by_key_with(move |view: &RequestView<'_>| tenant_of(view), move |key: &K| quotas_of(key))
                .limiter()
        }))
    }

    /// The quotas of all tenants of an endpoint, full.
    pub(super) fn limiter(
        &self,
        policy: &Policy,
        max_tenants: usize,
        observer: Option<Arc<dyn Observe + Send + Sync>>,
    ) -> RateLimiter {
        let layer = RateLimitLayer::inbound([]).max_keys(max_tenants).max_wait(policy.longest_wait());
        let layer = policy.max_waiting.map_or(layer.clone(), |calls| layer.max_waiting(calls));
        match observer {
            Some(observer) => (self.0)(layer.observer(observer)),
            None => (self.0)(layer),
        }
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tenants")
    }
}

/// The charge of one call to its tenant.
///
/// Dropped with the call: a call that was never sent is not charged, and one that was is charged what it used.
pub(super) struct TenantCharge {
    call: CallContext,
    stage: Stage,
}

enum Stage {
    Waiting(Pin<Box<dyn Future<Output = Result<RateLimitPermit, RateLimited>> + Send + Sync>>),
    Admitted(RateLimitPermit),
    Ended,
}

impl TenantCharge {
    pub(super) fn new<'r>(
        limiter: &RateLimiter,
        view: impl FnOnce() -> RequestView<'r>,
        options: CallOptions,
        call: CallContext,
    ) -> Self {
        let waiting = Box::pin(limiter.acquire_viewed(view, call.charge().clone(), options));
        Self { call, stage: Stage::Waiting(waiting) }
    }

    /// Waits until the quotas of the tenant have enough.
    pub(super) fn poll_admitted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if let Stage::Waiting(waiting) = &mut self.stage {
            self.stage = match ready!(waiting.as_mut().poll(cx)) {
                Ok(permit) => Stage::Admitted(permit),
                Err(limited) => {
                    self.stage = Stage::Ended;
                    return Poll::Ready(Err(limited.into()));
                }
            };
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for TenantCharge {
    fn drop(&mut self) {
        let Stage::Admitted(mut permit) = mem::replace(&mut self.stage, Stage::Ended) else {
            return;
        };
        let was_sent = self.call.sent() > 0;
        if !was_sent {
            return;
        }
        permit.sent();
        match self.call.last_result(|result| (result.result().outcome(), result.usage())) {
            Some((outcome, usage)) if outcome.kind() != Kind::Local => permit.end_judged(outcome, usage),
            Some((_, usage)) => permit.end_judged(Outcome::transient(), usage),
            // Dropped while it was unanswered: it stays charged.
            None => drop(permit),
        }
    }
}

impl fmt::Debug for TenantCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Waiting(_) => "TenantCharge(waiting)",
            Stage::Admitted(_) => "TenantCharge(admitted)",
            Stage::Ended => "TenantCharge(ended)",
        })
    }
}
