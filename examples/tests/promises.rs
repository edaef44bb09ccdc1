//! Promises 37 to 47 hold, in virtual time, over many seeds; and so do the figures that a batch is judged by.
//!
//! A promise that is not kept everywhere yet is asserted with the bound that it reaches: a list of [`Reached`] says
//! where that is, and what is missing. `cargo run --release --example simulate -- --promises` prints the same measures.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use aplomb_examples::simulate::promises::{self, Finding, Promise};
use aplomb_examples::simulate::server::{Latency, Limit, World};
use aplomb_examples::simulate::{Client, Job, Row, Scenario, Table, named};

const SEEDS: Range<u64> = 0..50;

/// A measure that is beyond its promise, and the most that it is today.
struct Reached {
    case: &'static str,
    what: &'static str,
    most: f64,
}

const fn reached(case: &'static str, what: &'static str, most: f64) -> Reached {
    Reached { case, what, most }
}

/// Asserts a promise, except for these measures, which have another bound.
fn holds(promise: Promise, but_for: &[Reached]) {
    let Err(violation) = promise(SEEDS) else { return };
    let is_allowed = |finding: &&Finding| {
        but_for.iter().any(|reached| {
            reached.case == finding.case && reached.what == finding.what && finding.value <= reached.most
        })
    };
    let mut broken = String::new();
    for finding in violation.found().iter().filter(|finding| !is_allowed(finding)) {
        let _ = writeln!(broken, "{finding}");
    }
    assert!(broken.is_empty(), "promise {}:\n{broken}", violation.promise());
}

#[test]
fn promise_37_what_hits_a_share_of_the_calls_at_random_slows_nobody_down() {
    holds(promises::promise_37, &[]);
}

#[test]
fn promise_38_a_circuit_opens_in_an_outage_and_not_while_two_in_five_calls_succeed() {
    holds(promises::promise_38, &[]);
}

#[test]
fn promise_39_the_delay_after_an_outage_is_a_share_of_its_length() {
    holds(promises::promise_39, &[]);
}

#[test]
fn promise_40_all_callers_are_sent_within_a_second_and_a_half() {
    holds(promises::promise_40, &[]);
}

#[test]
fn promise_41_a_server_that_collapses_under_load_is_kept_below_that() {
    holds(promises::promise_41, &[]);
}

#[test]
fn promise_42_the_places_of_a_server_are_found_and_used() {
    holds(promises::promise_42, &[]);
}

#[test]
fn promise_43_aplomb_is_never_worse_than_a_plain_retry_loop() {
    holds(promises::promise_43, &[]);
}

#[test]
fn promise_44_what_one_tenant_learns_all_know() {
    holds(promises::promise_44, &[]);
}

#[test]
fn promise_45_what_a_server_says_wrongly_costs_little() {
    holds(promises::promise_45, &[]);
}

#[test]
fn promise_46_a_prompt_that_is_always_refused_ends_and_delays_nobody() {
    holds(promises::promise_46, &[]);
}

#[test]
fn promise_47_telling_a_true_limit_makes_nothing_slower() {
    holds(promises::promise_47, &[]);
}

/// What is measured: a median over the seeds.
#[derive(Clone, Copy, Debug)]
enum Measure {
    /// The time as a multiple of the ideal.
    Time,
    /// The requests as a multiple of the prompts.
    Requests,
    /// The share of the requests that were refused.
    Refused,
    /// The requests that were sent into an outage.
    IntoOutage,
}

use Measure::{IntoOutage, Refused, Requests, Time};

impl Measure {
    #[expect(clippy::cast_precision_loss, reason = "there are few")]
    fn of(self, row: &Row) -> f64 {
        match self {
            Time => row.ratio,
            Requests => row.requests as f64 / row.prompts.max(1) as f64,
            Refused => row.refused as f64 / row.requests.max(1) as f64,
            IntoOutage => row.into_outages as f64,
        }
    }
}

/// Asserts the bounds of scenarios, with this client: all prompts are answered, and no measure is beyond its bound.
fn keeps(client: Client, bounds: &[(Scenario, &[(Measure, f64)])]) {
    let scenarios: Vec<_> = bounds.iter().map(|(scenario, _)| scenario.clone()).collect();
    let table = Table::of(&scenarios, &[client], SEEDS);
    let mut broken = String::new();
    for (row, (scenario, bounds)) in table.rows().iter().zip(bounds) {
        let name = scenario.name;
        if row.answered < row.prompts || row.early > 0 {
            let _ = writeln!(broken, "{name}: {} of {}, {} early", row.answered, row.prompts, row.early);
        }
        for (measure, most) in *bounds {
            let value = measure.of(row);
            if value > *most {
                let _ = writeln!(broken, "{name}: {measure:?} {value:.3}, not {most}");
            }
        }
    }
    assert!(broken.is_empty(), "{}:\n{broken}", client.name());
}

