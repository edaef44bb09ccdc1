//! How a half-open circuit finds out whether the server is back.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::later;

/// How many calls a half-open circuit lets through as probes, and how they decide, if another rule has opened it than the
/// [default](crate::Trip::nobody_gets_through), or if they are set.
///
/// By default there is one probe at a time, and the first that is answered decides. A probe that is dropped, or
/// that ends on our side, decides nothing, and its place is free for the next. The same goes for a probe that has
/// not reported when its lease expires; if it reports while the circuit is still half-open, its result counts.
///
/// # Examples
///
/// ```
/// use aplomb_circuit_breaker::Probes;
///
/// // Two at a time; at least four of five must succeed.
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
    /// At most `at_once` probes in flight; 0 counts as 1. The first to be answered decides. A probe is given up
    /// after 30 s, and probing after 10 minutes, the time the official SDKs of OpenAI and Anthropic wait for an
    /// answer.
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

    /// Sets the number of probes that decide; 0 counts as 1. Default: 1. The decision is made as soon as the
    /// missing probes cannot change it.
    pub const fn to_close(mut self, probes: u32) -> Self {
        self.to_close = if probes == 0 { 1 } else { probes };
        self
    }

    /// Sets the share of the deciding probes that must succeed. Default: all of them. Above 1, or NaN, counts as
    /// 1; at least one success is always needed.
    pub const fn success_ratio(mut self, ratio: f64) -> Self {
        self.success_ratio = if ratio.is_nan() {
            1.0
        } else {
            ratio.clamp(0.0, 1.0)
        };
        self
    }

    /// Sets how long a probe keeps its place without reporting. Default: 30 s. It is not cancelled. A lease shorter
    /// than the usual answer lets more probes through.
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how long to probe without a decision before the circuit opens again. Default: 10 minutes. Time counts
    /// from the first probe, and starts afresh if no probe was sent for longer than a lease. A server that takes
    /// longer than this to answer is never found to be back.
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

/// A half-open circuit: its probes in flight, and their results so far.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    rules: Probes,
    /// Number and end of lease of each probe in flight, oldest first.
    in_flight: VecDeque<(u64, Instant)>,
    /// When probing began.
    began: Option<Instant>,
    /// When a probe was last sent, or gave up its place.
    last_active: Instant,
    sent: u64,
    passed: u32,
    failed: u32,
}

/// The meaning of the results so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    Undecided,
    Recovered,
    StillFailing,
}

impl HalfOpen {
    pub(crate) const fn new(rules: Probes, now: Instant) -> Self {
        Self {
            rules,
            in_flight: VecDeque::new(),
            began: None,
            last_active: now,
            sent: 0,
            passed: 0,
            failed: 0,
        }
    }

    /// Gives up probes whose lease has expired. Returns whether to give up probing.
    pub(crate) fn advance(&mut self, now: Instant) -> bool {
        while let Some(&(_, ends)) = self.in_flight.front() {
            if ends > now {
                break;
            }
            self.in_flight.pop_front();
            self.last_active = ends;
        }
        let is_quiet = self.in_flight.is_empty() && now >= later(self.last_active, self.rules.lease);
        if is_quiet {
            self.began = None;
        }
        self.gives_up_at().is_some_and(|at| at <= now)
    }

    /// When probing ends without a decision.
    fn gives_up_at(&self) -> Option<Instant> {
        self.began.map(|began| later(began, self.rules.patience))
    }

