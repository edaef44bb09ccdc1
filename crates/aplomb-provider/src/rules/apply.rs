//! Applying rules to what a response says.

use aplomb_core::{Kind, Outcome, Reason};
use http::HeaderMap;

use super::phrase::Met;
use super::{ANY, CheckedRule};

/// The parts of a response that rules ask for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told<'a> {
    pub(crate) status: Option<u16>,
    pub(crate) headers: Option<&'a HeaderMap>,
    pub(crate) codes: Vec<&'a str>,
    pub(crate) message: Option<&'a str>,
    pub(crate) finish_reasons: Vec<&'a str>,
}

impl CheckedRule {
    /// Returns whether a response meets the conditions.
    pub(crate) fn met(&self, told: &Told<'_>) -> Option<Met> {
        let rule = &self.rule;
        let is_met = (rule.statuses.is_empty()
            || told.status.is_some_and(|status| rule.statuses.contains(&status)))
            && (self.headers.is_empty() || told.headers.is_some_and(|headers| self.has_header(headers)))
            && meets(&rule.codes, told.codes.iter().copied())
            && meets(&rule.finish_reasons, told.finish_reasons.iter().copied());
        if !is_met {
            return None;
        }
        if self.phrases.is_empty() {
            return Some(Met { delay: None });
        }
        let message = told.message?.to_lowercase();
        self.phrases.iter().find_map(|phrase| phrase.find(&message))
    }

    fn has_header(&self, headers: &HeaderMap) -> bool {
        self.headers.iter().any(|(name, wanted)| {
            let mut values = headers.get_all(name).iter();
            values.any(|value| &**wanted == ANY || value.as_bytes().eq_ignore_ascii_case(wanted.as_bytes()))
        })
    }

    /// The outcome and reason of a response that was judged to be `outcome` and `reason` without the rule.
    pub(crate) fn means(&self, (outcome, reason): (Outcome, Reason), met: Met) -> (Outcome, Reason) {
        let rule = &self.rule;
        let judged = match (rule.kind, rule.reason) {
            (Some(kind), _) if kind == outcome.kind() => outcome,
            (Some(kind), _) => of_kind(kind),
            (None, Some(reason)) => reason.outcome(),
            (None, None) => outcome,
        };
        let judged = rule.scope.map_or(judged, |scope| judged.with_scope(scope));
        let delay = met.delay.or(rule.delay).or(outcome.retry_after());
        let judged = delay.map_or(judged, |delay| judged.with_retry_after(delay));
        (judged, rule.reason.unwrap_or(reason))
    }
}

fn meets<'a>(wanted: &[Box<str>], mut told: impl Iterator<Item = &'a str>) -> bool {
    wanted.is_empty() || told.any(|told| wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(told)))
}

/// A success and a local outcome have been ruled out.
fn of_kind(kind: Kind) -> Outcome {
    match kind {
        Kind::Busy => Outcome::busy(),
        Kind::Throttled => Outcome::throttled(),
        Kind::Exhausted => Outcome::exhausted(),
        Kind::Unauthorized => Outcome::unauthorized(),
        Kind::Permanent => Outcome::permanent(),
        _ => Outcome::transient(),
    }
}
