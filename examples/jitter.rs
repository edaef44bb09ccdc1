//! Compares kinds of jitter: `cargo run --release --example jitter`.
//!
//! Clients contend for one row of a table, each through a retry layer, in virtual time. It prints a table and draws the
//! plots of `docs/guide/backoff.md`; every run draws the same. The code is in `examples/src/jitter`.

use std::fs;
use std::path::PathBuf;

use aplomb::BoxError;
use aplomb_examples::jitter::{Contest, Measure, Strategy, contend, plot, sweep};
use clap::Parser;
use tokio::runtime::Builder;

/// Compares kinds of jitter while many clients contend for one row.
#[derive(Parser)]
#[command(name = "jitter")]
struct Args {
    /// The directory that the plots are written to
    #[arg(long, value_name = "DIRECTORY", default_value = "docs/guide")]
    out: PathBuf,
    /// The number of contests to average
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

fn main() -> Result<(), BoxError> {
    let Args { out, runs } = Args::parse();
    let clients: Vec<usize> = [1, 5].into_iter().chain((10..=100).step_by(10)).collect();
    let points = sweep(&clients, runs, contest);

    println!("{:>8}  {:<24}{:>10}{:>12}", "clients", "waiting", "calls", "seconds");
    for point in &points {
        println!("{:>8}  {:<24}{:>10.0}{:>12.0}", point.clients, point.strategy, point.calls, point.seconds);
    }
    fs::create_dir_all(&out)?;
    plot(&out.join("jitter-calls.svg"), Measure::Calls, &points)?;
    plot(&out.join("jitter-time.svg"), Measure::Time, &points)
}

/// Runs a contest in virtual time: the clock jumps to the next moment at which something happens.
fn contest(clients: usize, strategy: Strategy, seed: u64) -> Contest {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(contend(clients, strategy, seed))
}
