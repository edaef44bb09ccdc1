//! How a half-open circuit finds out whether the peer is back.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::later;

/// How many calls a half-open circuit lets through as probes, and how it decides.
///
/// By default one probe at a time, and the first that is answered decides. A probe that is dropped,
/// or that ends on this side, decides nothing: its place is taken by the next. So is that of a probe
/// that has not reported when its lease runs out; should it report after all while the circuit is
/// still half-open, what it says counts.
///
/// # Examples
///
/// ```
/// use aplomb_circuit_breaker::Probes;
///
/// // Two at a time; at least four of five have to succeed.
/// let probes = Probes::new(2).to_close(5).success_ratio(0.8);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Probes {
    at_once: u32,
    to_close: u32,
    success_ratio: f64,
    lease: Duration,
    patience: Duration,
}

impl Probes {
    /// At most `at_once` probes in flight; 0 counts as 1. The first to be answered decides; a probe is
    /// given up after 30 s, and all of them after 10 minutes, for which the official SDKs of OpenAI
    /// and Anthropic wait for an answer.
    pub const fn new(at_once: u32) -> Self {
        let at_once = if at_once == 0 { 1 } else { at_once };
        Self {
            at_once,
            to_close: 1,
            success_ratio: 1.0,
            lease: Duration::from_secs(30),
            patience: Duration::from_secs(600),
        }
    }

    /// Sets how many probes decide, 1 by default; 0 counts as 1. The decision is made as soon as the
    /// probes that are missing can not change it.
    pub const fn to_close(mut self, probes: u32) -> Self {
        self.to_close = if probes == 0 { 1 } else { probes };
        self
    }

    /// Sets which share of the deciding probes has to succeed, all of them by default. Above 1, or not
    /// a number, counts as 1; of at least one probe a success is needed.
    pub const fn success_ratio(mut self, ratio: f64) -> Self {
        self.success_ratio = if ratio.is_nan() {
            1.0
        } else {
            ratio.clamp(0.0, 1.0)
        };
        self
    }

    /// Sets after which time a probe that has not reported is given up, so that another may go. It is
    /// not cancelled. Shorter than the answers usually take, it lets that many more through.
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets after which time of probing without a decision the circuit opens again. It counts from the
    /// first probe; a pause in the probing longer than a lease begins it anew, since nobody asked
    /// meanwhile. What takes longer to its first answer is never found to be back.
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn enough(self, successes: u32) -> bool {
        successes > 0 && f64::from(successes) / f64::from(self.to_close) >= self.success_ratio
    }
}

impl Default for Probes {
    fn default() -> Self {
        Self::new(1)
    }
}

impl From<u32> for Probes {
    fn from(at_once: u32) -> Self {
        Self::new(at_once)
    }
}

/// The probes of one half-open stretch.
#[derive(Debug)]
pub(crate) struct Trial {
    rules: Probes,
    /// Number and end of lease of each probe in flight, the oldest first.
    in_flight: VecDeque<(u64, Instant)>,
    /// When the probing began, and when the last probe was sent or let go.
    began: Option<Instant>,
    stirred: Instant,
    sent: u64,
    passed: u32,
    failed: u32,
}

/// What the probes have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Undecided,
    Recovered,
    StillFailing,
}

impl Trial {
    pub(crate) const fn new(rules: Probes, now: Instant) -> Self {
        Self {
            rules,
            in_flight: VecDeque::new(),
            began: None,
            stirred: now,
            sent: 0,
            passed: 0,
            failed: 0,
        }
    }

    /// Gives up the probes whose lease has run out; says whether it is time to give up probing.
    pub(crate) fn pass(&mut self, now: Instant) -> bool {
        while let Some(&(_, ends)) = self.in_flight.front().filter(|(_, ends)| *ends <= now) {
            self.in_flight.pop_front();
            self.stirred = ends;
        }
        let is_quiet = self.in_flight.is_empty() && now >= later(self.stirred, self.rules.lease);
        if is_quiet {
            self.began = None;
        }
        self.gives_up().is_some_and(|at| at <= now)
    }

    /// When all probing will be given up.
    fn gives_up(&self) -> Option<Instant> {
        self.began.map(|began| later(began, self.rules.patience))
    }

