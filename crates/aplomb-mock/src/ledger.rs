//! All decisions about a request as it arrives, made in one step under one short lock.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::Problem;
use crate::charging::{Charge, Charging};
use crate::config::Config;
use crate::draw::{self, Lot};
use crate::fault::Fault;
use crate::limit::{Levels, Limits};
use crate::outage::{self, Outage, WhenFull};
use crate::prompts::Prompts;
use crate::size::Size;
use crate::stats::{PromptStats, Stats};

#[derive(Debug)]
pub(crate) struct Ledger {
    /// How many times it was reset.
    era: u64,
    start: Instant,
    limits: Limits,
    prompts: Prompts,
    stats: Stats,
}

/// The decision about a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    Refused(Problem),
    Out(Outage),
    /// Accepted, as this attempt of its prompt, with this fault.
    Accepted {
        attempt: u32,
        fault: Option<Fault>,
        charged: Charged,
    },
}

/// The charge of a request on admission.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charged {
    era: u64,
    charge: Charge,
}

/// How a request in flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The whole correct answer was handed over.
    Answered,
    /// It ended with its planned fault.
    Spoiled,
    /// Its client went away.
    Abandoned,
}

impl Ledger {
    pub(crate) fn new(config: &Config) -> Self {
        let start = Instant::now();
        Self {
            era: 0,
            start,
            limits: Limits::new(config, start),
            prompts: Prompts::new(config.tracked_prompts),
            stats: Stats::default(),
        }
    }

    /// Forgets everything but what is in flight.
    pub(crate) fn reset(&mut self, config: &Config) {
        let (era, in_flight) = (self.era.wrapping_add(1), self.stats.in_flight);
        *self = Self { era, ..Self::new(config) };
        self.stats.in_flight = in_flight;
        self.stats.max_in_flight = in_flight;
    }

    /// Decides about a valid request.
    pub(crate) fn arrive(
        &mut self,
        config: &Config,
        key: u64,
        model: &str,
        size: &Size,
    ) -> (Verdict, Levels) {
        let now = Instant::now();
        self.prompts.arrive(key, now);
        let verdict = self.judge(config, key, model, size, now);
        if !matches!(verdict, Verdict::Accepted { .. }) {
            self.prompts.fail(key);
        }
        (verdict, self.limits.levels())
    }

    fn judge(&mut self, config: &Config, key: u64, model: &str, size: &Size, now: Instant) -> Verdict {
        if let Some(outage) = outage::at(&config.outages, now.saturating_duration_since(self.start)) {
            self.count_fault("outage");
            return Verdict::Out(outage);
        }
        if config.insufficient_quota_after.is_some_and(|most| self.stats.accepted >= most) {
            return Verdict::Refused(Problem::QuotaExhausted);
        }
        if config.max_in_flight.is_some_and(|most| self.stats.in_flight >= most) {
            return Verdict::Refused(match config.when_full {
                WhenFull::Overloaded => Problem::Full,
                WhenFull::Throttled => Problem::Busy { concurrency: true, delay: None },
                WhenFull::ThrottledFor(delay) => Problem::Busy { concurrency: true, delay: Some(delay) },
            });
        }
        let charge = config.charging.on_admission(size);
        if let Err(refusal) = self.limits.admit(&charge, now) {
            return Verdict::Refused(Problem::Throttled(refusal, model.to_owned()));
        }
        self.stats.input_tokens = self.stats.input_tokens.saturating_add(size.input);
        self.count_charge(&charge);
        self.accept(config, key, Charged { era: self.era, charge }, now)
    }

    fn accept(&mut self, config: &Config, key: u64, charged: Charged, now: Instant) -> Verdict {
        self.stats.accepted += 1;
        self.stats.in_flight += 1;
        self.stats.max_in_flight = self.stats.max_in_flight.max(self.stats.in_flight);
        let nth = self.stats.accepted;
        // An untracked prompt uses the number of the request, so that its faults end too.
        let attempt = self.prompts.accept(key).unwrap_or_else(|| u32::try_from(nth).unwrap_or(u32::MAX));
        let since_start = now.saturating_duration_since(self.start);
        let planned = config.plan.deal(nth, key, attempt);
        let fault = planned.or_else(|| brownout(config, key, attempt, since_start));
        if let Some(fault) = fault {
            self.count_fault(fault.name());
            // Now rather than at its end: a client abandons a hang before the mock sees it.
            if !fault.spares_the_answer() {
                self.prompts.fail(key);
            }
        }
        Verdict::Accepted { attempt, fault, charged }
    }

    /// Counts tokens that a request in flight has produced.
    pub(crate) fn produced(&mut self, config: &Config, charged: &Charged, tokens: u64) {
        // A reset has filled the limits: requests accepted before it no longer count.
        if charged.era != self.era {
            return;
        }
        self.stats.output_tokens = self.stats.output_tokens.saturating_add(tokens);
        if config.charging == Charging::Produced {
            self.count_charge(&Charge::output(tokens));
            self.limits.owe(&Charge::output(tokens), Instant::now());
        }
    }

    /// Corrects the charge of a request that ends.
    pub(crate) fn settle(&mut self, config: &Config, charged: &Charged, produced: u64) {
        if charged.era == self.era && config.charging == Charging::Corrected {
            let unused = charged.charge.output.saturating_sub(produced);
            self.limits.give_back(&Charge::output(unused), Instant::now());
            let Stats { charged_tokens, charged_output_tokens, .. } = &mut self.stats;
            for charged in [charged_tokens, charged_output_tokens] {
                *charged = charged.saturating_sub(unused);
            }
        }
    }

    /// Counts the end of a request in flight.
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

    /// Returns whether connections are refused now, and when that changes next.
    pub(crate) fn refusing(&self, config: &Config, now: Instant) -> (bool, Option<Instant>) {
        let since_start = now.saturating_duration_since(self.start);
        let refusing = outage::at(&config.outages, since_start) == Some(Outage::Refuse);
        let next = outage::next_change(&config.outages, since_start);
        (refusing, next.and_then(|next| self.start.checked_add(next)))
    }

    pub(crate) fn tell(&mut self, key: u64, not_before: Instant) {
        self.prompts.tell(key, not_before);
    }

    fn count_charge(&mut self, charge: &Charge) {
        let Stats { charged_tokens, charged_input_tokens, charged_output_tokens, .. } = &mut self.stats;
        *charged_tokens = charged_tokens.saturating_add(charge.total);
        *charged_input_tokens = charged_input_tokens.saturating_add(charge.input);
        *charged_output_tokens = charged_output_tokens.saturating_add(charge.output);
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

/// The fault that a brownout at this time deals to this attempt of a prompt.
fn brownout(config: &Config, key: u64, attempt: u32, since_start: Duration) -> Option<Fault> {
    let under_way = config
        .brownouts
        .iter()
        .enumerate()
        .filter(|(_, brownout)| brownout.when.contains(&since_start));
    under_way
        .filter(|(n, brownout)| {
            let number = u64::from(attempt) << 32 | u64::try_from(*n).unwrap_or(0);
            draw::unit(config.plan.seed(), key, number, Lot::Brownout) < brownout.rate
        })
        .map(|(_, brownout)| brownout.fault)
        .next()
}
