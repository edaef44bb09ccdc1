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

/// Three where code is not optimized: fifty would take half an hour.
const SEEDS: Range<u64> = if cfg!(debug_assertions) { 0..3 } else { 0..50 };

/// How far beyond a bound a value may be: three seeds leave more to luck.
const SLACK: f64 = if cfg!(debug_assertions) { 1.15 } else { 1.0 };

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
        let of_it = |reached: &&Reached| reached.case == finding.case && reached.what == finding.what;
        let most = but_for.iter().find(of_it).map_or(finding.most, |reached| reached.most);
        finding.value <= most * SLACK
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
    // Missing: with nothing known, seven failures in a row are no chance; six in ten failing from the first call on are now
    // and then such a run.
    let but_for = [
        reached(
            "60 % of 503s",
            "share of the runs in which it opens",
            if cfg!(debug_assertions) { 1.0 } else { 0.55 },
        ),
        reached("40 % of resets", "share of the runs in which it opens", 0.12),
        reached("60 % that fail late", "share of the runs in which it opens", 0.08),
    ];
    holds(promises::promise_38, &but_for);
}

#[test]
fn promise_39_the_delay_after_an_outage_is_a_share_of_its_length() {
    // Missing: what hangs shows only at its time-out, and other probes go meanwhile; elsewhere a few calls, those that broke
    // as it began.
    let but_for = [
        reached("600 s, Unavailable", "calls sent into it", 108.00),
        reached("10 s, Refuses", "calls sent into it", 30.00),
        reached("25 s, Refuses", "calls sent into it", 46.00),
        reached("600 s, Refuses", "calls sent into it", 108.00),
        reached("10 s, Resets", "calls sent into it", 30.00),
        reached("25 s, Resets", "calls sent into it", 46.00),
        reached("600 s, Resets", "calls sent into it", 108.00),
        reached("10 s, Hangs", "calls sent into it", 70.00),
        reached("25 s, Hangs", "calls sent into it", 86.00),
        reached("25 s, Hangs", "seconds until all go again", 9.80),
        reached("120 s, Hangs", "calls sent into it", 124.00),
        reached("600 s, Hangs", "calls sent into it", 162.00),
    ];
    holds(promises::promise_39, &but_for);
}

#[test]
fn promise_40_all_callers_are_sent_within_a_second_and_a_half() {
    holds(promises::promise_40, &[]);
}

#[test]
fn promise_41_a_server_that_collapses_under_load_is_kept_below_that() {
    // Missing: nothing tells this server from one with long answers until the first of them is due, and a round of calls is
    // lost; see docs/proposals/brakes.md.
    let but_for = [
        reached("collapse", "time ÷ ideal", 3.30),
        reached("collapse", "requests ÷ prompts", 1.31),
        reached("collapse-8s", "time ÷ ideal", 8.68),
        reached("collapse-8s", "requests ÷ prompts", 2.47),
    ];
    holds(promises::promise_41, &but_for);
}

#[test]
fn promise_42_the_places_of_a_server_are_found_and_used() {
    // Missing: above forty places three refusals in a row shut the server before its places are known, and a limit of four
    // is probed too often.
    let but_for = [
        reached("4 places, 503 above", "share refused", 0.18),
        reached("40 places, 503 above", "time ÷ ideal", 1.29),
        reached("40 places, 503 above", "share refused", 0.29),
        reached("4 places, 429 above", "time ÷ ideal", 1.40),
        reached("4 places, 429 above", "share refused", 0.20),
        reached("16 places, 429 above", "time ÷ ideal", 1.68),
        reached("40 places, 429 above", "time ÷ ideal", 2.33),
        reached("40 places, 429 above", "share refused", 0.33),
        reached("40 places, 429 above", "unanswered", 20.00),
    ];
    holds(promises::promise_42, &but_for);
}

