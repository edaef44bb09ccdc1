//! Everything that is decided about a request as it arrives, in one step under one short lock.

use tokio::time::Instant;

use crate::Fault;
use crate::api::Problem;
use crate::ask::Ask;
use crate::bucket::Bucket;
use crate::config::{Config, PerMinute};
use crate::in_flight::End;
use crate::limit::{Levels, Limits};
use crate::outage::{self, Outage};
use crate::prompts::Prompts;
use crate::stats::{PromptStats, Stats};

#[derive(Debug)]
pub(crate) struct Ledger {
    start: Instant,
    limits: Limits,
    prompts: Prompts,
    stats: Stats,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    Refused(Problem),
    Out(Outage),
    /// Accepted, as this attempt of its prompt, to suffer this fault.
    Accepted {
        attempt: u32,
        fault: Option<Fault>,
    },
}

impl Ledger {
    pub(crate) fn new(config: &Config) -> Self {
        let start = Instant::now();
        let bucket = |limit: &PerMinute| Some(Bucket::new(limit.limit?, limit.burst.or(limit.limit)?, start));
        let limits = Limits {
            requests: bucket(&config.requests),
            tokens: bucket(&config.tokens),
            refused_calls_count: config.refused_calls_count,
        };
        Self {
            start,
            limits,
            prompts: Prompts::new(config.tracked_prompts),
            stats: Stats::default(),
        }
    }

    /// Forgets everything but what is in flight.
    pub(crate) fn reset(&mut self, config: &Config) {
        let in_flight = self.stats.in_flight;
        *self = Self::new(config);
        self.stats.in_flight = in_flight;
        self.stats.max_in_flight = in_flight;
    }

    /// A request that makes sense arrives.
    pub(crate) fn arrive(&mut self, config: &Config, key: u64, ask: &Ask) -> (Verdict, Levels) {
        let now = Instant::now();
        self.prompts.arrive(key, now);
        let verdict = self.judge(config, key, ask, now);
        if !matches!(verdict, Verdict::Accepted { .. }) {
            self.prompts.fail(key);
        }
        (verdict, self.limits.levels())
    }

    fn judge(&mut self, config: &Config, key: u64, ask: &Ask, now: Instant) -> Verdict {
        if let Some(outage) = outage::at(&config.outages, now.saturating_duration_since(self.start)) {
            self.count_fault("outage");
            return Verdict::Out(outage);
        }
        if config.insufficient_quota_after.is_some_and(|most| self.stats.accepted >= most) {
            return Verdict::Refused(Problem::QuotaExhausted);
        }
        if config.max_in_flight.is_some_and(|most| self.stats.in_flight >= most) {
            return Verdict::Refused(Problem::Full);
        }
        if let Err(refusal) = self.limits.admit(ask.charge(config.answer_words), now) {
            return Verdict::Refused(Problem::Throttled(refusal, ask.model.clone()));
        }
        self.accept(config, key)
    }

    fn accept(&mut self, config: &Config, key: u64) -> Verdict {
        self.stats.accepted += 1;
        self.stats.in_flight += 1;
        self.stats.max_in_flight = self.stats.max_in_flight.max(self.stats.in_flight);
        let nth = self.stats.accepted;
        // A prompt that is not tracked gets the number of the request, so that its faults end too.
        let attempt = self.prompts.accept(key).unwrap_or_else(|| u32::try_from(nth).unwrap_or(u32::MAX));
        let fault = config.plan.deal(nth, key, attempt);
        if let Some(fault) = fault {
            self.count_fault(fault.name());
            // At once rather than at its end: a client gives a hang up before the mock sees it go.
            if !fault.spares_the_answer() {
                self.prompts.fail(key);
            }
        }
        Verdict::Accepted { attempt, fault }
    }

    /// A request in flight ends.
    pub(crate) fn end(&mut self, key: u64, end: End) {
        self.stats.in_flight = self.stats.in_flight.saturating_sub(1);
        match end {
            End::Answered => {
                self.stats.answered += 1;
                self.prompts.answer(key);
            }
            End::Spoiled => self.prompts.fail(key),
            End::Abandoned => {
                self.stats.abandoned += 1;
                self.prompts.fail(key);
            }
        }
    }

    pub(crate) fn tell(&mut self, key: u64, not_before: Instant) {
        self.prompts.tell(key, not_before);
    }

    pub(crate) fn count_seen(&mut self) {
        self.stats.seen += 1;
    }

    pub(crate) fn count_status(&mut self, status: u16) {
        *self.stats.by_status.entry(status).or_default() += 1;
    }

    pub(crate) fn count_connection(&mut self) {
        self.stats.connections += 1;
    }

    fn count_fault(&mut self, name: &str) {
        match self.stats.faults.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.stats.faults.insert(name.to_owned(), 1);
            }
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        self.prompts.describe(&mut stats);
        stats
    }

    pub(crate) fn prompt(&self, key: u64) -> PromptStats {
        self.prompts.of(key)
    }
}
