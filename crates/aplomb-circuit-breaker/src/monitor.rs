//! The rules of a circuit at work.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::trip::{Custom, Share, When};
use crate::window::WindowCounts;
use crate::{CompletedCall, Rule, Slow, TransitionCause};

/// What the rules of a [`Trip`](crate::Trip) have counted, and when they open the circuit.
#[derive(Debug)]
pub(crate) struct Monitor {
    counters: Box<[Counter]>,
    when: Condition,
    /// Nothing but failures is counted: a call need not be looked at more closely.
    plain: bool,
}

/// Which rules are asked whether a call opens the circuit: all of them where it went badly; where it
/// did not, at most those of the user's own, which alone know what they wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Jury {
    Nobody,
    OwnRules,
    Everybody,
}

impl Jury {
    const fn after(bad: bool) -> Self {
        if bad { Self::Everybody } else { Self::Nobody }
    }
}

/// What one rule counts.
#[derive(Debug)]
enum Counter {
    Failing(Share),
    Slow(Slow, Share),
    Custom(OwnRule),
}

/// When to open, in terms of the counters.
#[derive(Debug)]
enum Condition {
    Consecutive(u32),
    Counter(usize),
    Any(Box<[Self]>),
    All(Box<[Self]>),
}

/// A user's rule, and what it said last.
struct OwnRule {
    custom: Custom,
    rule: Box<dyn Rule>,
    holds: bool,
}

impl Monitor {
    pub(crate) fn new(when: &When) -> Self {
        let mut counters = Vec::new();
        let when = Condition::new(when, &mut counters);
        let plain = counters.iter().all(|counter| matches!(counter, Counter::Failing(_)));
        Self { counters: counters.into(), when, plain }
    }

    /// Counts a success, where nothing but its being one is of interest. Returns whether that is so.
    #[inline]
    pub(crate) fn plain_success(&mut self, now: Instant) -> bool {
        if self.plain {
            for counter in &mut self.counters {
                if let Counter::Failing(share) = counter {
                    share.window.record(false, now);
                }
            }
        }
        self.plain
    }

    /// Counts an answer; `failed` is nothing where it says neither. Returns who is to be asked whether
    /// it opens the circuit.
    pub(crate) fn record(&mut self, failed: Option<bool>, call: &CompletedCall) -> Jury {
        let mut jury = Jury::after(failed == Some(true));
        for counter in &mut self.counters {
            match (counter, failed) {
                (Counter::Failing(share), Some(failed)) => share.window.record(failed, call.at),
                // What took long to begin has been counted when it began.
                (Counter::Slow(slow, share), Some(_))
                    if !(slow.is_told_by_content() && call.content.is_some()) =>
                {
                    jury = jury.max(share.record(slow.was_slow(call), call.at));
                }
                (Counter::Failing(_) | Counter::Slow(..), _) => {}
                (Counter::Custom(own), _) => {
                    own.holds = own.rule.record(call);
                    jury = jury.max(Jury::OwnRules);
                }
            }
        }
        jury
    }

    /// Counts how long a first content took, for the rules that ask for it. Returns who is to be asked
    /// whether that opens the circuit.
    pub(crate) fn content(&mut self, took: Duration, now: Instant) -> Jury {
        let mut jury = Jury::Nobody;
        for counter in &mut self.counters {
            if let Counter::Slow(slow, share) = counter
                && slow.is_told_by_content()
            {
                jury = jury.max(share.record(slow.first_content_is_slow(took), now));
            }
        }
        jury
    }

    /// OpenReason the circuit has to open, if the rules that are asked say so.
    pub(crate) fn holds(
        &mut self,
        jury: Jury,
        failures_in_a_row: u32,
        now: Instant,
    ) -> Option<TransitionCause> {
        match jury {
            Jury::Nobody => None,
            Jury::OwnRules | Jury::Everybody => {
                self.when.holds(&mut self.counters, jury, failures_in_a_row, now)
            }
        }
    }

