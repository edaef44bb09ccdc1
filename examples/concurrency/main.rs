//! Draws what the guide to the concurrency limit shows: `cargo run --release --example concurrency`.
//!
//! All of it happens in virtual time, so that minutes take less than a second, and every run draws the same.

mod plot;

use std::fs;
use std::future::Future;
use std::path::PathBuf;

use aplomb::BoxError;
use aplomb::concurrency::Adaptive;
use aplomb_examples::concurrency::{
    IDEAL, Moment, PROMPTS, WORKERS, adaptive, batch, changing, flaky, heavy_tailed, two_clients,
};

use clap::Parser;
use plot::{Line, Plot};

/// Draws what a concurrency limit does before a server that collapses under load.
#[derive(Parser)]
#[command(name = "concurrency")]
struct Args {
    /// The directory that the plots are written to
    #[arg(long, value_name = "DIRECTORY", default_value = "docs/guide")]
    out: PathBuf,
}

fn main() -> Result<(), BoxError> {
    let Args { out } = Args::parse();
    fs::create_dir_all(&out)?;
    let limit = |moment: &Moment| moment.limits[0];
    let at_work = |moment: &Moment| moment.at_work;
    let capacity = |moment: &Moment| moment.capacity as usize;

    let found = in_virtual_time(batch(Some(adaptive())))?;
    let overload = in_virtual_time(batch(Some(Adaptive::new())))?;
    let naive = in_virtual_time(batch(None))?;
    println!("{PROMPTS} prompts, {WORKERS} workers; ideally {IDEAL:.0} s");
    println!("                    answered   seconds  requests  refused");
    for (name, batch) in [
        ("looking at latency", &found),
        ("overload alone", &overload),
        ("naive", &naive),
    ] {
        let (answered, took, requests, refused) = (batch.answered, batch.took, batch.requests, batch.refused);
        println!("{name:<20}{answered:>8}{took:>10.1}{requests:>10}{refused:>9}");
    }
    Plot { title: "A batch: requests the server is at work on", seconds: 100.0, most: 220 }.draw(
        &out.join("concurrency-batch.svg"),
        &[
            Line::of("looking at latency", &found.moments, at_work),
            Line::of("overload alone", &overload.moments, at_work),
            Line::of("naive retries", &naive.moments, at_work),
        ],
    )?;

    let moments = in_virtual_time(changing())?;
    Plot { title: "Capacity doubled and halved", seconds: 180.0, most: 50 }.draw(
        &out.join("concurrency-changing.svg"),
        &[
            Line::of("limit", &moments, limit),
            Line::of("capacity", &moments, capacity),
        ],
    )?;

    let heavy = in_virtual_time(heavy_tailed(1))?;
    let flaky = in_virtual_time(flaky(Adaptive::new(), 1))?;
    Plot { title: "What is no overload", seconds: 180.0, most: 140 }.draw(
        &out.join("concurrency-noise.svg"),
        &[
            Line::of("limit, heavy-tailed latency", &heavy, limit),
            Line::of("limit, 1 in 20 fails", &flaky, limit),
            Line::of("workers", &heavy, |_| WORKERS),
        ],
    )?;

    let moments = in_virtual_time(two_clients())?;
    Plot { title: "Two clients: answers a second", seconds: 240.0, most: 20 }.draw(
        &out.join("concurrency-fairness.svg"),
        &[
            Line::rate("first", &moments, 0),
            Line::rate("second", &moments, 1),
        ],
    )?;
    Ok(())
}

/// Runs to the end, with a clock of its own that never waits.
fn in_virtual_time<T>(scene: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(scene))
}
