//! A plain model of the circuit, which keeps every result and counts them again each time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aplomb_circuit_breaker::{CircuitState, OnAbandoned};
use aplomb_core::{Kind, Outcome};
use tokio::time::Instant;

use crate::support::SECOND;

/// Ratio, size of the window, fewest calls.
pub(crate) type Share = (f64, u32, u32);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) consecutive: Option<u32>,
    pub(crate) failing: Option<Share>,
    /// Longest time, whether to the first content only, share.
    pub(crate) slow: Option<(Duration, bool, Share)>,
    /// All of them must hold, not any.
    pub(crate) all: bool,
    pub(crate) at_once: u32,
    pub(crate) to_close: u32,
    pub(crate) success_ratio: f64,
    pub(crate) lease: Duration,
    pub(crate) patience: Duration,
    /// Calls at first, and duration.
    pub(crate) ramp: Option<(u32, Duration)>,
    pub(crate) abandoned: OnAbandoned,
    pub(crate) parks: bool,
}

/// An admitted call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) id: usize,
    epoch: u64,
    admitted: Instant,
    content: bool,
    probe: bool,
    /// Its result as a probe, at its first content.
    said: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Counted {
    Answer(Kind),
    Slowness(bool),
}

pub(crate) struct Model {
    pub(crate) rules: Rules,
    pub(crate) state: CircuitState,
    pub(crate) epoch: u64,
    /// Until when it is open.
    pub(crate) until: Instant,
    /// All results since the circuit closed.
    counted: Vec<Counted>,
    noted: Option<Instant>,
    /// The number of calls that may be unanswered on the ramp, and its end; and those that are.
    pub(crate) ramp: Option<(u32, Instant)>,
    unanswered: BTreeSet<usize>,
    /// The results of the probes since the circuit became half-open.
    verdicts: BTreeMap<usize, bool>,
    /// Probes in flight, and the ends of their leases.
    pub(crate) leases: BTreeMap<usize, Instant>,
    probing_since: Option<Instant>,
    stirred: Instant,
    recovered_from: Option<u64>,
    /// How many steps the next cooldown has grown.
    grown: u32,
    closed_since: Instant,
    /// Refused credentials have opened it since it was closed.
    refused: bool,
    /// The shortest and the longest cooldown, when it has just opened.
    pub(crate) opening: Option<(Duration, Duration)>,
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap()
}

fn holds((ratio, _, fewest): Share, window: &[bool], size: u32) -> bool {
    let bad = number(window.iter().filter(|bad| **bad).count());
    number(window.len()) >= fewest.min(size) && f64::from(bad) >= ratio * f64::from(number(window.len()))
}

impl Model {
    pub(crate) fn new(rules: Rules, now: Instant) -> Self {
        Self {
            rules,
            state: CircuitState::Closed,
            epoch: 0,
            until: now,
            counted: Vec::new(),
            noted: None,
            ramp: None,
            unanswered: BTreeSet::new(),
            verdicts: BTreeMap::new(),
            leases: BTreeMap::new(),
            probing_since: None,
            stirred: now,
            recovered_from: None,
            grown: 0,
            closed_since: now,
            refused: false,
            opening: None,
        }
    }

    fn change(&mut self, state: CircuitState, now: Instant) {
        self.state = state;
        self.epoch += 1;
        self.recovered_from = None;
        self.ramp = None;
        self.unanswered.clear();
        self.verdicts.clear();
        self.leases.clear();
        self.probing_since = None;
        self.stirred = now;
    }

    pub(crate) fn pass(&mut self, now: Instant) {
        if self.state == CircuitState::Open && self.opening.is_none() && now >= self.until {
            self.change(CircuitState::HalfOpen, now);
        }
        let over = self.leases.values().filter(|ends| **ends <= now);
        self.stirred = over.copied().fold(self.stirred, Instant::max);
        self.leases.retain(|_, ends| *ends > now);
        if self.leases.is_empty() && now >= self.stirred + self.rules.lease {
            self.probing_since = None;
        }
        if self.probing_since.is_some_and(|since| now >= since + self.rules.patience) {
            self.open(None, now);
        }
        self.ramp = self.ramp.filter(|(_, ends)| now < *ends);
    }

    pub(crate) fn admits(&self) -> bool {
        match self.state {
            CircuitState::Closed => self.ramp.is_none_or(|(most, _)| number(self.unanswered.len()) < most),
            CircuitState::Disabled => true,
            CircuitState::HalfOpen => number(self.leases.len()) < self.rules.at_once,
            _ => false,
        }
    }

    /// When a waiting call is certainly admitted.
    pub(crate) fn lapses(&self) -> Option<Instant> {
        let given_up = self.probing_since.map(|since| since + self.rules.patience);
        let lease = self.leases.values().min().copied();
        lease
            .map(|lease| given_up.map_or(lease, |at| at.min(lease)))
            .or(self.ramp.map(|(_, ends)| ends))
    }

