//! The faults of requests: decided by a seed or a script, not by the order in which requests happen to arrive.

use std::collections::BTreeMap;

use crate::draw::{self, Lot};
use crate::fault::Fault;

/// Above this total rate, runs of drawn faults are too long to be counted back.
const NEARLY_ALWAYS: f64 = 0.99;

/// A plan of faults.
///
/// The fault of the `k`-th attempt of a prompt is a pure function of the seed, the prompt and `k`. So a plan deals the same
/// faults in whatever order requests arrive, and [`fault`](Self::fault) returns them in advance. Attempts are counted from 1.
/// Only accepted ones count, so a 429 does not shift the plan.
///
/// Scripted requests take precedence over scripted attempts, and those over rates. Default: no faults.
///
/// # Examples
///
/// ```
/// use aplomb_mock::{Fault, Plan};
///
/// let plan = Plan::seeded(7).rate(Fault::Unavailable, 0.05).rate(Fault::Reset, 0.02);
/// assert_eq!(plan.fault("a prompt", 1), plan.fault("a prompt", 1));
///
/// let plan = Plan::default().attempt(1, Fault::Reset);
/// assert_eq!(plan.fault("any prompt", 1), Some(Fault::Reset));
/// assert_eq!(plan.fault("any prompt", 2), None);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    seed: u64,
    rates: Vec<(Fault, f64)>,
    attempts: BTreeMap<u32, Fault>,
    requests: BTreeMap<u64, Fault>,
    max_consecutive: u32,
}

impl Default for Plan {
    fn default() -> Self {
        Self::seeded(0)
    }
}

