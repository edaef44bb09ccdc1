//! The rules of a trip, and what they have counted.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use aplomb_core::CircuitCause;

use crate::trip::{CustomRule, RatioRule, TripRule};
use crate::{CompletedCall, Rule, Slow, WindowCounts};

/// Counts calls for the rules of a [`Trip`](crate::Trip), and detects when they open the circuit.
#[derive(Debug)]
pub(crate) struct Detector {
    counters: Box<[Counter]>,
    condition: Condition,
    /// Only failures are counted: nothing but the outcome of a call matters.
    counts_failures_only: bool,
}

/// The kind of change that recording a call made. The built-in rules open the circuit only after a call that went badly;
/// custom rules may open it after any call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    went_badly: bool,
    by_custom_rule: bool,
}

impl Recorded {
    /// Returns whether no rule can open the circuit because of it.
    pub(crate) const fn is_irrelevant(self) -> bool {
        !self.went_badly && !self.by_custom_rule
    }
}

/// The counts of one rule.
#[derive(Debug)]
enum Counter {
    Failures(RatioRule),
    SlowCalls(Slow, RatioRule),
    Custom(CustomCounter),
}

/// When to open, in terms of the counters.
#[derive(Debug)]
enum Condition {
    Consecutive(u32),
    Counter(usize),
    Any(Box<[Self]>),
    All(Box<[Self]>),
}

/// A user's rule, and its last answer.
struct CustomCounter {
    custom: CustomRule,
    rule: Box<dyn Rule>,
    holds: bool,
}

impl Detector {
    pub(crate) fn new(rule: &TripRule) -> Self {
        let mut counters = Vec::new();
        let condition = Condition::new(rule, &mut counters);
        let counts_failures_only = counters.iter().all(|counter| matches!(counter, Counter::Failures(_)));
        Self { counters: counters.into(), condition, counts_failures_only }
    }

    /// Applies other rules from now on. Those that count the same as one of the old rules take over its counts.
    pub(crate) fn adopt(&mut self, rule: &TripRule) {
        let old = std::mem::replace(self, Self::new(rule));
        let mut old = Vec::from(old.counters);
        for counter in &mut self.counters {
            if let Some(same) = old.iter().position(|old| old.counts_the_same(counter)) {
                counter.take_over(old.swap_remove(same));
            }
        }
    }

    /// Counts a success if no rule needs to know more about it. Returns whether that is so.
    #[inline]
    pub(crate) fn plain_success(&mut self, now: Instant) -> bool {
        if self.counts_failures_only {
            for counter in &mut self.counters {
                if let Counter::Failures(ratio) = counter {
                    ratio.window.record(false, now);
                }
            }
        }
        self.counts_failures_only
    }

    /// Counts an answer; `failed` is `None` if it was neither a success nor a failure.
    pub(crate) fn record(&mut self, failed: Option<bool>, call: &CompletedCall) -> Recorded {
        let mut recorded = Recorded { went_badly: failed == Some(true), by_custom_rule: false };
        for counter in &mut self.counters {
            match (counter, failed) {
                (Counter::Failures(ratio), Some(failed)) => ratio.window.record(failed, call.at),
                // A first content has been counted when it came.
                (Counter::SlowCalls(slow, ratio), Some(_))
                    if !(slow.is_measured_at_first_content() && call.content.is_some()) =>
                {
                    let was_slow = slow.was_slow(call);
                    ratio.window.record(was_slow, call.at);
                    recorded.went_badly |= was_slow;
                }
                (Counter::Failures(_) | Counter::SlowCalls(..), _) => {}
                (Counter::Custom(own), _) => {
                    own.holds = own.rule.record(call);
                    recorded.by_custom_rule = true;
                }
            }
        }
        recorded
    }

    /// Counts the time to a first content, for the rules that measure it.
    pub(crate) fn first_content(&mut self, took: Duration, now: Instant) -> Recorded {
        let mut recorded = Recorded::default();
        for counter in &mut self.counters {
            match counter {
                Counter::SlowCalls(slow, ratio) if slow.is_measured_at_first_content() => {
                    let was_slow = slow.first_content_is_slow(took);
                    ratio.window.record(was_slow, now);
                    recorded.went_badly |= was_slow;
                }
                _ => {}
            }
        }
        recorded
    }

    /// Why the circuit must open, if the rules say so after what was recorded.
    pub(crate) fn verdict(
        &mut self,
        recorded: Recorded,
        failures_in_a_row: u32,
        now: Instant,
    ) -> Option<CircuitCause> {
        for counter in &mut self.counters {
            if let Counter::Failures(ratio) | Counter::SlowCalls(_, ratio) = counter {
                ratio.window.slide(now);
            }
        }
        self.condition.holds(&self.counters, recorded.went_badly, failures_in_a_row)
    }

    /// Returns whether any rule calls it slow.
    pub(crate) fn any_slow(&self, is_slow: impl Fn(&Slow) -> bool) -> bool {
        self.counters
            .iter()
            .any(|counter| matches!(counter, Counter::SlowCalls(slow, _) if is_slow(slow)))
    }

