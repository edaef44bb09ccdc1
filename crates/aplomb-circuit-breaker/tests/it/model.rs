//! The circuit against a plain model, which keeps every result and counts anew each time.

use std::collections::BTreeMap;
use std::time::Duration;

use aplomb_circuit_breaker::{Circuit, OnOpen, Probes, Slip, State, Trip, Window};
use aplomb_core::{Decision, End, Gate, Kind, Outcome};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::support::{SECOND, plain};

const MAX_PARKED: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
struct Rules {
    consecutive: Option<u32>,
    /// Ratio, size of the window, fewest calls.
    share: Option<(f64, u32, u32)>,
    at_once: u32,
    to_close: u32,
    success_ratio: f64,
    lease: Duration,
    parks: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    Content(usize),
    End(usize, Option<Outcome>),
    Pass(Duration),
    ForceOpen,
    ForceClosed,
    Reset,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    id: usize,
    epoch: u64,
    probe: bool,
    passed: bool,
}

struct Model {
    rules: Rules,
    state: State,
    epoch: u64,
    /// Until when it is open.
    until: Instant,
    /// What has been counted since the circuit closed.
    results: Vec<Kind>,
    /// What the probes of this half-open stretch have said.
    verdicts: BTreeMap<usize, bool>,
    /// Probes out, and until when they are waited for.
    leases: BTreeMap<usize, Instant>,
    recovered_from: Option<u64>,
    /// How many steps the next cooldown has grown.
    grown: u32,
    closed_since: Instant,
    opened_by: Kind,
    /// The shortest and the longest that it may stay open, when it has just opened.
    opening: Option<(Duration, Duration)>,
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap()
}

fn float(count: usize) -> f64 {
    f64::from(number(count))
}

impl Model {
    fn new(rules: Rules, now: Instant) -> Self {
        Self {
            rules,
            state: State::Closed,
            epoch: 0,
            until: now,
            results: Vec::new(),
            verdicts: BTreeMap::new(),
            leases: BTreeMap::new(),
            recovered_from: None,
            grown: 0,
            closed_since: now,
            opened_by: Kind::Local,
            opening: None,
        }
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
        self.recovered_from = None;
        self.verdicts.clear();
        self.leases.clear();
    }

    fn pass(&mut self, now: Instant) {
        if self.state == State::Open && now >= self.until {
            self.change(State::HalfOpen);
        }
        self.leases.retain(|_, ends| *ends > now);
    }

    fn admits(&self) -> bool {
        match self.state {
            State::Closed | State::ForcedClosed => true,
            State::HalfOpen => self.leases.len() < self.rules.at_once as usize,
            _ => false,
        }
    }

    fn admit(&mut self, id: usize, now: Instant) -> Call {
        let probe = self.state == State::HalfOpen;
        if probe {
            self.leases.insert(id, now + self.rules.lease);
        }
        Call { id, epoch: self.epoch, probe, passed: false }
    }

    fn content(&mut self, call: &mut Call, now: Instant) {
        if call.probe && !call.passed && call.epoch == self.epoch {
            call.passed = true;
            self.leases.remove(&call.id);
            self.say(call.id, true, Outcome::success(), now);
        }
    }

    fn end(&mut self, call: Call, outcome: Option<Outcome>, now: Instant) {
        if call.epoch == self.epoch && !call.passed {
            self.leases.remove(&call.id);
        }
        let followed = call.passed && self.recovered_from == Some(call.epoch);
        let Some(outcome) = outcome.filter(|_| call.epoch == self.epoch || followed) else {
            return;
        };
        match (self.state, outcome.kind()) {
            (State::Closed, kind) => self.count(kind, outcome, now),
            (State::HalfOpen, Kind::Exhausted) => self.open(outcome, now),
            (State::HalfOpen, Kind::Unauthorized) if self.opened_by == Kind::Unauthorized => {
                self.open(outcome, now);
            }
            (State::HalfOpen, Kind::Local) => {}
            (State::HalfOpen, Kind::Transient | Kind::Throttled) => self.say(call.id, false, outcome, now),
            (State::HalfOpen, _) if !call.passed => self.say(call.id, true, outcome, now),
            _ => {}
        }
    }

    fn count(&mut self, kind: Kind, outcome: Outcome, now: Instant) {
        self.results.push(kind);
        let row = |counted: Kind, ends: fn(&Kind) -> bool| {
            let row = self.results.iter().rev().take_while(|kind| !ends(kind));
            number(row.filter(|kind| **kind == counted).count())
        };
        let failures = row(Kind::Transient, |kind| *kind == Kind::Success);
        let refusals = row(Kind::Unauthorized, |kind| {
            !matches!(kind, Kind::Unauthorized | Kind::Transient | Kind::Local)
        });
        let opens = match kind {
            Kind::Exhausted => true,
            Kind::Unauthorized => refusals == 3,
            Kind::Transient => {
                self.rules.consecutive.is_some_and(|most| failures >= most) || self.too_large_a_share()
            }
            _ => false,
        };
        if opens {
            self.open(outcome, now);
        }
    }