#[test]
fn promise_43_aplomb_is_never_worse_than_a_plain_retry_loop() {
    // Missing: what hangs; a poisoned prompt that nobody waits behind any more. Runs of a few seconds lose a tenth of one to the slow start.
    let but_for = [
        reached("429-5%-hint", "time ÷ the best loop's", 1.08),
        reached("429-1%-fast", "time ÷ the best loop's", 1.08),
        reached("outage-10s-hangs", "time ÷ the best loop's", 1.13),
        reached("fast", "time ÷ the best loop's", 1.09),
        reached("envoy-100", "time ÷ the best loop's", 1.3),
        reached("poison-hint", "time ÷ the best loop's", 1.05),
        reached("poison-hint", "requests ÷ the best loop's", 1.17),
        reached("poison-bare", "time ÷ the best loop's", 1.05),
        reached("poison-bare", "requests ÷ the best loop's", 1.29),
        reached("poison-large", "time ÷ the best loop's", 1.05),
        reached("poison-large", "requests ÷ the best loop's", 1.29),
        reached("poison-503", "time ÷ the best loop's", 1.05),
        reached("poison-503", "requests ÷ the best loop's", 1.25),
        reached("exhausted", "time ÷ the best loop's", 1.08),
        reached("503-limit", "requests ÷ the best loop's", 1.33),
    ];
    holds(promises::promise_43, &but_for);
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
    // Missing: a call is suspected only while others are accepted, so it is retried to the end when it is alone.
    let but_for = [
        reached("poison-hint", "never ends", 1.00),
        reached("poison-bare", "never ends", 1.00),
        reached("poison-bare", "refusals of one prompt", 10.00),
        reached("poison-large", "never ends", 1.00),
        reached("poison-large", "refusals of one prompt", 10.00),
    ];
    holds(promises::promise_46, &but_for);
}

#[test]
fn promise_47_telling_a_true_limit_makes_nothing_slower() {
    // Missing: a quota refills evenly, and a window comes back whole.
    let but_for = [
        reached("haproxy", "time ÷ untold", 1.8),
        reached("envoy-10", "time ÷ untold", 1.06),
        reached("window-no-unit", "time ÷ untold", 1.12),
    ];
    holds(promises::promise_47, &but_for);
}

/// The measure: a median over the seeds.
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
            if value > *most * SLACK {
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
        // 1.2 is owed: the luck of the last prompt, with a backoff of up to 4 s.
        ("503-20%", &[(Time, 1.35)]),
        ("brown-out", &[(Time, 1.6)]),
        ("outage-10s-503", &[(Time, 1.12), (IntoOutage, 40.0)]),
        ("outage-10s-refuses", &[(Time, 1.12), (IntoOutage, 40.0)]),
        ("outage-10s-resets", &[(Time, 1.12), (IntoOutage, 40.0)]),
        // 40 are owed: a call that hangs shows when its time is over.
        ("outage-10s-hangs", &[(Time, 1.15), (IntoOutage, 55.0)]),
        ("outage-25s", &[(Time, 1.1), (IntoOutage, 50.0)]),
        ("outage-10min", &[(Time, 1.06), (IntoOutage, 110.0)]),
        // 1.5 and 1.05 are owed: see promise 41.
        ("collapse", &[(Time, 3.25), (Requests, 1.28)]),
        ("16-places-503", &[(Time, 1.2), (Requests, 1.12)]),
        // 0.1 is owed.
        ("16-places-429", &[(Time, 1.2), (Refused, 0.12)]),
        ("window-5s", &[(Time, 1.1)]),
        ("window-minute", &[(Time, 1.1)]),
    ];
    let bounds: Vec<_> = bounds.iter().map(|(name, bounds)| (scenario(name), *bounds)).collect();
    keeps(Client::Batch, &bounds);
}

#[test]
fn a_stream_is_answered_whole_or_ends_with_an_error() {
    let table = Table::of(&[scenario("streams")], &[Client::Batch], SEEDS);
    let row = &table.rows()[0];
    // One in twenty breaks after its first content has been passed on, and cannot be sent again.
    assert!(row.answered * 100 >= row.prompts * 93, "{} of {}", row.answered, row.prompts);
    assert!(row.ratio <= 1.3, "{}", row.ratio);
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
        // 1.03 and 0.05 are owed: so short a run is hardly more than the time in which the pace is found, and refused calls that
        // count cost time.
        .map(|scenario| (scenario, &[(Time, 1.06), (Refused, 0.13)][..]))
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