    pub(crate) fn has_place(&self) -> bool {
        self.in_flight.len() < self.rules.at_once as usize
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// For how long nothing has happened; nothing while a probe is out.
    pub(crate) fn quiet(&self, now: Instant) -> Option<Duration> {
        let is_out = self.in_flight.iter().any(|(_, ends)| *ends > now);
        (!is_out).then(|| now.saturating_duration_since(self.stirred))
    }

    /// When the oldest probe will be given up, or all of them.
    pub(crate) fn lapses(&self) -> Option<Instant> {
        self.in_flight.front().map(|(_, ends)| self.gives_up().map_or(*ends, |at| at.min(*ends)))
    }

    /// Sends a probe and returns its number.
    pub(crate) fn send(&mut self, now: Instant) -> u64 {
        self.sent += 1;
        self.began.get_or_insert(now);
        self.stirred = now;
        self.in_flight.push_back((self.sent, later(now, self.rules.lease)));
        self.sent
    }

    /// Frees the place of a probe, unless it was given up before.
    pub(crate) fn release(&mut self, probe: u64, now: Instant) {
        if let Some(place) = self.in_flight.iter().position(|(number, _)| *number == probe) {
            self.in_flight.remove(place);
            self.stirred = now;
        }
    }

    pub(crate) fn passed(&mut self) -> Finding {
        self.passed += 1;
        self.finding()
    }

    pub(crate) fn failed(&mut self) -> Finding {
        self.failed += 1;
        self.finding()
    }

    /// A probe whose first content had passed for a success failed in the end.
    pub(crate) fn failed_after_all(&mut self) -> Finding {
        self.passed -= 1;
        self.failed()
    }

    fn finding(&self) -> Finding {
        if self.rules.enough(self.passed) {
            Finding::Recovered
        } else if !self.rules.enough(self.rules.to_close.saturating_sub(self.failed)) {
            Finding::StillFailing
        } else {
            Finding::Undecided
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decides_as_soon_as_the_rest_can_not_change_it() {
        use Finding::{Recovered, StillFailing, Undecided};
        let rules = Probes::new(3).to_close(5).success_ratio(0.6);
        for (results, expected) in [
            (&[true, true, true][..], Recovered),
            (&[true, true, false, false], Undecided),
            (&[true, true, false, false, true], Recovered),
            (&[false, false, true], Undecided),
            (&[false, true, false, false], StillFailing),
        ] {
            let mut trial = Trial::new(rules, Instant::now());
            let found =
                results.iter().map(|passed| if *passed { trial.passed() } else { trial.failed() }).last();
            assert_eq!(found, Some(expected), "{results:?}");
        }
    }

    #[test]
    fn a_ratio_of_nothing_still_needs_a_success() {
        let now = Instant::now();
        let mut trial = Trial::new(Probes::new(1).success_ratio(0.0), now);
        assert_eq!(trial.failed(), Finding::StillFailing);
        let mut trial = Trial::new(Probes::new(1).success_ratio(f64::NAN).to_close(2), now);
        assert_eq!(trial.passed(), Finding::Undecided);
        assert_eq!(trial.failed_after_all(), Finding::StillFailing);
    }

    #[test]
    fn a_probe_given_up_frees_its_place_once() {
        let now = Instant::now();
        let mut trial = Trial::new(Probes::new(1).lease(Duration::from_secs(1)), now);
        let lost = trial.send(now);
        assert!(!trial.has_place());
        trial.pass(now + Duration::from_millis(999));
        assert!(!trial.has_place());
        let now = now + Duration::from_secs(1);
        trial.pass(now);
        let next = trial.send(now);
        trial.release(lost, now);
        assert!(!trial.has_place());
        trial.release(next, now);
        trial.release(next, now);
        assert_eq!(trial.in_flight(), 0);
    }

    #[test]
    fn probing_without_an_answer_ends_and_a_pause_begins_it_anew() {
        const SECOND: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let rules = Probes::new(1).lease(SECOND).patience(5 * SECOND);
        let mut trial = Trial::new(rules, start);
        // One unanswered probe after the other.
        for second in 0..4 {
            let now = start + second * SECOND;
            assert!(!trial.pass(now));
            trial.send(now);
        }
        let now = start + 4 * SECOND + SECOND / 2;
        assert!(!trial.pass(now));
        trial.send(now);
        assert_eq!(trial.lapses(), Some(start + 5 * SECOND));
        assert!(trial.pass(start + 5 * SECOND));

        // Dropped at once, and nobody asked for a long time.
        let mut trial = Trial::new(rules, start);
        let dropped = trial.send(start);
        trial.release(dropped, start);
        assert!(!trial.pass(start + 100 * SECOND));
        trial.send(start + 100 * SECOND);
        assert!(!trial.pass(start + 101 * SECOND));
    }
}
