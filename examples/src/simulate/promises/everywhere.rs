//! Promises that hold in every scenario.

use std::ops::Range;

use super::{Measured, Violation, check, number};
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
        let mut measured = Measured::new(scenario.name);
        measured.median("earlier than told", number(batch.early), 0.0);
        measured.median(
            "unanswered, though a loop gets them",
            number(most.saturating_sub(batch.answered)),
            0.0,
        );
        if let Some(best) = best {
            measured.median("time ÷ the best loop's", batch.took / best.took, 1.02);
            let requests = number(batch.requests) / number(best.requests);
            measured.median("requests ÷ the best loop's", requests, 1.05);
        }
        measured
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
        let mut measured = Measured::new(scenario.name);
        let fewer = number(untold.answered.saturating_sub(told.answered));
        measured.median("unanswered, though untold they are", fewer, 0.0);
        measured.median("time ÷ untold", told.took / untold.took, 1.02);
        measured
    })
}