    /// Whether any rule calls it slow.
    pub(crate) fn any_slow(&self, is_slow: impl Fn(&Slow) -> bool) -> bool {
        self.counters
            .iter()
            .any(|counter| matches!(counter, Counter::Slow(slow, _) if is_slow(slow)))
    }

    /// The first window of failures.
    pub(crate) fn tally(&mut self, now: Instant) -> Option<WindowCounts> {
        self.counters.iter_mut().find_map(|counter| match counter {
            Counter::Failing(share) => Some(share.window.tally(now)),
            _ => None,
        })
    }

    /// The first window of slow calls.
    pub(crate) fn slow(&mut self, now: Instant) -> Option<WindowCounts> {
        self.counters.iter_mut().find_map(|counter| match counter {
            Counter::Slow(_, share) => Some(share.window.tally(now)),
            _ => None,
        })
    }

    /// Whether no window holds a bad call that still matters; what is `old` matters only in a window
    /// that is longer still. What a user's rule remembers is not known.
    pub(crate) fn is_clean(&self, old: bool, now: Instant) -> bool {
        self.counters.iter().all(|counter| match counter {
            Counter::Failing(share) | Counter::Slow(_, share) => {
                old && share.window.most().is_some() || share.window.is_clean(now)
            }
            Counter::Custom(_) => old,
        })
    }

    pub(crate) fn clear(&mut self) {
        for counter in &mut self.counters {
            match counter {
                Counter::Failing(share) | Counter::Slow(_, share) => share.window.clear(),
                Counter::Custom(own) => *own = OwnRule::new(own.custom.clone()),
            }
        }
    }
}

impl Condition {
    fn new(when: &When, counters: &mut Vec<Counter>) -> Self {
        let counter = match when {
            When::Consecutive(most) => return Self::Consecutive(*most),
            When::Any(rules) => {
                return Self::Any(rules.iter().map(|rule| Self::new(rule, counters)).collect());
            }
            When::All(rules) => {
                return Self::All(rules.iter().map(|rule| Self::new(rule, counters)).collect());
            }
            When::Failing(share) => Counter::Failing(share.clone()),
            When::Slow(slow, share) => Counter::Slow(*slow, share.clone()),
            When::Custom(custom) => Counter::Custom(OwnRule::new(custom.clone())),
        };
        counters.push(counter);
        Self::Counter(counters.len() - 1)
    }

    fn holds(
        &self,
        counters: &mut [Counter],
        jury: Jury,
        failures_in_a_row: u32,
        now: Instant,
    ) -> Option<TransitionCause> {
        let is_asked = jury == Jury::Everybody;
        let mut holds = |rule: &Self| rule.holds(counters, jury, failures_in_a_row, now);
        match self {
            Self::Consecutive(most) => {
                (is_asked && failures_in_a_row >= *most).then_some(TransitionCause::ConsecutiveFailures)
            }
            Self::Any(rules) => rules.iter().find_map(holds),
            // The first of them gives the cause its name.
            Self::All(rules) => rules.iter().rev().try_fold(None, |_, rule| holds(rule).map(Some)).flatten(),
            Self::Counter(which) => match &mut counters[*which] {
                Counter::Failing(share) => {
                    (is_asked && share.holds(now)).then_some(TransitionCause::FailureRatio)
                }
                Counter::Slow(_, share) => {
                    (is_asked && share.holds(now)).then_some(TransitionCause::SlowCalls)
                }
                Counter::Custom(own) => own.holds.then_some(TransitionCause::Rule(own.custom.name)),
            },
        }
    }
}

impl Share {
    fn record(&mut self, bad: bool, now: Instant) -> Jury {
        self.window.record(bad, now);
        Jury::after(bad)
    }

    fn holds(&mut self, now: Instant) -> bool {
        let tally = self.window.tally(now);
        tally.calls() >= self.min_calls && tally.ratio() >= self.ratio
    }
}

impl OwnRule {
    fn new(custom: Custom) -> Self {
        Self { rule: (custom.make)(), custom, holds: false }
    }
}

impl fmt::Debug for OwnRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.custom.fmt(f)
    }
}