impl Plan {
    /// Makes a plan without faults, with this seed for rates, latencies and sizes.
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            rates: Vec::new(),
            attempts: BTreeMap::new(),
            requests: BTreeMap::new(),
            max_consecutive: 3,
        }
    }

    /// Makes a plan from a script: the first accepted request gets the first entry, and so on. Later ones get none.
    ///
    /// ```
    /// # use aplomb_mock::{Fault, Plan};
    /// let plan = Plan::script([Some(Fault::Unavailable), None, Some(Fault::Hang)]);
    /// ```
    pub fn script(faults: impl IntoIterator<Item = Option<Fault>>) -> Self {
        let requests = (1..).zip(faults).filter_map(|(n, fault)| Some((n, fault?))).collect();
        Self { requests, ..Self::default() }
    }

    /// Deals `fault` to this share of attempts, from 0 to 1, but no more than [`max_consecutive`](Self::max_consecutive)
    /// times in a row to one prompt. For failures without an end, see [`Builder::outage`](crate::Builder::outage).
    ///
    /// A share outside is clamped, and NaN is 0. If the shares add up to more than 1, the last ones are cut.
    #[must_use]
    pub fn rate(mut self, fault: Fault, rate: f64) -> Self {
        let rate = if rate.is_nan() { 0.0 } else { rate.clamp(0.0, 1.0) };
        self.rates.push((fault, rate));
        self
    }

    /// Deals `fault` to the `attempt`-th accepted attempt of every prompt. The first is 1.
    #[must_use]
    pub fn attempt(mut self, attempt: u32, fault: Fault) -> Self {
        self.attempts.insert(attempt, fault);
        self
    }

    /// Deals `fault` to the `nth` accepted request of all, whatever its prompt. The first is 1.
    #[must_use]
    pub fn request(mut self, nth: u64, fault: Fault) -> Self {
        self.requests.insert(nth, fault);
        self
    }

    /// Spares a prompt after this many drawn faults in a row, so that it succeeds in the end. Default: 3; `u32::MAX` never
    /// spares. Scripted faults do not count.
    #[must_use]
    pub fn max_consecutive(mut self, faults: u32) -> Self {
        self.max_consecutive = faults;
        self
    }

    /// Returns the seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the fault of the `attempt`-th accepted attempt of a prompt. The first is 1.
    ///
    /// Ignores the script of requests, which depends on their order.
    pub fn fault(&self, prompt: &str, attempt: u32) -> Option<Fault> {
        self.fault_of(draw::key(prompt), attempt)
    }

    /// The fault of the `nth` accepted request of all, which is this attempt of this prompt.
    pub(crate) fn deal(&self, nth: u64, key: u64, attempt: u32) -> Option<Fault> {
        let scripted = self.requests.get(&nth).copied();
        scripted.or_else(|| self.fault_of(key, attempt))
    }

    fn fault_of(&self, key: u64, attempt: u32) -> Option<Fault> {
        let attempt = attempt.max(1);
        if let Some(fault) = self.attempts.get(&attempt) {
            return Some(*fault);
        }
        let drawn = self.drawn(key, attempt)?;
        // In a run of drawn faults every (max + 1)-th is spared, and a new run begins after it.
        let run = self.run(key, attempt);
        let spared = self.max_consecutive.checked_add(1).is_some_and(|every| run % every == 0);
        (!spared).then_some(drawn)
    }

    fn drawn(&self, key: u64, attempt: u32) -> Option<Fault> {
        if self.rates.is_empty() {
            return None;
        }
        let drawn = draw::unit(self.seed, key, attempt.into(), Lot::Fault);
        let mut reached = 0.0;
        self.rates.iter().find_map(|(fault, rate)| {
            reached += rate;
            (drawn < reached).then_some(*fault)
        })
    }

    /// How many faults in a row were drawn, up to this attempt and including it.
    fn run(&self, key: u64, attempt: u32) -> u32 {
        let total: f64 = self.rates.iter().map(|(_, rate)| rate).sum();
        if total > NEARLY_ALWAYS {
            return attempt;
        }
        let before = (1..attempt).rev().take_while(|earlier| self.drawn(key, *earlier).is_some());
        u32::try_from(before.count()).map_or(u32::MAX, |n| n.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn rates_are_kept_over_many_prompts(seed: u64, reset in 0.0..0.4_f64, hang in 0.0..0.4_f64) {
            const PROMPTS: u32 = 20_000;
            let plan = Plan::seeded(seed).rate(Fault::Reset, reset).rate(Fault::Hang, hang);
            for (fault, rate) in [(Fault::Reset, reset), (Fault::Hang, hang)] {
                let dealt = (0..PROMPTS).filter(|n| plan.fault(&format!("prompt {n}"), 1) == Some(fault)).count();
                let share = f64::from(u32::try_from(dealt).unwrap()) / f64::from(PROMPTS);
                // Five standard deviations of a binomial share are at most 0.018 here.
                prop_assert!((share - rate).abs() < 0.018, "{share} instead of {rate}");
            }
        }

        #[test]
        fn no_prompt_gets_more_faults_in_a_row_than_the_maximum(seed: u64, rate in 0.0..=1.0_f64, max in 0..5_u32) {
            let plan = Plan::seeded(seed).rate(Fault::Reset, rate).max_consecutive(max);
            let mut run = 0;
            for attempt in 1..500 {
                run = if plan.fault("p", attempt).is_some() { run + 1 } else { 0 };
                prop_assert!(run <= max);
            }
        }
    }

    #[test]
    fn a_repeated_prompt_keeps_its_rate_too() {
        let plan = Plan::seeded(3).rate(Fault::Reset, 0.1);
        let dealt = (1..=20_000).filter(|k| plan.fault("always the same", *k).is_some()).count();
        assert!((1_850..2_150).contains(&dealt), "{dealt}");
    }

    #[test]
    fn scripts_come_before_rates() {
        let plan = Plan::seeded(1)
            .rate(Fault::Hang, 1.0)
            .attempt(1, Fault::Reset)
            .request(1, Fault::Truncate);
        let key = draw::key("p");
        assert_eq!(plan.deal(1, key, 1), Some(Fault::Truncate));
        assert_eq!(plan.deal(2, key, 1), Some(Fault::Reset));
        assert_eq!(plan.deal(3, key, 2), Some(Fault::Hang));
    }

    #[test]
    fn invalid_rates_are_clamped() {
        let plan = Plan::seeded(1).rate(Fault::Hang, f64::NAN).rate(Fault::Reset, f64::INFINITY);
        assert_eq!(plan.fault("p", 1), Some(Fault::Reset));
        assert_eq!(plan.fault("p", u32::MAX), Some(Fault::Reset));
    }
}
