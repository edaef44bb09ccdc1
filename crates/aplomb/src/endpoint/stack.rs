//! The layers that a call passes, derived from the settings and the policy in force.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aplomb_admission::{Admission, AdmissionConfig, Entries};
use aplomb_core::{CallOptions, Copied, RequestHead};
use aplomb_rate_limit::RateLimiter;
use aplomb_retry::{RetryLayer, Throttled};
use http_body::Body;
use tokio::time::Instant;

use super::admission::EndpointAdmission;
use super::attempt_request::AttemptRequest;
use super::body::UntilRead;
use super::calibration::Calibration;
use super::classifier::EndpointClassifier;
use super::connections::IdleConnections;
use super::estimate::{self, TokenLimits};
use super::future::EndpointFuture;
use super::gates::EndpointGates;
use super::in_progress::InProgress;
use super::inspect::Inspect;
use super::judge::Inspection;
use super::settings::Settings;
use super::tenants::TenantCharge;
use crate::context::CallContext;
use crate::{HttpClient, Policy, route};

/// The layers of an endpoint, ready for calls under one policy. Derived from the [`Settings`] and the policy.
pub(super) struct Stack {
    /// The version of the policy.
    pub(super) version: u64,
    retry: RetryLayer<Copied, EndpointClassifier>,
    admission: Arc<AdmissionConfig<EndpointAdmission, EndpointClassifier, UntilRead>>,
    inspection: Arc<Inspection>,
    include_usage: bool,
    limits: TokenLimits,
    tenants: Option<RateLimiter>,
    deadline: Option<Duration>,
}

/// The state that a stack is made around.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) entries: &'a Entries<EndpointGates>,
    pub(super) tenants: Option<&'a RateLimiter>,
    pub(super) calibration: &'a Arc<Calibration>,
}

impl Stack {
    pub(super) fn new(settings: &Settings, policy: &Policy, parts: Parts<'_>, version: u64) -> Arc<Self> {
        let Parts { entries, tenants, calibration } = parts;
        let Settings { provider, clock, observer, hook, judge, .. } = settings.clone();
        let classifier = EndpointClassifier::new(Arc::clone(&provider), clock.clone());
        let mut retry = RetryLayer::new()
            .classifier(classifier.clone())
            .max_retries(policy.max_retries)
            .max_retry_after(policy.max_retry_after)
            .backoff(policy.backoff)
            // The gates do the waiting while nobody gets through, for all calls at once.
            .throttled(Throttled::Requeue)
            .max_unanswered_retries(policy.max_unanswered_retries.unwrap_or(u32::MAX))
            .max_paced(policy.longest_wait());
        if let Some(observer) = observer.clone() {
            retry = retry.observer(observer);
        }
        // It becomes the deadline in the call's options.
        if let Some(deadline) = policy.effective_deadline() {
            retry = retry.max_elapsed(deadline);
        }
        if let Some(budget) = &policy.budget {
            retry = retry.budget(budget.clone());
        }
        if let Some(seed) = policy.seed {
            retry = retry.random_seed(seed);
        }
        let timeouts = policy.timeouts();
        let hook = hook.map(|hook| (hook, timeouts.head));
        let admission = EndpointAdmission { entries: entries.clone(), hook, observer };
        let inspection = Inspection {
            provider,
            clock,
            timeouts: Arc::new(timeouts),
            calibration: Arc::clone(calibration),
            look_ahead: policy.effective_look_ahead(),
            whole_answers: policy.whole_answers,
            judge,
            connections: IdleConnections::new(),
            empty_answers: policy.retry_empty_answers,
        };
        Arc::new(Self {
            version,
            retry,
            admission: Arc::new(AdmissionConfig::new(admission, classifier, UntilRead)),
            inspection: Arc::new(inspection),
            include_usage: policy.include_usage,
            limits: TokenLimits::of(policy),
            tenants: tenants.cloned(),
            deadline: policy.effective_deadline(),
        })
    }

    /// Begins a call. Its future is built in place: it is large, and each move of it costs.
    #[inline]
    pub(super) fn call<S, A>(
        &self,
        client: S,
        mut request: http::Request<A>,
        mut in_progress: InProgress,
    ) -> EndpointFuture<S, A>
    where
        S: HttpClient<A>,
        A: Body + Clone + 'static,
    {
        let provider = &*self.inspection.provider;
        let (now, options) = (Instant::now(), request.call_options());
        if self.include_usage {
            estimate::include_usage(&mut request, provider);
        }
        let cost = estimate::charge(&request, provider, &self.inspection.calibration, self.limits);
        let call = CallContext::new(provider.name(), now, options, cost);
        if let Some(tenants) = &self.tenants {
            in_progress.tenant = Some(Box::new(self.tenant_charge(tenants, &request, call.clone())));
        }
        let inspect = Inspect::new(client, Arc::clone(&self.inspection));
        let admission = Admission::new(inspect, Arc::clone(&self.admission));
        let attempt = AttemptRequest { request, call: call.clone() };
        EndpointFuture::new(self.retry.call(admission, attempt), call, in_progress)
    }

    /// The call waits for the quotas of its tenant first, within its deadline.
    #[cold]
    fn tenant_charge<A: Body + Clone + 'static>(
        &self,
        tenants: &RateLimiter,
        request: &http::Request<A>,
        call: CallContext,
    ) -> TenantCharge {
        let options = call.options().or_else(CallOptions::current).unwrap_or_default();
        let options = match self.deadline {
            Some(deadline) => options.with_deadline(call.began() + deadline),
            None => options,
        };
        TenantCharge::new(tenants, || route::view(request), options, call)
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("version", &self.version).finish_non_exhaustive()
    }
}