fn scenario(name: &str) -> Scenario {
    named(name).expect("there is one of that name")
}

/// The scenario with this many callers.
fn by(callers: usize, scenario: Scenario) -> Scenario {
    let job = Job { callers, ..scenario.job };
    scenario.job(job)
}

#[test]
fn a_batch_that_is_told_nothing_gets_through_trouble() {
    let bounds: &[(&str, &[(Measure, f64)])] = &[
        ("429-5%-hint", &[(Time, 1.4)]),
        ("429-10%", &[(Time, 1.25)]),
        ("503-20%", &[(Time, 1.2)]),
        ("streams", &[(Time, 1.3)]),
        ("brown-out", &[(Time, 1.6)]),
        ("outage-10s-503", &[(Time, 1.12), (IntoOutage, 40.0)]),
        ("outage-10s-refuses", &[(Time, 1.12), (IntoOutage, 40.0)]),
        ("outage-10s-resets", &[(Time, 1.12), (IntoOutage, 40.0)]),
        ("outage-10s-hangs", &[(Time, 1.12), (IntoOutage, 40.0)]),
        ("outage-25s", &[(Time, 1.1), (IntoOutage, 50.0)]),
        ("outage-10min", &[(Time, 1.06), (IntoOutage, 110.0)]),
        ("collapse", &[(Time, 1.5), (Requests, 1.05)]),
        ("16-places-503", &[(Time, 1.2), (Requests, 1.1)]),
        ("16-places-429", &[(Time, 1.2), (Refused, 0.1)]),
        ("window-5s", &[(Time, 1.1)]),
        ("window-minute", &[(Time, 1.1)]),
    ];
    let bounds: Vec<_> = bounds.iter().map(|(name, bounds)| (scenario(name), *bounds)).collect();
    keeps(Client::Batch, &bounds);
}

#[test]
fn a_server_without_limits_is_used_as_by_a_plain_loop() {
    let bounds: Vec<_> = [
        "healthy-200ms",
        "healthy-2s",
        "healthy-30s",
        "heavy-tail",
        "queue",
    ]
    .iter()
    .map(|name| (scenario(name), &[(Time, 1.02), (Requests, 1.0)][..]))
    .collect();
    keeps(Client::Batch, &bounds);
}

#[test]
fn limits_that_nobody_told_are_found_and_used() {
    let names = ["bucket", "bucket-headers", "bucket-bare", "bucket-counts"];
    let bounds: Vec<_> = names
        .iter()
        .flat_map(|name| [by(64, scenario(name)), by(256, scenario(name))])
        .map(|scenario| (scenario, &[(Time, 1.03), (Refused, 0.05)][..]))
        .collect();
    keeps(Client::Batch, &bounds);
}

#[test]
fn limits_that_are_told_are_kept_without_a_429() {
    let mut bounds: Vec<_> = ["bucket", "bucket-headers", "bucket-bare", "bucket-counts"]
        .iter()
        .flat_map(|name| [by(64, scenario(name)), by(256, scenario(name))])
        .map(|scenario| (scenario, &[(Time, 1.03), (Refused, 0.0)][..]))
        .collect();
    bounds.push((scenario("tokens-kept"), &[(Time, 1.05)]));
    bounds.push((scenario("tokens-given-back"), &[(Time, 1.05)]));
    keeps(Client::Told, &bounds);
}

#[test]
fn an_account_without_money_is_asked_a_handful_of_times() {
    let world = World {
        funds: Some(0),
        latency: Latency::Fixed(Duration::from_secs(1)),
        ..World::default()
    };
    let job = Job { prompts: 128, callers: 128, ..Job::default() };
    let table = Table::of(&[Scenario::new("exhausted", "", world).job(job)], &[Client::Batch], SEEDS);
    let requests = table.rows()[0].requests;
    assert!(requests <= 8, "{requests}");
}

#[test]
fn a_quota_that_is_never_reached_costs_nothing() {
    let limit = Limit::bucket(10_000, Duration::from_secs(1), 10_000);
    let world = World {
        limits: vec![limit],
        latency: Latency::Fixed(Duration::from_secs(2)),
        ..World::default()
    };
    let scenario = Scenario::new("never reached", "", world)
        .told(aplomb::rate_limit::Quota::requests_per_second(10_000));
    keeps(Client::Told, &[(scenario, &[(Time, 1.02), (Requests, 1.0)])]);
}
