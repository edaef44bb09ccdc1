//! Time, which wanders: only ratios and differences within one run mean something.

use std::sync::Barrier;

use aplomb_bench::{Case, Group, Running, Table};
use tokio::time::Instant;

/// Times each case of `group` in turn, so many batches of so many calls each; medians.
pub(crate) fn table(group: &Group, batches: usize, calls: u64) -> Table {
    let mut cases: Vec<Running> = group.cases.iter().map(Running::start).collect();
    // One batch of each in turn: what slows the machine slows all.
    let mut round = || -> Vec<f64> {
        let turns = group.cases.iter().zip(&mut cases);
        turns.map(|(case, running)| turn(case, running, calls)).collect()
    };
    let rounds: Vec<Vec<f64>> = (0..batches).map(|_| round()).collect();

    let mut table = Table::new(&["time ÷ bare", "ns beyond", "two threads"]);
    for (n, case) in group.cases.iter().enumerate() {
        let of =
            |measure: fn(f64, f64) -> f64| median(rounds.iter().map(|round| measure(round[n], round[0])));
        let (ratio, beyond) = (of(|own, bare| own / bare), of(|own, bare| own - bare));
        let calls = case.renewed_after.unwrap_or(calls);
        let pair = pair(&cases[n], batches, calls).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        table.row(case.name, [format!("{ratio:.2}"), format!("{beyond:.0}"), pair]);
    }
    table
}

/// A batch of `case`: nanoseconds a call.
fn turn(case: &Case, running: &mut Running, calls: u64) -> f64 {
    if case.renewed_after.is_some() {
        *running = Running::start(case);
    }
    timed(running, case.renewed_after.unwrap_or(calls))
}

/// How much longer a call takes where two threads make calls on one shared state.
fn pair(running: &Running, batches: usize, calls: u64) -> Option<f64> {
    let (mut left, mut right) = (running.share()?, running.share()?);
    // Long enough for both threads to be running nearly all of the time.
    let (batches, calls) = (batches.div_ceil(5), 10 * calls);
    let ratios = (0..batches).map(|_| {
        let single = timed(&mut left, calls);
        let start = Barrier::new(2);
        let wait_and_time = |running: &mut Running| {
            start.wait();
            timed(running, calls)
        };
        let both = std::thread::scope(|scope| {
            let other = scope.spawn(|| wait_and_time(&mut right));
            wait_and_time(&mut left).midpoint(other.join().expect("a batch"))
        });
        both / single
    });
    Some(median(ratios))
}

/// Nanoseconds a call.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn timed(running: &mut Running, calls: u64) -> f64 {
    let start = Instant::now();
    running.batch(calls);
    start.elapsed().as_nanos() as f64 / calls as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