    pub(crate) fn admit(&mut self, id: usize, now: Instant) -> Call {
        let probe = self.state == CircuitState::HalfOpen;
        if probe {
            self.leases.insert(id, now + self.rules.lease);
            self.probing_since.get_or_insert(now);
            self.stirred = now;
        } else if self.ramp.is_some() {
            self.unanswered.insert(id);
        }
        Call { id, epoch: self.epoch, admitted: now, content: false, probe, said: None }
    }

    fn let_go(&mut self, call: &Call, now: Instant) -> bool {
        if call.epoch != self.epoch {
            return false;
        }
        if call.said.is_none() && self.leases.remove(&call.id).is_some() {
            self.stirred = now;
        }
        self.unanswered.remove(&call.id)
    }

    pub(crate) fn content(&mut self, call: &mut Call, now: Instant) {
        let first = !std::mem::replace(&mut call.content, true);
        if call.epoch != self.epoch || call.said.is_some() {
            return;
        }
        let took = now - call.admitted;
        let slow = self.rules.slow.filter(|(_, first_content, _)| *first_content);
        let slow = slow.map(|(longest, ..)| took > longest);
        if call.probe {
            self.let_go(call, now);
            call.said = Some(slow != Some(true));
            return self.say(call.id, slow != Some(true), None, now);
        }
        if self.let_go(call, now) {
            self.climb(Kind::Success);
        }
        assert!(first || slow.is_none(), "content is told once");
        if let (CircuitState::Closed, Some(slow)) = (self.state, slow) {
            self.counted.push(Counted::Slowness(slow));
            if slow {
                self.bad(None, now);
            }
        }
    }

    pub(crate) fn end(&mut self, call: Call, outcome: Option<Outcome>, now: Instant) {
        let climbed = self.let_go(&call, now);
        let waited = now - call.admitted;
        let given_up = match self.rules.abandoned {
            OnAbandoned::Neutral => false,
            OnAbandoned::FailureAfter(bound) => waited >= bound,
            _ => true,
        };
        let abandoned = given_up && !call.content && !is_unsent(&call);
        let outcome = outcome.or(abandoned.then(Outcome::transient));
        let followed = call.said == Some(true) && self.recovered_from == Some(call.epoch);
        let concerns = call.epoch == self.epoch && call.said != Some(false) || followed;
        let Some(outcome) = outcome.filter(|_| concerns) else {
            return;
        };
        let slow = self.rules.slow.map(|(longest, ..)| waited > longest);
        match (self.state, outcome.kind()) {
            (CircuitState::Closed, kind) => {
                if climbed {
                    self.climb(kind);
                }
                self.count(&call, slow, outcome, now);
            }
            (CircuitState::HalfOpen, Kind::Exhausted) => self.open(Some(outcome), now),
            (CircuitState::HalfOpen, Kind::Unauthorized) if self.refused => {
                self.open(Some(outcome), now);
            }
            (CircuitState::HalfOpen, Kind::Local) => {}
            (CircuitState::HalfOpen, Kind::Transient | Kind::Throttled) => {
                self.say(call.id, false, Some(outcome), now);
            }
            (CircuitState::HalfOpen, kind) if call.said.is_none() => {
                let well = kind != Kind::Success || slow != Some(true);
                self.say(call.id, well, Some(outcome), now);
            }
            _ => {}
        }
    }

    fn climb(&mut self, kind: Kind) {
        let Some((first, _)) = self.rules.ramp else { return };
        if let Some((most, _)) = &mut self.ramp {
            match kind {
                Kind::Transient | Kind::Throttled | Kind::Exhausted => *most = (*most / 2).max(first),
                Kind::Local => {}
                _ => *most += 1,
            }
        }
    }

    fn count(&mut self, call: &Call, slow: Option<bool>, outcome: Outcome, now: Instant) {
        let kind = outcome.kind();
        self.counted.push(Counted::Answer(kind));
        let told_before = self.rules.slow.is_some_and(|(_, first, _)| first) && call.content;
        let counts = matches!(kind, Kind::Success | Kind::Transient) && !told_before;
        let slow = slow.filter(|_| counts);
        self.counted.extend(slow.map(Counted::Slowness));
        match kind {
            Kind::Exhausted => self.open(Some(outcome), now),
            Kind::Unauthorized => {
                self.noted = Some(now);
                if self.refusals() == 3 {
                    self.open(Some(outcome), now);
                }
            }
            Kind::Transient => self.bad(Some(outcome), now),
            _ if slow == Some(true) => self.bad(Some(outcome), now),
            _ => {}
        }
    }

    /// A call went badly: that may open it.
    fn bad(&mut self, outcome: Option<Outcome>, now: Instant) {
        self.noted = Some(now);
        let Rules { consecutive, failing, slow, all, .. } = self.rules;
        let row = consecutive.map(|most| self.failures() >= most);
        let failing = failing.map(|share| holds(share, &self.failing(), share.1));
        let slow = slow.map(|(_, _, share)| holds(share, &self.slow(), share.1));
        let mut rules = row.into_iter().chain(failing).chain(slow);
        if if all {
            rules.all(|holds| holds)
        } else {
            rules.any(|holds| holds)
        } {
            self.open(outcome, now);
        }
    }

