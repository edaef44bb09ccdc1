//! Outages, and how soon all calls are sent again.

use std::ops::Range;
use std::time::Duration;

use super::{Measured, Violation, check, count, unanswered};
use crate::simulate::client::Client;
use crate::simulate::run::{Run, run};
use crate::simulate::scenario::{Job, Scenario};
use crate::simulate::server::{Down, Fault, Hint, Latency, Outage, Refusal, What, World};

const SECOND: Duration = Duration::from_secs(1);

/// The time, at `from` or later, at which as many requests are in flight as there are callers.
fn all_go(run: &Run, callers: usize, from: Duration) -> Option<Duration> {
    let times = run.seen.iter().map(|seen| seen.at).filter(|at| *at >= from);
    std::iter::once(from).chain(times).find(|at| run.in_flight(*at) >= callers)
}

/// After an outage of length `T` all callers go again within `max(1 s, 5 % of T) + 1 s` of its end, and at most
/// `20 + 20·ln(max(1, T / 10 s))` calls are sent into it beyond those in flight. After one in which calls hang, an answer
/// has to come first.
///
/// # Errors
///
/// The runs that break the promise.
pub fn promise_39(seeds: Range<u64>) -> Result<(), Violation> {
    let cases: Vec<_> = [Down::Unavailable, Down::Refuses, Down::Resets, Down::Hangs]
        .into_iter()
        .flat_map(|how| [10, 25, 120, 600].map(|seconds| (how, seconds)))
        .collect();
    check(39, &cases, |(how, seconds)| {
        // When the first answers have come.
        let (began, length) = (7 * SECOND, *seconds * SECOND);
        let world = World {
            latency: Latency::Uniform(SECOND * 4, SECOND * 6),
            outages: vec![Outage { when: began..began + length, how: *how }],
            ..World::default()
        };
        let job = Job { prompts: 400, ..Job::default() };
        let scenario = Scenario::new("outage", "", world).job(job).attempt_timeout(8 * SECOND);
        let most = 20.0 + 20.0 * (f64::from(*seconds) / 10.0).max(1.0).ln();
        let soon = SECOND.max(length / 20) + SECOND;
        let mut measured = Measured::new(format!("{seconds} s, {how:?}"));
        for seed in seeds.clone() {
            let run = run(&scenario, Client::Batch, seed, false);
            let end = began + length;
            // A request that hangs cannot be told from one that is answered late: one answer has to come.
            let soon = if *how == Down::Hangs {
                soon + SECOND * 6
            } else {
                soon
            };
            let back = all_go(&run, scenario.job.callers, end).unwrap_or(run.took).saturating_sub(end);
            measured.each(seed, "seconds until all go again", back.as_secs_f64(), soon.as_secs_f64());
            let sent = run.seen.iter().filter(|seen| (began..end).contains(&seen.at)).count();
            measured.each(seed, "calls sent into it", count(sent), most);
            measured.each(seed, "unanswered", unanswered(&run), 0.0);
        }
        measured
    })
}

/// From none to 64 calls in flight takes at most 1.5 s on a server that refuses nothing, however long an answer takes;
/// also after an outage or a pause.
///
/// # Errors
///
/// The runs that break the promise.
pub fn promise_40(seeds: Range<u64>) -> Result<(), Violation> {
    let job = Job { prompts: 400, ..Job::default() };
    let mut cases = Vec::new();
    for seconds in [2, 8, 30] {
        let world = World { latency: Latency::Fixed(seconds * SECOND), ..World::default() };
        let name = format!("answers of {seconds} s");
        cases.push((name.clone(), Scenario::new("healthy", "", world.clone()).job(job), Duration::ZERO));
        // All answers come, and all callers ask again, in the middle of it.
        let began = (seconds * SECOND).saturating_sub(SECOND / 2);
        let outage = World {
            outages: vec![Outage { when: began..began + 3 * SECOND, how: Down::Unavailable }],
            ..world.clone()
        };
        let name_of = |what: &str| format!("{name}, after {what}");
        // The promise about outages grants the time that it takes to see the end.
        let back = began + 4 * SECOND;
        cases.push((name_of("an outage"), Scenario::new("outage", "", outage).job(job), back));
        let refused = What::Refused(Refusal::too_many(Hint::Seconds(3)));
        let pause = World {
            faults: vec![Fault { share: 1.0, when: Some(began..began + SECOND), what: refused }],
            ..world
        };
        let scenario = Scenario::new("pause", "", pause).job(job);
        cases.push((name_of("a pause of 3 s"), scenario, began + 3 * SECOND + SECOND));
    }
    check(40, &cases, |(name, scenario, from)| {
        let mut measured = Measured::new(name.clone());
        for seed in seeds.clone() {
            let run = run(scenario, Client::Batch, seed, false);
            let took = all_go(&run, scenario.job.callers, *from).unwrap_or(run.took).saturating_sub(*from);
            measured.each(seed, "seconds until all are in flight", took.as_secs_f64(), 1.5);
        }
        measured
    })
}
