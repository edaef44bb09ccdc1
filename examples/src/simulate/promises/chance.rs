//! Promises about faults that come at random.

use std::ops::Range;
use std::time::Duration;

use super::{Measured, Violation, check, count, median, number, unanswered};
use crate::simulate::client::Client;
use crate::simulate::run::{Run, run};
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
        let mut measured = Measured::new(format!("{:.0} % of {name}", share * 100.0));
        let time = |[batch, retry]: &[Run; 2]| batch.done_in().as_secs_f64() / retry.done_in().as_secs_f64();
        let requests = |[batch, retry]: &[Run; 2]| number(batch.requests()) / number(retry.requests());
        let brakeless = 1.0 / (0.9 * (1.0 - share));
        measured.median("time ÷ without brakes", median(runs.iter().map(time)), brakeless);
        measured.median("requests ÷ without brakes", median(runs.iter().map(requests)), 1.01);
        for (seed, [batch, _]) in seeds.clone().zip(&runs) {
            measured.each(seed, "unanswered", unanswered(batch), 0.0);
        }
        measured
    })
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
        let mut measured = Measured::new(*name);
        let mut opened = 0;
        for seed in seeds.clone() {
            let run = run(scenario, Client::Batch, seed, true);
            let first = run.moments.iter().find(|moment| moment.look.transitions > 0).map(|moment| moment.at);
            opened += u32::from(first.is_some());
            if !opens {
                continue;
            }
            let began = 2 * SECOND;
            // A request that hangs shows when its time is over.
            let hangs = scenario.world.outages.iter().any(|outage| outage.how == Down::Hangs);
            let shows = began
                + if hangs {
                    scenario.attempt_timeout
                } else {
                    Duration::ZERO
                };
            let at = first.unwrap_or(Duration::MAX);
            let sent = run.seen.iter().filter(|seen| seen.at >= began && seen.at < at).count();
            // One of the two is enough.
            if sent > 64 + 10 {
                let late = at.saturating_sub(shows).as_secs_f64();
                measured.each(seed, "seconds until it opens", late, 2.0);
            }
            measured.each(seed, "never opens", f64::from(u8::from(first.is_none())), 0.0);
        }
        if !opens {
            let share = f64::from(opened) / count(seeds.clone().count());
            measured.median("share of the runs in which it opens", share, 0.0);
        }
        measured
    })
}