    fn too_large_a_share(&self) -> bool {
        let Some((ratio, size, fewest)) = self.rules.share else {
            return false;
        };
        let counted = self.results.iter().filter(|kind| matches!(kind, Kind::Success | Kind::Transient));
        let window: Vec<_> = counted.rev().take(size as usize).collect();
        let failures = window.iter().filter(|kind| ***kind == Kind::Transient).count();
        window.len() >= fewest.min(size) as usize && float(failures) >= ratio * float(window.len())
    }

    fn say(&mut self, probe: usize, passed: bool, outcome: Outcome, now: Instant) {
        self.verdicts.insert(probe, passed);
        let passed = number(self.verdicts.values().filter(|passed| **passed).count());
        let failed = number(self.verdicts.len()) - passed;
        let needed = (1..=self.rules.to_close)
            .find(|n| f64::from(*n) >= self.rules.success_ratio * f64::from(self.rules.to_close));
        let needed = needed.unwrap_or(self.rules.to_close);
        if passed >= needed {
            let from = self.epoch;
            self.close(now);
            self.recovered_from = Some(from);
        } else if failed + needed > self.rules.to_close {
            self.open(outcome, now);
        }
    }

    fn close(&mut self, now: Instant) {
        self.results.clear();
        self.closed_since = now;
        self.change(State::Closed);
    }