    pub(crate) fn has_place(&self) -> bool {
        self.in_flight.len() < self.rules.at_once as usize
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// For how long no probe has been in flight; `None` while one is.
    pub(crate) fn quiet_for(&self, now: Instant) -> Option<Duration> {
        let is_out = self.in_flight.iter().any(|(_, ends)| *ends > now);
        (!is_out).then(|| now.saturating_duration_since(self.last_active))
    }

    /// When the oldest probe loses its place, or probing ends.
    pub(crate) fn next_change(&self) -> Option<Instant> {
        let (_, ends) = self.in_flight.front()?;
        Some(self.gives_up_at().map_or(*ends, |at| at.min(*ends)))
    }

    /// Sends a probe and returns its number.
    pub(crate) fn send(&mut self, now: Instant) -> u64 {
        self.sent += 1;
        self.began.get_or_insert(now);
        self.last_active = now;
        self.in_flight.push_back((self.sent, later(now, self.rules.lease)));
        self.sent
    }

    /// Frees the place of a probe, unless its lease has expired.
    pub(crate) fn release(&mut self, probe: u64, now: Instant) {
        if let Some(place) = self.in_flight.iter().position(|(number, _)| *number == probe) {
            self.in_flight.remove(place);
            self.last_active = now;
        }
    }

    pub(crate) fn passed(&mut self) -> Conclusion {
        self.passed += 1;
        self.conclusion()
    }

    pub(crate) fn failed(&mut self) -> Conclusion {
        self.failed += 1;
        self.conclusion()
    }

    /// A probe that passed at its first content has failed in the end.
    pub(crate) fn failed_after_passing(&mut self) -> Conclusion {
        self.passed -= 1;
        self.failed()
    }

    fn conclusion(&self) -> Conclusion {
        if self.rules.enough(self.passed) {
            Conclusion::Recovered
        } else if !self.rules.enough(self.rules.to_close.saturating_sub(self.failed)) {
            Conclusion::StillFailing
        } else {
            Conclusion::Undecided
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decides_as_soon_as_the_rest_cannot_change_it() {
        use Conclusion::{Recovered, StillFailing, Undecided};
        let rules = Probes::new(3).to_close(5).success_ratio(0.6);
        for (results, expected) in [
            (&[true, true, true][..], Recovered),
            (&[true, true, false, false], Undecided),
            (&[true, true, false, false, true], Recovered),
            (&[false, false, true], Undecided),
            (&[false, true, false, false], StillFailing),
        ] {
            let mut half_open = HalfOpen::new(rules, Instant::now());
            let found = results
                .iter()
                .map(|passed| {
                    if *passed {
                        half_open.passed()
                    } else {
                        half_open.failed()
                    }
                })
                .last();
            assert_eq!(found, Some(expected), "{results:?}");
        }
    }

    #[test]
    fn a_ratio_of_nothing_still_needs_a_success() {
        let now = Instant::now();
        let mut half_open = HalfOpen::new(Probes::new(1).success_ratio(0.0), now);
        assert_eq!(half_open.failed(), Conclusion::StillFailing);
        let mut half_open = HalfOpen::new(Probes::new(1).success_ratio(f64::NAN).to_close(2), now);
        assert_eq!(half_open.passed(), Conclusion::Undecided);
        assert_eq!(half_open.failed_after_passing(), Conclusion::StillFailing);
    }

    #[test]
    fn a_probe_given_up_frees_its_place_once() {
        let now = Instant::now();
        let mut half_open = HalfOpen::new(Probes::new(1).lease(Duration::from_secs(1)), now);
        let lost = half_open.send(now);
        assert!(!half_open.has_place());
        half_open.advance(now + Duration::from_millis(999));
        assert!(!half_open.has_place());
        let now = now + Duration::from_secs(1);
        half_open.advance(now);
        let next = half_open.send(now);
        half_open.release(lost, now);
        assert!(!half_open.has_place());
        half_open.release(next, now);
        half_open.release(next, now);
        assert_eq!(half_open.in_flight(), 0);
    }

    #[test]
    fn probing_without_an_answer_ends_and_a_pause_begins_it_anew() {
        const SECOND: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let rules = Probes::new(1).lease(SECOND).patience(5 * SECOND);
        let mut half_open = HalfOpen::new(rules, start);
        // One unanswered probe after the other.
        for second in 0..4 {
            let now = start + second * SECOND;
            assert!(!half_open.advance(now));
            half_open.send(now);
        }
        let now = start + 4 * SECOND + SECOND / 2;
        assert!(!half_open.advance(now));
        half_open.send(now);
        assert_eq!(half_open.next_change(), Some(start + 5 * SECOND));
        assert!(half_open.advance(start + 5 * SECOND));

        // Dropped at once, followed by a long time without calls.
        let mut half_open = HalfOpen::new(rules, start);
        let dropped = half_open.send(start);
        half_open.release(dropped, start);
        assert!(!half_open.advance(start + 100 * SECOND));
        half_open.send(start + 100 * SECOND);
        assert!(!half_open.advance(start + 101 * SECOND));
    }
}
