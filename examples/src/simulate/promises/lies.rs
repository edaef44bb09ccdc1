//! Servers with wrong reports, and prompts that are always refused.

use std::ops::Range;
use std::time::Duration;

use super::{Measured, Violation, check, count, median, unanswered};
use crate::simulate::client::Client;
use crate::simulate::run::run;
use crate::simulate::scenario::Scenario;
use crate::simulate::scenarios::named;
use crate::simulate::server::{Came, Headers, Hint, Refusal, World};

const SECOND: Duration = Duration::from_secs(1);

fn scenario(name: &str) -> Scenario {
    named(name).expect("there is one of that name")
}

/// The same server, with true reports.
fn honest(scenario: &Scenario) -> Scenario {
    let mut honest = scenario.clone();
    for limit in &mut honest.world.limits {
        limit.refusal = Refusal::too_many(Hint::Exact);
        limit.headers = Headers::OpenAi;
    }
    if let Some((_, refusal)) = &mut honest.world.places {
        *refusal = Refusal::overloaded();
    }
    honest
}

/// A wrong report of a server about itself costs at most 20 % of the time that an honest one would have taken, after
/// the first window, and the first hint: the calls that were told it keep to it.
///
/// # Errors
///
/// The runs that break the promise.
pub fn promise_45(seeds: Range<u64>) -> Result<(), Violation> {
    let names = [
        "envoy-10",
        "envoy-100",
        "haproxy",
        "litellm-8-places",
        "hint-too-long",
        "hint-too-short",
        "reset-lies",
        "window-no-unit",
    ];
    let cases: Vec<_> = names.iter().map(|name| scenario(name)).collect();
    check(45, &cases, |scenario| {
        let honest = honest(scenario);
        let window = scenario.world.limits.iter().map(|limit| limit.per).max().unwrap_or(SECOND);
        let limits = scenario.world.limits.iter().map(|limit| limit.refusal.hint);
        let hints = limits.chain(scenario.world.places.map(|(_, refusal)| refusal.hint));
        let seconds = hints.filter_map(|hint| {
            if let Hint::Seconds(seconds) = hint {
                Some(seconds)
            } else {
                None
            }
        });
        let hint = Duration::from_secs(seconds.max().unwrap_or(0));
        let runs: Vec<_> = seeds
            .clone()
            .map(|seed| [scenario, &honest].map(|scenario| run(scenario, Client::Batch, seed, false)))
            .collect();
        let longer = median(runs.iter().map(|[liar, honest]| {
            // The best possible client of the honest server, if ours does badly even there.
            let honest = honest.done_in().max(honest.ideal.took);
            liar.done_in().saturating_sub(window + hint).as_secs_f64() / honest.as_secs_f64()
        }));
        let mut measured = Measured::new(scenario.name);
        measured.median("time ÷ an honest server's", longer, 1.2);
        for (seed, [liar, _]) in seeds.clone().zip(&runs) {
            measured.each(seed, "unanswered", unanswered(liar), 0.0);
        }
        measured
    })
}

/// A prompt that is always refused ends, with at most eight refusals of its own while others are answered, and delays the
/// others by no more than one hint.
///
/// # Errors
///
/// The runs that break the promise.
pub fn promise_46(seeds: Range<u64>) -> Result<(), Violation> {
    let cases = ["poison-hint", "poison-bare", "poison-large"].map(scenario);
    check(46, &cases, |scenario| {
        let without =
            Scenario { world: World { poisoned: None, ..scenario.world.clone() }, ..scenario.clone() };
        let mut measured = Measured::new(scenario.name);
        for seed in seeds.clone() {
            let poisoned = run(scenario, Client::Batch, seed, false);
            let healthy = run(&without, Client::Batch, seed, false);
            let hint = 2 * SECOND;
            let others = poisoned.done_in();
            let most = (1..=scenario.job.prompts)
                .filter(|prompt| scenario.world.poison(*prompt).is_some())
                .map(|prompt| {
                    let refused = |seen: &&crate::simulate::server::Seen| {
                        seen.prompt == prompt && seen.what == Came::Refused && seen.at <= others
                    };
                    poisoned.seen.iter().filter(refused).count()
                })
                .max()
                .unwrap_or(0);
            let later = others.saturating_sub(healthy.done_in().mul_f64(1.05));
            measured.each(seed, "unanswered", unanswered(&poisoned), 0.0);
            measured.each(seed, "never ends", f64::from(u8::from(poisoned.stopped)), 0.0);
            measured.each(seed, "refusals of one prompt", count(most), 8.0);
            measured.each(
                seed,
                "seconds by which the others are later",
                later.as_secs_f64(),
                hint.as_secs_f64(),
            );
        }
        measured
    })
}