    /// The counts of the first failure-ratio rule.
    pub(crate) fn failure_counts(&mut self, now: Instant) -> Option<WindowCounts> {
        self.counters.iter_mut().find_map(|counter| match counter {
            Counter::Failures(ratio) => Some(ratio.window.counts(now)),
            _ => None,
        })
    }

    /// The counts of the first slow-call rule.
    pub(crate) fn slow_counts(&mut self, now: Instant) -> Option<WindowCounts> {
        self.counters.iter_mut().find_map(|counter| match counter {
            Counter::SlowCalls(_, ratio) => Some(ratio.window.counts(now)),
            _ => None,
        })
    }

    /// The number of bad calls that still matter in any window. If everything is `old`, only those in a window of time do.
    /// The state of a custom rule is unknown: it counts as many.
    pub(crate) fn max_failures(&self, old: bool, now: Instant) -> u64 {
        let failures = self.counters.iter().map(|counter| match counter {
            Counter::Failures(ratio) | Counter::SlowCalls(_, ratio) => {
                if old && ratio.window.max_calls().is_some() {
                    0
                } else {
                    ratio.window.failures(now)
                }
            }
            Counter::Custom(_) if old => 0,
            Counter::Custom(_) => u64::MAX,
        });
        failures.max().unwrap_or(0)
    }

    pub(crate) fn clear(&mut self) {
        for counter in &mut self.counters {
            match counter {
                Counter::Failures(ratio) | Counter::SlowCalls(_, ratio) => ratio.window.clear(),
                Counter::Custom(own) => *own = CustomCounter::new(own.custom.clone()),
            }
        }
    }
}

impl Condition {
    fn new(rule: &TripRule, counters: &mut Vec<Counter>) -> Self {
        let counter = match rule {
            TripRule::Consecutive(failures) => return Self::Consecutive(*failures),
            TripRule::Any(rules) => {
                return Self::Any(rules.iter().map(|rule| Self::new(rule, counters)).collect());
            }
            TripRule::All(rules) => {
                return Self::All(rules.iter().map(|rule| Self::new(rule, counters)).collect());
            }
            TripRule::NobodyGetsThrough | TripRule::Follows => Counter::Failures(RatioRule::never()),
            TripRule::Failures(ratio) => Counter::Failures(ratio.clone()),
            TripRule::SlowCalls(slow, ratio) => Counter::SlowCalls(*slow, ratio.clone()),
            TripRule::Custom(custom) => Counter::Custom(CustomCounter::new(custom.clone())),
        };
        counters.push(counter);
        Self::Counter(counters.len() - 1)
    }

    fn holds(&self, counters: &[Counter], went_badly: bool, failures_in_a_row: u32) -> Option<CircuitCause> {
        let holds = |rule: &Self| rule.holds(counters, went_badly, failures_in_a_row);
        match self {
            Self::Consecutive(failures) => {
                (went_badly && failures_in_a_row >= *failures).then_some(CircuitCause::ConsecutiveFailures)
            }
            Self::Any(rules) => rules.iter().find_map(holds),
            // The first of them is given as the cause.
            Self::All(rules) => rules.iter().rev().try_fold(None, |_, rule| holds(rule).map(Some)).flatten(),
            Self::Counter(which) => match &counters[*which] {
                Counter::Failures(ratio) => {
                    (went_badly && ratio.is_reached()).then_some(CircuitCause::FailureRatio)
                }
                Counter::SlowCalls(_, ratio) => {
                    (went_badly && ratio.is_reached()).then_some(CircuitCause::SlowCalls)
                }
                Counter::Custom(own) => own.holds.then_some(CircuitCause::Rule(own.custom.name)),
            },
        }
    }
}

impl Counter {
    /// Returns whether both record the same things over the same span, whatever ratio they are compared with.
    fn counts_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Failures(ratio), Self::Failures(other)) => ratio.window.has_size_of(&other.window),
            (Self::SlowCalls(slow, ratio), Self::SlowCalls(other_slow, other)) => {
                slow == other_slow && ratio.window.has_size_of(&other.window)
            }
            (Self::Custom(own), Self::Custom(other)) => own.custom == other.custom,
            _ => false,
        }
    }

    /// Goes on with the counts of another counter that counts the same.
    fn take_over(&mut self, old: Self) {
        match (self, old) {
            (
                Self::Failures(ratio) | Self::SlowCalls(_, ratio),
                Self::Failures(old) | Self::SlowCalls(_, old),
            ) => {
                ratio.window = old.window;
            }
            (Self::Custom(own), Self::Custom(old)) => *own = old,
            _ => {}
        }
    }
}

impl CustomCounter {
    fn new(custom: CustomRule) -> Self {
        Self { rule: (custom.make)(), custom, holds: false }
    }
}

impl fmt::Debug for CustomCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.custom.fmt(f)
    }
}
