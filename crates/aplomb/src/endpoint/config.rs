//! What a call goes through, made ready for all calls.

use std::fmt;
use std::sync::Arc;

use aplomb_admission::AdmissionConfig;
use aplomb_core::{Copied, Observe, WallClock};
use aplomb_provider::{Correction, Provider};
use aplomb_rate_limit::Settle;
use aplomb_retry::{RetryLayer, Throttled};

use super::door::EndpointDoor;
use super::inspect::{Judge, Reading};
use super::sent::Room;
use super::shared::{InForce, Shared};
use super::{EndpointClassifier, RequestHook, UntilRead};

/// The retry of an endpoint.
pub(super) type Retries = RetryLayer<Copied, EndpointClassifier>;

/// How calls pass the gates.
pub(super) type Passage = AdmissionConfig<EndpointDoor, EndpointClassifier, UntilRead>;

/// What is set apart from the policy.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) clock: WallClock,
    /// `None` logs events.
    pub(super) observer: Option<Arc<dyn Observe + Send + Sync>>,
    pub(super) hook: Option<Arc<dyn RequestHook>>,
    pub(super) judge: Option<Arc<Judge>>,
}

/// What all calls under one policy go through.
pub(super) struct Setup {
    /// Which policy it was made of.
    pub(super) version: u64,
    pub(super) retries: Retries,
    pub(super) passage: Arc<Passage>,
    pub(super) reading: Arc<Reading>,
    pub(super) include_usage: bool,
    pub(super) room: Room,
}

impl Config {
    pub(super) fn new(provider: Arc<dyn Provider>) -> Self {
        Self { provider, clock: WallClock::system(), observer: None, hook: None, judge: None }
    }

    /// How the provider settles what quotas do not say themselves.
    pub(super) fn settle(&self) -> Settle {
        match self.provider.accounting().correction() {
            Correction::None => Settle::Keep,
            Correction::Both => Settle::Correct,
            _ => Settle::DebtOnly,
        }
    }

    /// Makes everything ready for the policy that is in force.
    pub(super) fn set_up(&self, shared: &Shared) -> Arc<Setup> {
        let InForce { policy, version } = shared.live();
        let Self { provider, clock, observer, hook, judge } = self.clone();
        let classifier = EndpointClassifier::new(Arc::clone(&provider), clock.clone());
        let mut retries = RetryLayer::new()
            .classifier(classifier.clone())
            .max_retries(policy.max_retries)
            .max_retry_after(policy.max_retry_after)
            .backoff(policy.backoff)
            // The pause of the quotas does the waiting, for all calls at once.
            .throttled(Throttled::Requeue);
        if let Some(observer) = observer {
            retries = retries.observer(observer);
        }
        // Each attempt is told the deadline, which the future of the call keeps.
        if let Some(deadline) = policy.ends_after() {
            retries = retries.max_elapsed(deadline);
        }
        if let Some(budget) = &policy.budget {
            retries = retries.budget(budget.clone());
        }
        if let Some(seed) = policy.seed {
            retries = retries.random_seed(seed);
        }
        let reading = Reading {
            classifier: classifier.clone(),
            provider,
            clock,
            timeouts: policy.timeouts(),
            calibration: Arc::clone(shared.calibration()),
            look_ahead: policy.looks_ahead(),
            whole_answers: policy.whole_answers,
            judge,
        };
        let hook = hook.map(|hook| (hook, reading.timeouts.head));
        let door = EndpointDoor { queues: shared.queues().clone(), hook };
        Arc::new(Setup {
            version,
            retries,
            passage: Arc::new(AdmissionConfig::new(door, classifier, UntilRead)),
            reading: Arc::new(reading),
            include_usage: policy.include_usage,
            room: Room::of(&policy),
        })
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("version", &self.version).finish_non_exhaustive()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("provider", &self.provider).finish_non_exhaustive()
    }
}
