//! The circuit against the model: calls that are admitted, answered and dropped in any order.

use std::time::Duration;

use aplomb_admission::{Decision, End, Evictable, Gate, Progress, Worth};
use aplomb_circuit_breaker::{
    Circuit, CircuitSettings, CircuitState, CircuitToken, OnAbandoned, OnOpen, Probes, Ramp, Slow, Trip,
    Window,
};
use aplomb_core::{EventKind, Outcome};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::model::{Call, Model, Rules, Share, is_unsent};
use crate::support::plain;

const MAX_PARKED: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    Content(usize),
    End(usize, Option<Outcome>),
    Pass(Duration),
    Switch(Switch),
}

#[derive(Clone, Copy, Debug)]
enum Switch {
    ForceOpen,
    ForceClosed,
    Isolate,
    Disable,
    Reset,
}

fn share() -> impl Strategy<Value = Share> {
    (prop::sample::select(vec![0.25, 0.5, 1.0]), 1_u32..9, 1_u32..9)
}

fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

fn rules() -> impl Strategy<Value = Rules> {
    let trip = (
        prop::option::of(1_u32..5),
        prop::option::of(share()),
        prop::option::of((seconds(1..10), any::<bool>(), share())),
        any::<bool>(),
    )
        .prop_filter("some rule", |(row, failing, slow, _)| {
            row.is_some() || failing.is_some() || slow.is_some()
        });
    let probes = (1_u32..4, 1_u32..6, prop::sample::select(vec![0.5, 1.0]), seconds(1..60), seconds(1..120));
    let ramp = prop::option::of((1_u32..4, seconds(1..90)));
    let abandoned = prop_oneof![
        Just(OnAbandoned::Neutral),
        Just(OnAbandoned::Failure),
        seconds(1..10).prop_map(OnAbandoned::FailureAfter),
    ];
    (trip, probes, ramp, abandoned, any::<bool>()).prop_map(|(trip, probes, ramp, abandoned, parks)| {
        let (consecutive, failing, slow, all) = trip;
        let (at_once, to_close, success_ratio, lease, patience) = probes;
        Rules {
            consecutive,
            failing,
            slow,
            all,
            at_once,
            to_close,
            success_ratio,
            lease,
            patience,
            ramp,
            abandoned,
            parks,
        }
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
    use Switch::{Disable, ForceClosed, ForceOpen, Isolate, Reset};
    let pass = prop_oneof![3 => 0_u64..1_000, 3 => 1_000_u64..12_000, 1 => 30_000_u64..700_000];
    prop_oneof![
        8 => Just(Step::Ask),
        5 => any::<usize>().prop_map(Step::Content),
        8 => (any::<usize>(), prop::option::weighted(0.8, outcome())).prop_map(|(i, end)| Step::End(i, end)),
        4 => pass.prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
        1 => prop::sample::select(vec![ForceOpen, ForceClosed, Isolate, Disable, Reset]).prop_map(Step::Switch),
    ]
}

fn circuit(rules: Rules) -> Circuit {
    let window = |(_, size, _): Share| Window::calls(size);
    let consecutive = rules.consecutive.map(Trip::consecutive);
    let failing = rules.failing.map(|share| Trip::ratio(share.0, window(share)).min_calls(share.2));
    let slow = rules.slow.map(|(longest, first_content, share)| {
        let slow = if first_content {
            Slow::first_content(longest)
        } else {
            Slow::whole(longest)
        };
        Trip::slow(share.0, slow, window(share)).min_calls(share.2)
    });
    let join = if rules.all { Trip::and } else { Trip::or };
    let trip = [consecutive, failing, slow].into_iter().flatten().reduce(join).unwrap();
    let probes = Probes::new(rules.at_once)
        .to_close(rules.to_close)
        .success_ratio(rules.success_ratio)
        .lease(rules.lease)
        .patience(rules.patience);
    let on_open = if rules.parks {
        OnOpen::Park { max: MAX_PARKED }
    } else {
        OnOpen::FailFast
    };
    let ramp = rules.ramp.map_or(Ramp::none(), |(first, over)| Ramp::new(first).over(over));
    Circuit::new(
        CircuitSettings::new()
            .trip(trip.one_credential())
            .cooldown(plain())
            .probes(probes)
            .ramp(ramp)
            .on_open(on_open)
            .on_abandoned(rules.abandoned),
    )
}

/// Asks both, which must agree, and admits the call if they do.
fn ask(circuit: &mut Circuit, model: &mut Model, id: usize, now: Instant) -> Option<(CircuitToken, Call)> {
    let said = circuit.check(&(), now);
    if model.admits() {
        assert_eq!(said, Decision::Admit);
        return Some((circuit.admit(&(), now), model.admit(id, now)));
    }
    let lapses = model.lapses();
    let parks = model.rules.parks;
    match (model.state, said) {
        (CircuitState::Open, Decision::NotBefore(at, reason)) => {
            assert!(parks && model.until - now <= MAX_PARKED);
            assert_eq!((at, reason.retry_after()), (model.until, Some(model.until - now)));
        }
        (CircuitState::Open, Decision::Reject(reason)) => {
            assert!(!parks || model.until - now > MAX_PARKED);
            assert_eq!(reason.retry_after(), Some(model.until - now));
        }
        (CircuitState::HalfOpen | CircuitState::Closed, Decision::WhenReleased(_)) => {
            assert!(parks);
            // The queue never waits forever: it looks again when a lease or the ramp ends.
            assert!(lapses.is_some() && circuit.hints().next_wakeup == lapses);
        }
        (CircuitState::HalfOpen | CircuitState::Closed, Decision::Reject(reason)) => {
            assert!(!parks);
            let usual = Some(circuit.hints().expected_latency).filter(|usual| !usual.is_zero());
            let longest = lapses.map(|at| at - now);
            assert_eq!(reason.retry_after(), usual.into_iter().chain(longest).min());
        }
        (CircuitState::Isolated, Decision::Reject(reason)) => assert_eq!(reason.retry_after(), None),
        (state, said) => panic!("{state:?}: {said:?}"),
    }
    None
}

fn switch(circuit: &mut Circuit, model: &mut Model, to: Switch, now: Instant) {
    match to {
        Switch::ForceOpen => {
            circuit.force_open(now);
            if model.state != CircuitState::Open {
                model.open(None, now);
            }
        }
        Switch::ForceClosed => {
            circuit.force_closed(now);
            model.close(now);
        }
        Switch::Isolate => {
            circuit.isolate(now);
            model.switch(CircuitState::Isolated, now);
        }
        Switch::Disable => {
            circuit.disable(now);
            model.switch(CircuitState::Disabled, now);
        }
        Switch::Reset => {
            circuit.reset(now);
            model.reset(now);
        }
    }
}

/// Reads the events since the last step: each transition starts where the one before ended, and the last one ends here.
fn listen(circuit: &mut Circuit, model: &mut Model, told: &mut (CircuitState, u64), now: Instant) {
    while let Some(change) = circuit.next_event() {
        let EventKind::CircuitChanged { from, to, epoch, cooldown, .. } = *change.event().kind() else {
            panic!("a circuit tells of nothing else");
        };
        assert_eq!(from, told.0);
        assert_ne!(from, to);
        assert!(epoch > told.1);
        *told = (to, epoch);
        if to == CircuitState::Open {
            let (least, most) = model.opening.take().expect("the model opened as well");
            let cooldown = cooldown.unwrap();
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
    assert_eq!(found.ramp(), model.ramp.map(|(most, _)| most));
    if model.state == CircuitState::Closed {
        assert_eq!(found.failures_in_a_row(), model.failures());
        for (found, counted) in [
            (found.window(), model.failing()),
            (found.slow_calls(), model.slow()),
        ] {
            let bad = counted.iter().filter(|bad| **bad).count();
            assert_eq!((found.calls(), found.failures()), (counted.len() as u64, bad as u64));
        }
    }
    assert_eq!(circuit.worth(now) == Worth::FRESH, model.is_forgettable(now));
    assert_eq!(
        circuit.rejection(now).is_some(),
        matches!(model.state, CircuitState::Open | CircuitState::Isolated)
    );
}

fn run(rules: Rules, steps: Vec<Step>) {
    let mut now = Instant::now();
    let mut circuit = circuit(rules);
    let mut model = Model::new(rules, now);
    let mut told = (CircuitState::Closed, 0);
    let mut calls: Vec<(CircuitToken, Call)> = Vec::new();
    let mut with_content: Vec<(CircuitToken, Call)> = Vec::new();
    for (id, step) in steps.into_iter().enumerate() {
        match step {
            Step::Ask => calls.extend(ask(&mut circuit, &mut model, id, now)),
            // A call has one first content.
            Step::Content(i) if !calls.is_empty() => {
                let (mut token, mut call) = calls.swap_remove(i % calls.len());
                circuit.on(&mut token, Progress::FirstByte, now);
                model.content(&mut call, now);
                with_content.push((token, call));
            }
            Step::End(i, outcome) if !calls.is_empty() || !with_content.is_empty() => {
                let all = calls.len() + with_content.len();
                let (token, call) = match i % all {
                    i if i < calls.len() => calls.swap_remove(i),
                    i => with_content.swap_remove(i - calls.len()),
                };
                let end = match outcome {
                    Some(outcome) => End::Judged { outcome, usage: None },
                    None if is_unsent(&call) => End::Unsent,
                    None => End::Abandoned,
                };
                circuit.end(token, end, now);
                model.end(call, outcome, now);
            }
            Step::Content(_) | Step::End(..) => {}
            Step::Pass(time) => now += time,
            Step::Switch(to) => switch(&mut circuit, &mut model, to, now),
        }
        circuit.state(now);
        model.pass(now);
        listen(&mut circuit, &mut model, &mut told, now);
        compare(&mut circuit, &model, now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn any_interleaving_goes_as_in_the_model(
        rules in rules(), steps in prop::collection::vec(step(), 0..200),
    ) {
        run(rules, steps);
    }
}
