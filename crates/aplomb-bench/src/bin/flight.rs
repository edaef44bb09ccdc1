//! `cargo run --release --bin flight`: heap use of a call that waits for its answer.

use std::alloc::System;

use aplomb_bench::{Case, Running, Table, in_flight};
use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Begins calls to a peer that does not answer, and prints the heap use of each: its request and its boxed future,
/// as in a task.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Number of calls.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    calls: u16,
}

fn main() {
    let Args { calls } = Args::parse();
    let group = in_flight();
    let mut table = Table::new(&["bytes", "beyond bare"]);
    let mut bare = None;
    for case in group.cases {
        let held = held(case, calls);
        let beyond = held - *bare.get_or_insert(held);
        table.row(case.name, [format!("{held:.0}"), format!("{beyond:.0}")]);
    }
    println!("{}: {}\n\n{table}", group.name, group.about);
}

/// Bytes per call.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn held(case: &Case, calls: u16) -> f64 {
    let mut running = Running::start(case);
    // State that the first calls create is shared, so it does not count.
    drop(running.begin(usize::from(calls)));
    let region = Region::new(HEAP);
    let begun = running.begin(usize::from(calls));
    let change = region.change();
    let list = begun.capacity() * size_of_val(&begun[0]);
    let bytes = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
    (bytes - list as f64) / f64::from(calls)
}
