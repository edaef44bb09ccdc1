//! Promises about faults that come at random.

use std::ops::Range;
use std::time::Duration;

use super::{Violation, check, median, unless};
use crate::simulate::client::Client;
use crate::simulate::run::run;
use crate::simulate::scenario::{Job, Scenario};
use crate::simulate::server::{Down, Fault, Hint, Latency, Outage, Refusal, What, World};

const SECOND: Duration = Duration::from_secs(1);

fn random(share: f64, what: What) -> Scenario {
    let world = World {
        latency: Latency::Uniform(SECOND / 2, SECOND * 3 / 2),
        faults: vec![Fault { share, when: None, what }],
        ..World::default()
    };
    Scenario::new("random", "", world).job(Job { prompts: 1_200, ..Job::default() })
}

/// Refusals and failures that hit a share of up to a quarter of the calls, whatever the load: at least 0.9 × (1 − share)
/// of the throughput of a stack without brakes, all answered, and no more requests.
///
/// # Errors
///
/// The runs that break the promise.
pub fn promise_37(seeds: Range<u64>) -> Result<(), Violation> {
    let refused = |hint| What::Refused(Refusal::too_many(hint));
    let whats = [
        ("429s without a hint", refused(Hint::None)),
        ("429s with a hint", refused(Hint::Seconds(1))),
        ("503s", What::Fails(503)),
        ("500s", What::Fails(500)),
        ("resets", What::Reset),
    ];
    let cases: Vec<_> = whats
        .iter()
        .flat_map(|what| [0.05, 0.1, 0.25].map(|share| (what.0, what.1, share)))
        .collect();
    check(37, &cases, |(name, what, share)| {
        let scenario = random(*share, *what);
        let runs: Vec<_> = seeds
            .clone()
            .map(|seed| [Client::Batch, Client::Retry].map(|client| run(&scenario, client, seed, false)))
            .collect();
        let name = format!("{:.0} % of {name}", share * 100.0);
        let speed = median(
            runs.iter()
                .map(|[batch, retry]| retry.done_in().as_secs_f64() / batch.done_in().as_secs_f64()),
        );
        let requests = median(runs.iter().map(|[batch, retry]| ratio(batch.requests(), retry.requests())));
        let answered = runs.iter().map(|[batch, _]| batch.answered).min().unwrap_or(0);
        let least = 0.9 * (1.0 - share);
        [
            unless(answered == 1_200, || format!("{name}: {answered} of 1,200 answered")),
            unless(speed >= least, || format!("{name}: {speed:.2} of the throughput without brakes")),
            unless(requests <= 1.01, || format!("{name}: {requests:.2} × the requests")),
        ]
        .into_iter()
        .flatten()
        .collect()
    })
}

#[expect(clippy::cast_precision_loss, reason = "there are few")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}

/// A circuit with its defaults stays closed while at least 40 % of the calls succeed, in any order of answers and
/// failures; and a total outage opens it within 2 s or ten calls beyond those in flight.
///
/// # Errors
///
/// The runs that break the promise.
pub fn promise_38(seeds: Range<u64>) -> Result<(), Violation> {
    let outage = |how| {
        let world = World {
            latency: Latency::Uniform(SECOND / 2, SECOND * 3 / 2),
            outages: vec![Outage { when: 2 * SECOND..62 * SECOND, how }],
            ..World::default()
        };
        Scenario::new("outage", "", world).attempt_timeout(2 * SECOND)
    };
    let cases = [
        ("60 % of 503s", random(0.6, What::Fails(503)), false),
        ("40 % of resets", random(0.4, What::Reset), false),
        ("60 % that fail late", random(0.6, What::FailsLate(500)), false),
        ("an outage: 503", outage(Down::Unavailable), true),
        ("an outage: refuses", outage(Down::Refuses), true),
        ("an outage: hangs", outage(Down::Hangs), true),
    ];
    check(38, &cases, |(name, scenario, opens)| {
        let mut found = Vec::new();
        for seed in seeds.clone() {
            let run = run(scenario, Client::Batch, seed, true);
            let first = run.moments.iter().find(|moment| moment.look.transitions > 0).map(|moment| moment.at);
            match (opens, first) {
                (false, Some(at)) => found.push(format!("{name}: opened after {at:?} with seed {seed}")),
                (true, None) => found.push(format!("{name}: never opened with seed {seed}")),
                (true, Some(at)) => {
                    let began = 2 * SECOND;
                    // A request that hangs shows when its time is over.
                    let hung = if scenario.world.outages[0].how == Down::Hangs {
                        2 * SECOND
                    } else {
                        Duration::ZERO
                    };
                    let sent = run.seen.iter().filter(|seen| seen.at >= began && seen.at < at).count();
                    let late = at > began + hung + 2 * SECOND && sent > 64 + 10;
                    found.extend(unless(!late, || {
                        format!(
                            "{name}: opened {:?} after it began, {sent} calls, with seed {seed}",
                            at.saturating_sub(began)
                        )
                    }));
                }
                (false, None) => {}
            }
        }
        found
    })
}
