//! Promises that hold in every scenario.

use std::ops::Range;

use super::{Violation, check, unless};
use crate::simulate::client::Client;
use crate::simulate::run::run;
use crate::simulate::scenario::Scenario;
use crate::simulate::scenarios::all;
use crate::simulate::table::Row;

fn row(scenario: &Scenario, client: Client, seeds: &Range<u64>) -> Row {
    let runs: Vec<_> = seeds.clone().map(|seed| run(scenario, client, seed, false)).collect();
    Row::of(scenario, client, &runs)
}

/// Never worse than the best plain loop: as many answered, at most 1.02 times its time and 1.05 times its requests, and
/// never a retry earlier than told. Time and requests are compared with loops that got as many answers and were never
/// early either: a client that ignores a delay of a minute is faster.
///
/// # Errors
///
/// The runs that break the promise.
pub fn promise_43(seeds: Range<u64>) -> Result<(), Violation> {
    check(43, &all(), |scenario| {
        let batch = row(scenario, Client::Batch, &seeds);
        let plain = Client::PLAIN.map(|client| row(scenario, client, &seeds));
        let most = plain.iter().map(|row| row.answered).max().unwrap_or(0);
        let best = plain
            .iter()
            .filter(|row| row.answered == most && most >= batch.answered && row.early == 0)
            .min_by(|one, other| one.took.total_cmp(&other.took));
        let name = scenario.name;
        let mut found = Vec::new();
        found.extend(unless(batch.early == 0, || format!("{name}: {} earlier than told", batch.early)));
        found.extend(unless(batch.answered >= most, || {
            format!("{name}: {} answered, {most} by the best loop", batch.answered)
        }));
        if let Some(best) = best {
            let (time, loop_time) = (batch.took, best.took);
            found.extend(unless(time <= 1.02 * loop_time, || {
                format!("{name}: {time:.1} s, {loop_time:.1} s by {}", best.client.name())
            }));
            found.extend(unless(batch.requests * 100 <= best.requests * 105, || {
                format!("{name}: {} requests, {} by {}", batch.requests, best.requests, best.client.name())
            }));
        }
        found
    })
}

/// Configuring a true limit makes no run slower by more than 2 %.
///
/// # Errors
///
/// The runs that break the promise.
pub fn promise_47(seeds: Range<u64>) -> Result<(), Violation> {
    let told: Vec<_> = all()
        .into_iter()
        .filter(|scenario| !scenario.told.is_empty() || scenario.told_places.is_some())
        .collect();
    check(47, &told, |scenario| {
        let [told, untold] = [Client::Told, Client::Batch].map(|client| row(scenario, client, &seeds));
        let name = scenario.name;
        let fewer = unless(told.answered >= untold.answered, || {
            format!("{name}: {} answered, {} where nothing is told", told.answered, untold.answered)
        });
        let slower = unless(told.took <= 1.02 * untold.took, || {
            format!("{name}: {:.1} s, {:.1} s where nothing is told", told.took, untold.took)
        });
        fewer.into_iter().chain(slower).collect()
    })
}
