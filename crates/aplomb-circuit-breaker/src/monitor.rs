//! The rules of a circuit at work.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::sign::Sign;
use crate::trip::{Custom, Share, When};
use crate::window::Tally;
use crate::{Cause, Ended, Rule, Slow};

/// The rules of a [`Trip`](crate::Trip), each with what it has counted.
#[derive(Debug)]
pub(crate) enum Monitor {
    Consecutive(u32),
    Failing(Share),
    Slow(Slow, Share),
    Custom(OwnRule),
    Any(Box<[Self]>),
    All(Box<[Self]>),
}

/// A user's rule, and what it said last.
pub(crate) struct OwnRule {
    custom: Custom,
    rule: Box<dyn Rule>,
    holds: bool,
}

/// What a call was to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It opens nothing: a circuit opens on a call that went badly.
    Fine,
    /// It went badly, by one of the rules; or a user's rule is to be heard.
    Bad,
}

impl Verdict {
    const fn bad_if(bad: bool) -> Self {
        if bad { Self::Bad } else { Self::Fine }
    }
}

impl Monitor {
    pub(crate) fn new(when: &When) -> Self {
        let all = |rules: &[When]| rules.iter().map(Self::new).collect();
        match when {
            When::Consecutive(most) => Self::Consecutive(*most),
            When::Failing(share) => Self::Failing(share.clone()),
            When::Slow(slow, share) => Self::Slow(*slow, share.clone()),
            When::Custom(custom) => Self::Custom(OwnRule::new(custom.clone())),
            When::Any(rules) => Self::Any(all(rules)),
            When::All(rules) => Self::All(all(rules)),
        }
    }

    /// Counts a call for every rule.
    pub(crate) fn record(&mut self, sign: Sign, call: &Ended) -> Verdict {
        let counts = matches!(sign, Sign::Healthy | Sign::Failing);
        match self {
            Self::Consecutive(_) => Verdict::bad_if(sign == Sign::Failing),
            Self::Failing(share) if counts => share.record(sign == Sign::Failing, call.at),
            // What took long to begin has been counted when it began.
            Self::Slow(slow, share) if counts && !(slow.is_told_by_content() && call.content.is_some()) => {
                share.record(slow.was_slow(call), call.at)
            }
            Self::Failing(_) | Self::Slow(..) => Verdict::Fine,
            Self::Custom(own) => own.record(call),
            Self::Any(rules) | Self::All(rules) => {
                rules.iter_mut().fold(Verdict::Fine, |worst, rule| worst.max(rule.record(sign, call)))
            }
        }
    }

    /// Counts how long a first content took, for the rules that ask for it.
    pub(crate) fn content(&mut self, took: Duration, now: Instant) -> Verdict {
        match self {
            Self::Slow(slow, share) if slow.is_told_by_content() => {
                share.record(slow.first_content_is_slow(took), now)
            }
            Self::Any(rules) | Self::All(rules) => {
                rules.iter_mut().fold(Verdict::Fine, |worst, rule| worst.max(rule.content(took, now)))
            }
            _ => Verdict::Fine,
        }
    }

    /// Why the circuit has to open, if the rules say so.
    pub(crate) fn holds(&mut self, failures_in_a_row: u32, now: Instant) -> Option<Cause> {
        match self {
            Self::Consecutive(most) => (failures_in_a_row >= *most).then_some(Cause::ConsecutiveFailures),
            Self::Failing(share) => share.holds(now).then_some(Cause::FailureRatio),
            Self::Slow(_, share) => share.holds(now).then_some(Cause::SlowCalls),
            Self::Custom(own) => own.holds.then_some(Cause::Rule(own.custom.name)),
            Self::Any(rules) => rules.iter_mut().find_map(|rule| rule.holds(failures_in_a_row, now)),
            // The first of them gives the cause its name.
            Self::All(rules) => rules
                .iter_mut()
                .rev()
                .try_fold(None, |_, rule| rule.holds(failures_in_a_row, now).map(Some))
                .flatten(),
        }
    }

    pub(crate) fn any_slow(&self, is_slow: &impl Fn(&Slow) -> bool) -> bool {
        match self {
            Self::Slow(slow, _) => is_slow(slow),
            Self::Any(rules) | Self::All(rules) => rules.iter().any(|rule| rule.any_slow(is_slow)),
            _ => false,
        }
    }

    /// The first window of slow calls, or of failures.
    pub(crate) fn tally(&mut self, of_slow: bool, now: Instant) -> Option<Tally> {
        match self {
            Self::Failing(share) if !of_slow => Some(share.window.tally(now)),
            Self::Slow(_, share) if of_slow => Some(share.window.tally(now)),
            Self::Any(rules) | Self::All(rules) => rules.iter_mut().find_map(|rule| rule.tally(of_slow, now)),
            _ => None,
        }
    }

    /// Whether no window holds a bad call that still matters; what is `old` matters only in a window
    /// that is longer still. What a user's rule remembers is not known.
    pub(crate) fn is_clean(&mut self, old: bool, now: Instant) -> bool {
        match self {
            Self::Consecutive(_) => true,
            Self::Failing(share) | Self::Slow(_, share) => {
                old && share.window.most().is_some() || share.window.tally(now).failures() == 0
            }
            Self::Custom(_) => old,
            Self::Any(rules) | Self::All(rules) => rules.iter_mut().all(|rule| rule.is_clean(old, now)),
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Self::Consecutive(_) => {}
            Self::Failing(share) | Self::Slow(_, share) => share.window.clear(),
            Self::Custom(own) => *own = OwnRule::new(own.custom.clone()),
            Self::Any(rules) | Self::All(rules) => rules.iter_mut().for_each(Self::clear),
        }
    }
}

impl Share {
    fn record(&mut self, bad: bool, now: Instant) -> Verdict {
        self.window.record(bad, now);
        Verdict::bad_if(bad)
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

    fn record(&mut self, call: &Ended) -> Verdict {
        self.holds = self.rule.record(call);
        Verdict::Bad
    }
}

impl fmt::Debug for OwnRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.custom.fmt(f)
    }
}
