//! `cargo run --release --bin heap -- retry`: allocations of a call.
//!
//! A program of its own, because the counting allocator would cost the others time and instructions.

use std::alloc::System;
use std::process::ExitCode;

use aplomb_bench::{Case, Running, Table, chosen};
use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Counts the allocations of a call beyond those of the bare service.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The groups to count (default: all).
    groups: Vec<String>,
    /// Calls to count.
    #[arg(long, default_value_t = 10_000)]
    calls: u64,
}

fn main() -> ExitCode {
    let Args { groups, calls } = Args::parse();
    let groups = match chosen(&groups) {
        Ok(groups) => groups,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    for group in groups {
        let mut table = Table::new(&["allocations", "bytes"]);
        let mut bare = None;
        for case in group.cases {
            let own = taken(case, calls.max(1));
            let (allocations, bytes) = *bare.get_or_insert(own);
            table.row(
                case.name,
                [
                    format!("{:.1}", own.0 - allocations),
                    format!("{:.0}", own.1 - bytes),
                ],
            );
        }
        println!("{}: {}\n\n{table}", group.name, group.about);
    }
    ExitCode::SUCCESS
}

/// Allocations and bytes per call.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn taken(case: &Case, calls: u64) -> (f64, f64) {
    let calls = case.renewed_after.unwrap_or(calls);
    let mut running = Running::start(case);
    let region = Region::new(HEAP);
    running.batch(calls);
    let change = region.change();
    let allocations = change.allocations + change.reallocations;
    (allocations as f64 / calls as f64, change.bytes_allocated as f64 / calls as f64)
}
