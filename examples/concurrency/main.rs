//! Draws the plots of the guide to the concurrency limit: `cargo run --release --example concurrency`.
//!
//! Everything runs in virtual time: minutes take less than a second, and every run draws the same.
//! The code is in `examples/src/concurrency`.

mod plot;

use std::fs;
use std::future::Future;
use std::path::PathBuf;

use aplomb::BoxError;
use aplomb::concurrency::Adaptive;
use aplomb_examples::concurrency::{
    IDEAL, Moment, PROMPTS, WORKERS, adaptive, batch, changing, flaky, heavy_tailed, two_clients,
};
use aplomb_examples::plot::Colour;
use clap::Parser;
use plot::{of, over_time, rate};

/// Draws how a concurrency limit protects a server that collapses under load.
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
    over_time("A batch before a server that collapses", "requests it is at work on", 100.0, 180.0).draw(
        &out.join("concurrency-batch.svg"),
        &[
            of("looking at latency", Colour::Blue, &found.moments, at_work),
            of("overload alone", Colour::Orange, &overload.moments, at_work),
            of("naive retries", Colour::Grey, &naive.moments, at_work),
        ],
    )?;

    let moments = in_virtual_time(changing())?;
    over_time("Capacity doubled and halved", "calls at a time", 180.0, 50.0).draw(
        &out.join("concurrency-changing.svg"),
        &[
            of("limit", Colour::Blue, &moments, limit),
            of("capacity", Colour::Black, &moments, capacity),
        ],
    )?;

    let heavy = in_virtual_time(heavy_tailed(1))?;
    let flaky = in_virtual_time(flaky(Adaptive::new(), 1))?;
    over_time("What is no overload", "calls at a time", 180.0, 140.0).draw(
        &out.join("concurrency-noise.svg"),
        &[
            of("latency heavy-tailed", Colour::Blue, &heavy, limit),
            of("1 in 20 fails", Colour::Orange, &flaky, limit),
            of("workers", Colour::Grey, &heavy, |_| WORKERS),
        ],
    )?;

    let moments = in_virtual_time(two_clients())?;
    over_time("Two clients of one server", "answers a second, over ten seconds", 240.0, 20.0).draw(
        &out.join("concurrency-fairness.svg"),
        &[
            rate("first client", Colour::Blue, &moments, 0),
            rate("second client", Colour::Orange, &moments, 1),
        ],
    )
}

/// Runs to the end in virtual time: the clock jumps to the next moment at which something happens.
fn in_virtual_time<T>(scene: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(scene))
}
