//! The state of a layer: its queues, and the calls they reject.

use std::fmt;
use std::sync::Arc;

use aplomb_admission::{Entries, ErasedKey, LayerState, Queue, Rejected};
use aplomb_core::{CallOptions, Event, KeyLabel, notify, notify_rejected};
use tokio::time::Instant;

use crate::config::{Config, Keys, Observer};
use crate::limiter_gate::LimiterGate;
use crate::template::Template;
use crate::{Charge, Quota, Quotas, RateLimitReason, RateLimited};

/// The queues of a layer, each before its quotas: one, or one for each key. Clones share them.
#[derive(Clone)]
pub struct RateLimits {
    entries: Entries<LimiterGate>,
    /// Makes the gates of new keys, if there are keys.
    template: Option<Arc<Template>>,
    observer: Observer,
    /// A retry costs no further request.
    charges_calls: bool,
}

impl LayerState for RateLimits {
    type Config = Config;
    type Gate = LimiterGate;
    type Error = RateLimited;

    fn new(config: &Config) -> Self {
        let observer = Arc::clone(&config.observer);
        let report = {
            let observer = Arc::clone(&observer);
            move |event: &Event, key: Option<&KeyLabel>| match key {
                None => notify(&*observer, event),
                Some(_) => notify(&*observer, &event.clone().with_key(key.cloned())),
            }
        };
        let Some(Keys { by, quotas_of }) = config.keys.clone() else {
            let entries = Entries::one(config.gate(), config.limits, report);
            return Self { entries, template: None, observer, charges_calls: config.inbound };
        };
        let template = Arc::new(Template::new(config, quotas_of));
        let make = {
            let template = Arc::clone(&template);
            move |key: &dyn ErasedKey| template.gate(key)
        };
        let entries = Entries::keyed(by, config.max_keys, config.limits, make, report);
        Self { entries, template: Some(template), observer, charges_calls: config.inbound }
    }

    fn of_key(&self, queue: Queue<LimiterGate>) -> Self {
        Self {
            entries: Entries::of(queue),
            template: None,
            observer: Arc::clone(&self.observer),
            charges_calls: self.charges_calls,
        }
    }

    #[inline]
    fn entries(&self) -> &Entries<LimiterGate> {
        &self.entries
    }

    fn rejection(
        &self,
        rejected: &Rejected<RateLimitReason>,
        key: Option<KeyLabel>,
        options: &CallOptions,
    ) -> RateLimited {
        let error = RateLimited::new(rejected, options).with_key(key);
        notify_rejected(&*self.observer, || error.event());
        error
    }
}

impl RateLimits {
    /// The cost of a call, or of a further attempt of one.
    #[inline]
    pub(crate) fn cost(&self, charge: Charge, options: &CallOptions) -> Charge {
        if self.charges_calls && options.attempts() > 0 {
            charge.requests(0)
        } else {
            charge
        }
    }

    /// Changes the quotas of all keys, and of those to come.
    pub(crate) fn change(&self, change: impl Fn(&mut Quotas, Instant)) {
        if let Some(template) = &self.template {
            template.change(|quotas| change(quotas, Instant::now()));
        }
        self.change_gates(change);
    }

    /// Replaces the quotas of all keys, and of those to come.
    pub(crate) fn set_quotas(&self, configured: &[Quota]) {
        if let Some(template) = &self.template {
            template.set_quotas(configured);
        }
        self.change_gates(|quotas, now| quotas.set_quotas(configured.iter().copied(), now));
    }

    fn change_gates(&self, change: impl Fn(&mut Quotas, Instant)) {
        self.entries.for_each_gate(|_, queue| queue.with(|gate, now| gate.quotas(now, &change)));
    }
}

impl fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimits").field("entries", &self.entries).finish_non_exhaustive()
    }
}
