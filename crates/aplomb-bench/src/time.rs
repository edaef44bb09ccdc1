//! Time, which wanders: only ratios and differences within one run are told.

use std::sync::Barrier;
use std::time::Duration;

use aplomb_bench::{Calls, Group, runtime};
use tokio::time::Instant;

/// Times each case of `group` in turn, so many batches of so many calls each, and prints a table.
pub(crate) fn print(group: &Group, batches: usize, calls: u64) {
    println!("\n{}: {}", group.name, group.about);
    println!(
        "{:<24}{:>10}{:>14}{:>16}{:>14}",
        "time", "ns a call", "times bare", "ns beyond bare", "two threads"
    );
    let mut cases: Vec<_> = group.cases.iter().map(|case| (case.make)()).collect();
    let warm = group.cases.iter().map(|case| case.warm);
    cases.iter_mut().zip(warm).for_each(|(case, warm)| drop(batch(&mut **case, warm)));

    // One batch of each in turn: what slows the machine slows all.
    let rounds: Vec<Vec<f64>> = (0..batches)
        .map(|_| cases.iter_mut().map(|case| each(batch(&mut **case, calls), calls)).collect())
        .collect();
    for (n, case) in group.cases.iter().enumerate() {
        let of = |measure: fn(f64, f64) -> f64| median(rounds.iter().map(|round| measure(round[n], round[0])));
        let (time, ratio, beyond) = (of(|own, _| own), of(|own, bare| own / bare), of(|own, bare| own - bare));
        let pair = pair(&*cases[n], batches, calls).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        println!("{:<24}{time:>10.1}{ratio:>14.2}{beyond:>16.1}{pair:>14}", case.name);
    }
}

fn batch(case: &mut dyn Calls, calls: u64) -> Duration {
    let runtime = runtime();
    let start = Instant::now();
    runtime.block_on(case.run(calls));
    start.elapsed()
}

/// How much longer a call takes where two threads make calls on one shared state.
fn pair(case: &dyn Calls, batches: usize, calls: u64) -> Option<f64> {
    let (mut left, mut right) = (case.share()?, case.share()?);
    let ratios = (0..batches.div_ceil(4)).map(|_| {
        let single = each(batch(&mut *left, calls), calls);
        let start = Barrier::new(2);
        let both = std::thread::scope(|scope| {
            let mut run = |case: &mut Box<dyn Calls>| {
                start.wait();
                each(batch(&mut **case, calls), calls)
            };
            let other = scope.spawn(|| {
                start.wait();
                each(batch(&mut *right, calls), calls)
            });
            run(&mut left).midpoint(other.join().expect("a batch"))
        });
        both / single
    });
    Some(median(ratios))
}

/// Nanoseconds a call.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn each(time: Duration, calls: u64) -> f64 {
    time.as_nanos() as f64 / calls as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