    fn open(&mut self, outcome: Outcome, now: Instant) {
        if self.state == State::Closed {
            let minutes = now.duration_since(self.closed_since).as_secs() / 60;
            let minutes = u32::try_from(minutes).unwrap();
            self.grown -= self.grown.min(minutes);
        }
        let spread = |hint: Duration| (hint, hint + (hint / 2).min(5 * SECOND));
        let hint = outcome.retry_after();
        self.opening = Some(match outcome.kind() {
            Kind::Exhausted => {
                hint.map_or((300 * SECOND, 300 * SECOND), |hint| spread(hint.min(3_600 * SECOND)))
            }
            Kind::Unauthorized => (300 * SECOND, 300 * SECOND),
            _ => {
                let cooldown = (5 * SECOND * 2_u32.pow(self.grown)).min(60 * SECOND);
                self.grown = (self.grown + 1).min(4);
                match hint.map(|hint| hint.min(120 * SECOND)) {
                    Some(hint) if hint > cooldown => spread(hint),
                    _ => (cooldown, cooldown),
                }
            }
        });
        self.opened_by = outcome.kind();
        self.change(State::Open);
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    let share = (prop::sample::select(vec![0.25, 0.5, 1.0]), 1_u32..9, 1_u32..9);
    let trip = prop_oneof![
        (1_u32..5).prop_map(|most| (Some(most), None)),
        share.clone().prop_map(|share| (None, Some(share))),
        (1_u32..5, share).prop_map(|(most, share)| (Some(most), Some(share))),
    ];
    let probes = (1_u32..4, 1_u32..6, prop::sample::select(vec![0.5, 1.0]), 1_u64..60);
    (trip, probes, any::<bool>()).prop_map(|((consecutive, share), probes, parks)| {
        let (at_once, to_close, success_ratio, lease) = probes;
        let lease = Duration::from_secs(lease);
        Rules { consecutive, share, at_once, to_close, success_ratio, lease, parks }
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let kind = prop_oneof![
        6 => Just(Outcome::success()),
        8 => Just(Outcome::transient()),
        1 => Just(Outcome::busy()),
        1 => Just(Outcome::throttled()),
        1 => Just(Outcome::exhausted()),
        3 => Just(Outcome::unauthorized()),
        1 => Just(Outcome::permanent()),
        1 => Just(Outcome::local()),
    ];
    (kind, prop::option::weighted(0.1, 0_u64..5_000)).prop_map(|(outcome, hint)| match hint {
        Some(hint) => outcome.with_retry_after(Duration::from_secs(hint)),
        None => outcome,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let pass = prop_oneof![3 => 0_u64..1_000, 3 => 1_000_u64..12_000, 1 => 30_000_u64..400_000];
    prop_oneof![
        8 => Just(Step::Ask),
        5 => any::<usize>().prop_map(Step::Content),
        8 => (any::<usize>(), prop::option::weighted(0.9, outcome())).prop_map(|(i, end)| Step::End(i, end)),
        4 => pass.prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
        1 => prop::sample::select(vec![Step::ForceOpen, Step::ForceClosed, Step::Reset]),
    ]
}

/// Asks both, and lets the call through where they agree to.
fn ask(circuit: &mut Circuit, model: &mut Model, id: usize, now: Instant) -> Option<(Slip, Call)> {
    let said = circuit.check(&(), now);
    if model.admits() {
        assert_eq!(said, Decision::Admit);
        return Some((circuit.admit(&(), now), model.admit(id, now)));
    }
    let first_lapse = model.leases.values().min().copied();
    match (model.state, said) {
        (State::Open, Decision::NotBefore(at, why)) => {
            assert!(model.rules.parks && model.until - now <= MAX_PARKED);
            assert_eq!((at, why.retry_after()), (model.until, Some(model.until - now)));
        }
        (State::Open, Decision::Refuse(why)) => {
            assert!(!model.rules.parks || model.until - now > MAX_PARKED);
            assert_eq!(why.retry_after(), Some(model.until - now));
        }
        (State::HalfOpen, Decision::WhenReleased(_)) => {
            assert!(model.rules.parks);
            // The line never waits for ever: it looks again when a lease ends.
            assert!(first_lapse.is_some() && circuit.lapses() == first_lapse);
        }
        (State::HalfOpen, Decision::Refuse(why)) => {
            assert!(!model.rules.parks);
            assert_eq!(why.retry_after(), first_lapse.map(|at| at - now));
        }
        (State::ForcedOpen, Decision::Refuse(why)) => assert_eq!(why.retry_after(), None),
        (state, said) => panic!("{state:?}: {said:?}"),
    }
    None
}

/// What has been told since the last step: one change after the other, and the last leads to here.
fn listen(circuit: &mut Circuit, model: &mut Model, told: &mut (State, u64), now: Instant) {
    while let Some(change) = circuit.notice() {
        assert_eq!(change.from(), told.0);
        assert_ne!(change.from(), change.to());
        assert!(change.epoch() > told.1);
        *told = (change.to(), change.epoch());
        if change.to() == State::Open {
            let (least, most) = model.opening.take().expect("the model opened as well");
            let cooldown = change.cooldown().unwrap();
            assert!((least..=most).contains(&cooldown), "{cooldown:?} of {least:?} to {most:?}");
            model.until = now + cooldown;
        }
    }
    model.pass(now);
    assert_eq!(told.0, model.state);
    assert!(model.opening.is_none());
}

fn compare(circuit: &mut Circuit, model: &Model, now: Instant) {
    let found = circuit.snapshot(now);
    assert_eq!((found.state(), found.epoch()), (model.state, model.epoch));
    assert_eq!(found.probes_in_flight(), model.leases.len());
    assert!(found.probes_in_flight() <= model.rules.at_once as usize);
}

fn run(rules: Rules, steps: Vec<Step>) {
    let mut now = Instant::now();
    let share = rules
        .share
        .map(|(ratio, size, fewest)| Trip::ratio(ratio, Window::calls(size)).min_calls(fewest));
    let trip = match (rules.consecutive.map(Trip::consecutive), share) {
        (Some(row), Some(share)) => row.or(share),
        (Some(rule), None) | (None, Some(rule)) => rule,
        (None, None) => unreachable!("no rule at all"),
    };
    let probes = Probes::new(rules.at_once)
        .to_close(rules.to_close)
        .success_ratio(rules.success_ratio)
        .lease(rules.lease);
    let on_open = if rules.parks {
        OnOpen::Park { max: MAX_PARKED }
    } else {
        OnOpen::FailFast
    };
    let mut circuit = Circuit::new().trip(trip).cooldown(plain()).probes(probes).on_open(on_open);
    let mut model = Model::new(rules, now);
    let mut told = (State::Closed, 0);
    let mut calls: Vec<(Slip, Call)> = Vec::new();
    for (id, step) in steps.into_iter().enumerate() {
        model.pass(now);
        match step {
            Step::Ask => calls.extend(ask(&mut circuit, &mut model, id, now)),
            Step::Content(i) if !calls.is_empty() => {
                let i = i % calls.len();
                circuit.content(&mut calls[i].0, now);
                model.content(&mut calls[i].1, now);
            }
            Step::End(i, outcome) if !calls.is_empty() => {
                let (slip, call) = calls.swap_remove(i % calls.len());
                let end = match outcome {
                    Some(outcome) => End::Judged { outcome, usage: None },
                    None if call.id % 2 == 0 => End::Unsent,
                    None => End::Abandoned,
                };
                circuit.end(slip, end, now);
                model.end(call, outcome, now);
            }
            Step::Content(_) | Step::End(..) => {}
            Step::Pass(time) => now += time,
            Step::ForceOpen if model.state != State::ForcedOpen => {
                circuit.force_open(now);
                model.change(State::ForcedOpen);
            }
            Step::ForceClosed if model.state != State::ForcedClosed => {
                circuit.force_closed(now);
                model.change(State::ForcedClosed);
            }
            Step::ForceOpen => circuit.force_open(now),
            Step::ForceClosed => circuit.force_closed(now),
            Step::Reset => {
                circuit.reset(now);
                model.grown = 0;
                model.close(now);
            }
        }
        circuit.state(now);
        listen(&mut circuit, &mut model, &mut told, now);
        compare(&mut circuit, &model, now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_interleaving_goes_as_in_the_model(
        rules in rules(), steps in prop::collection::vec(step(), 0..200),
    ) {
        run(rules, steps);
    }
}
