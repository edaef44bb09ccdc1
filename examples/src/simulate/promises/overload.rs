//! Servers of limited capacity, and accounts that many tenants share.

use std::ops::Range;
use std::time::Duration;

use super::{Measured, Violation, check, count, number, unanswered};
use crate::simulate::client::Client;
use crate::simulate::run::{Run, run};
use crate::simulate::scenario::{Job, Scenario};
use crate::simulate::scenarios::named;
use crate::simulate::server::{Came, Down, Hint, Latency, Limit, Outage, Refusal, World};

const SECOND: Duration = Duration::from_secs(1);

fn scenario(name: &str) -> Scenario {
    named(name).expect("there is one of that name")
}

/// A server that collapses under load is kept below its knee: at most 1.5 times the ideal time, 5 % more requests than
/// prompts, and on a healthy server 1.02 times the ideal.
///
/// # Errors
///
/// The runs that break the promise.
pub fn promise_41(seeds: Range<u64>) -> Result<(), Violation> {
    let cases = [
        (scenario("collapse"), 1.5),
        (scenario("collapse-8s"), 1.5),
        (scenario("healthy-2s"), 1.02),
        (scenario("healthy-30s"), 1.02),
        (scenario("heavy-tail"), 1.02),
        (scenario("queue"), 1.02),
    ];
    check(41, &cases, |(scenario, most)| {
        let mut measured = Measured::new(scenario.name);
        for seed in seeds.clone() {
            let run = run(scenario, Client::Batch, seed, false);
            measured.each(seed, "time ÷ ideal", run.ratio(), *most);
            measured.each(seed, "requests ÷ prompts", number(run.requests()) / number(run.prompts), 1.05);
            measured.each(seed, "unanswered", unanswered(&run), 0.0);
        }
        measured
    })
}

/// A server with a limit of requests in flight, which refuses more without a hint, is used to at least 85 %, and at
/// most 10 % are refused after the first second.
///
/// # Errors
///
/// The runs that break the promise.
pub fn promise_42(seeds: Range<u64>) -> Result<(), Violation> {
    let job = Job { prompts: 600, ..Job::default() };
    let mut cases = Vec::new();
    for (name, refusal) in [
        ("503", Refusal::overloaded()),
        ("429", Refusal::too_many(Hint::None)),
    ] {
        for places in [4, 16, 40] {
            let world = World {
                latency: Latency::Uniform(SECOND * 4 / 5, SECOND * 6 / 5),
                places: Some((places, refusal)),
                ..World::default()
            };
            cases.push((
                format!("{places} places, {name} above"),
                Scenario::new("places", "", world).job(job),
            ));
        }
    }
    check(42, &cases, |(name, scenario)| {
        let mut measured = Measured::new(name.clone());
        for seed in seeds.clone() {
            let run = run(scenario, Client::Batch, seed, false);
            let later: Vec<_> = run.seen.iter().filter(|seen| seen.at >= SECOND).collect();
            let refused = later.iter().filter(|seen| seen.what != Came::Taken).count();
            measured.each(seed, "time ÷ ideal", run.ratio(), 1.0 / 0.85);
            measured.each(seed, "share refused", count(refused) / count(later.len().max(1)), 0.1);
            measured.each(seed, "unanswered", unanswered(&run), 0.0);
        }
        measured
    })
}

/// Fifty tenants with quotas of their own on one account: a limit that one learns is known to all. An outage is probed
/// as often as for one caller, the account's limit costs no more refusals, and all are answered.
///
/// # Errors
///
/// The runs that break the promise.
pub fn promise_44(seeds: Range<u64>) -> Result<(), Violation> {
    let limit = scenario("tenants");
    let outage = World {
        latency: Latency::Fixed(SECOND),
        outages: vec![Outage { when: 2 * SECOND..32 * SECOND, how: Down::Unavailable }],
        ..World::default()
    };
    let outage = Scenario { name: "tenants, outage", world: outage, ..limit.clone() };
    let pause = World { limits: vec![Limit::window(100, 10 * SECOND)], ..World::default() };
    let pause = Scenario { name: "tenants, window", world: pause, ..limit.clone() };
    check(44, &[limit, outage, pause], |scenario| {
        let together = Scenario { each_tenant: None, ..scenario.clone() };
        let mut measured = Measured::new(scenario.name);
        for seed in seeds.clone() {
            let apart = run(scenario, Client::Batch, seed, false);
            let one = run(&together, Client::Batch, seed, false);
            let useless = |run: &Run| number(run.refused() + run.failed());
            measured.each(seed, "calls in vain", useless(&apart), 1.1 * useless(&one) + 5.0);
            measured.each(seed, "unanswered", unanswered(&apart), 0.0);
        }
        measured
    })
}
