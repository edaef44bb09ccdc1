//! Time, which wanders: only ratios and differences within one run mean something.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};

use aplomb_bench::{Case, Group, Running, Table};
use tokio::time::Instant;

/// Times each case of `group` in turn, in so many batches of so many microseconds; medians.
pub(crate) fn table(group: &Group, batches: usize, micros: u32) -> Table {
    let mut cases: Vec<Running> = group.cases.iter().map(Running::start).collect();
    // All batches take equally long, and less than a slice of the processor's time: otherwise the slower
    // cases would wait for other programs too.
    let sizes: Vec<u64> =
        group.cases.iter().zip(&mut cases).map(|(case, own)| size(case, own, micros)).collect();
    // One batch of each in turn: what slows the machine slows all.
    let mut round = || -> Vec<f64> {
        let turns = group.cases.iter().zip(&mut cases).zip(&sizes);
        turns.map(|((case, running), calls)| turn(case, running, *calls)).collect()
    };
    let rounds: Vec<Vec<f64>> = (0..batches).map(|_| round()).collect();

    let mut table = Table::new(&["time ÷ bare", "ns beyond", "two threads"]);
    for (n, case) in group.cases.iter().enumerate() {
        let of =
            |measure: fn(f64, f64) -> f64| median(rounds.iter().map(|round| measure(round[n], round[0])));
        let (ratio, beyond) = (of(|own, bare| own / bare), of(|own, bare| own - bare));
        let pair = pair(&cases[n], batches, sizes[n]).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        table.row(case.name, [format!("{ratio:.2}"), format!("{beyond:.0}"), pair]);
    }
    table
}

/// How many calls take so many microseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small number above zero"
)]
fn size(case: &Case, running: &mut Running, micros: u32) -> u64 {
    let each = median((0..5).map(|_| timed(running, case.renewed_after.unwrap_or(100))));
    let most = case.renewed_after.unwrap_or(u64::MAX);
    ((f64::from(micros) * 1_000.0 / each) as u64).clamp(1, most)
}

/// A batch of `case`: nanoseconds a call.
fn turn(case: &Case, running: &mut Running, calls: u64) -> f64 {
    if case.renewed_after.is_some() {
        *running = Running::start(case);
    }
    timed(running, calls)
}

/// How much longer a call takes where two threads make calls on one shared state.
fn pair(running: &Running, batches: usize, calls: u64) -> Option<f64> {
    let (mut left, mut right) = (running.share()?, running.share()?);
    // Both are running for nearly all of the time.
    let calls = 4 * calls;
    let ratios = (0..batches.div_ceil(2)).map(|_| {
        let single = timed(&mut left, calls);
        let ready = AtomicU32::new(0);
        let wait_and_time = |running: &mut Running| {
            ready.fetch_add(1, Ordering::SeqCst);
            while ready.load(Ordering::SeqCst) < 2 {
                spin_loop();
            }
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