    fn answers(&self) -> impl DoubleEndedIterator<Item = Kind> {
        self.counted.iter().filter_map(|counted| match counted {
            Counted::Answer(kind) => Some(*kind),
            Counted::Slowness(_) => None,
        })
    }

    pub(crate) fn failures(&self) -> u32 {
        let row = self.answers().rev().take_while(|kind| *kind != Kind::Success);
        number(row.filter(|kind| *kind == Kind::Transient).count())
    }

    fn refusals(&self) -> u32 {
        let goes_on = |kind: &Kind| matches!(kind, Kind::Unauthorized | Kind::Transient | Kind::Local);
        let row = self.answers().rev().take_while(goes_on);
        number(row.filter(|kind| *kind == Kind::Unauthorized).count())
    }

    /// The window of failures.
    pub(crate) fn failing(&self) -> Vec<bool> {
        let size = self.rules.failing.map_or(0, |(_, size, _)| size as usize);
        let counted = self.answers().filter(|kind| matches!(kind, Kind::Success | Kind::Transient));
        counted.rev().take(size).map(|kind| kind == Kind::Transient).collect()
    }

    /// The window of slow calls.
    pub(crate) fn slow(&self) -> Vec<bool> {
        let size = self.rules.slow.map_or(0, |(_, _, (_, size, _))| size as usize);
        let counted = self.counted.iter().filter_map(|counted| match counted {
            Counted::Slowness(slow) => Some(*slow),
            Counted::Answer(_) => None,
        });
        counted.rev().take(size).collect()
    }

    fn say(&mut self, probe: usize, passed: bool, outcome: Option<Outcome>, now: Instant) {
        self.verdicts.insert(probe, passed);
        let passed = number(self.verdicts.values().filter(|passed| **passed).count());
        let failed = number(self.verdicts.len()) - passed;
        let needed = (1..=self.rules.to_close)
            .find(|n| f64::from(*n) >= self.rules.success_ratio * f64::from(self.rules.to_close));
        let needed = needed.unwrap_or(self.rules.to_close);
        if passed >= needed {
            let from = self.epoch;
            self.close(now);
            self.ramp = self.rules.ramp.map(|(first, over)| (first, now + over));
            self.recovered_from = Some(from);
        } else if failed + needed > self.rules.to_close {
            self.open(outcome, now);
        }
    }

    pub(crate) fn close(&mut self, now: Instant) {
        self.counted.clear();
        self.noted = None;
        self.closed_since = now;
        self.refused = false;
        self.change(CircuitState::Closed, now);
    }

    pub(crate) fn reset(&mut self, now: Instant) {
        self.grown = 0;
        self.close(now);
    }

    pub(crate) fn switch(&mut self, state: CircuitState, now: Instant) {
        if self.state != state {
            self.refused = false;
            self.change(state, now);
        }
    }

    /// How many steps the next cooldown would have grown.
    fn eased(&self, now: Instant) -> u32 {
        let minutes = now.duration_since(self.closed_since).as_secs() / 60;
        self.grown - self.grown.min(u32::try_from(minutes).unwrap())
    }

    pub(crate) fn is_forgettable(&self, now: Instant) -> bool {
        let old = self.noted.is_none_or(|noted| now - noted >= 600 * SECOND);
        let clean = self.failures() == 0 && self.refusals() == 0;
        let clean = clean && !self.failing().contains(&true) && !self.slow().contains(&true);
        if self.state == CircuitState::HalfOpen {
            return self.leases.is_empty() && now - self.stirred >= 600 * SECOND;
        }
        self.state == CircuitState::Closed && self.ramp.is_none() && self.eased(now) == 0 && (old || clean)
    }

    pub(crate) fn open(&mut self, outcome: Option<Outcome>, now: Instant) {
        if self.state == CircuitState::Closed {
            self.grown = self.eased(now);
        }
        let outcome = outcome.filter(|outcome| !outcome.is_success());
        let kind = outcome.map_or(Kind::Local, |outcome| outcome.kind());
        let spread = |hint: Duration| (hint, hint + (hint / 2).min(5 * SECOND));
        let hint = outcome.and_then(|outcome| outcome.retry_after());
        let cooldown = (5 * SECOND * 2_u32.pow(self.grown)).min(60 * SECOND);
        if kind != Kind::Unauthorized {
            self.grown = (self.grown + 1).min(4);
        }
        let most = if kind == Kind::Exhausted { 3_600 } else { 120 };
        self.opening = Some(match (kind, hint.map(|hint| hint.min(most * SECOND))) {
            (Kind::Exhausted, None) | (Kind::Unauthorized, _) => (300 * SECOND, 300 * SECOND),
            (_, Some(hint)) if hint > cooldown => spread(hint),
            _ => (cooldown, cooldown),
        });
        self.refused |= kind == Kind::Unauthorized;
        self.change(CircuitState::Open, now);
    }
}

/// Of the dropped calls, every other one was never sent.
pub(crate) fn is_unsent(call: &Call) -> bool {
    call.id % 2 == 0
}
