//! Time, which drifts: only ratios and differences within one run are meaningful.

use aplomb_bench::{Case, Group, Running, Table};
use tokio::time::Instant;

/// Times each case of `group` in turn, in `batches` batches of `micros` microseconds; medians.
pub(crate) fn table(group: &Group, batches: usize, micros: u32) -> Table {
    let mut cases: Vec<Running> = group.cases.iter().map(Running::start).collect();
    // All batches take equally long, and less than a scheduler's time slice: otherwise the slower cases would
    // be interrupted by other programs more often.
    let sizes: Vec<u64> =
        group.cases.iter().zip(&mut cases).map(|(case, own)| size(case, own, micros)).collect();
    // One batch of each in turn, so that a slow machine slows all of them.
    let mut round = || -> Vec<f64> {
        let turns = group.cases.iter().zip(&mut cases).zip(&sizes);
        turns.map(|((case, running), calls)| turn(case, running, *calls)).collect()
    };
    let rounds: Vec<Vec<f64>> = (0..batches).map(|_| round()).collect();

    let mut table = Table::new(&["time ÷ bare", "ns beyond"]);
    for (n, case) in group.cases.iter().enumerate() {
        let of =
            |measure: fn(f64, f64) -> f64| median(rounds.iter().map(|round| measure(round[n], round[0])));
        let (ratio, beyond) = (of(|own, bare| own / bare), of(|own, bare| own - bare));
        table.row(case.name, [format!("{ratio:.2}"), format!("{beyond:.0}")]);
    }
    table
}

/// The number of calls that take `micros` microseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small number above zero"
)]
pub(crate) fn size(case: &Case, running: &mut Running, micros: u32) -> u64 {
    let each = median((0..5).map(|_| timed(running, case.renewed_after.unwrap_or(100))));
    let most = case.renewed_after.unwrap_or(u64::MAX);
    ((f64::from(micros) * 1_000.0 / each) as u64).clamp(1, most)
}

/// Runs a batch of `case` and returns nanoseconds per call.
fn turn(case: &Case, running: &mut Running, calls: u64) -> f64 {
    if case.renewed_after.is_some() {
        *running = Running::start(case);
    }
    timed(running, calls)
}

/// Nanoseconds per call.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn timed(running: &mut Running, calls: u64) -> f64 {
    let start = Instant::now();
    running.batch(calls);
    start.elapsed().as_nanos() as f64 / calls as f64
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
