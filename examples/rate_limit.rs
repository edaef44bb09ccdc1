//! Draws the plots of the guide to the rate limit: `cargo run --release --example rate_limit`.
//!
//! Everything runs in virtual time: minutes take less than a second, and every run draws the same.
//! The code is in `examples/src/rate_limit`.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};

use aplomb::BoxError;
use aplomb_examples::plot::{Colour, Curve, Plot, Style};
use aplomb_examples::rate_limit::{CALLERS, PROMPTS, Run, Waits, coming_back, ideal, in_line, run};
use clap::Parser;

/// Draws how the rate limit finds an unknown limit, and how long callers wait for a known one.
#[derive(Parser)]
#[command(name = "rate_limit")]
struct Args {
    /// The directory that the plots are written to
    #[arg(long, value_name = "DIRECTORY", default_value = "docs/guide")]
    out: PathBuf,
}

fn main() -> Result<(), BoxError> {
    let Args { out } = Args::parse();
    fs::create_dir_all(&out)?;
    let (learning, pauses) = (in_virtual_time(run(true))??, in_virtual_time(run(false))??);
    for (name, run) in [("learning", &learning), ("pauses alone", &pauses)] {
        let last = run.answered.last().unwrap_or(&0.0);
        let (sent, refused) = (run.sent.len(), run.refused.len());
        println!("{name:<20}{PROMPTS} answered after {last:.1} s, {sent} requests, {refused} refused");
    }
    draw_unknown(&out.join("rate-limit-unknown.svg"), &learning, &pauses)?;

    let (in_line, coming_back) = (in_virtual_time(in_line())??, in_virtual_time(coming_back())??);
    for (name, waits) in [("in line", &in_line), ("coming back", &coming_back)] {
        let last = waits.served.last().map_or(0.0, |served| served.waited);
        println!("{name:<20}{CALLERS} served after {last:.2} s, asked {} times", waits.asked);
    }
    draw_waits(&out.join("rate-limit-line.svg"), &in_line, &coming_back)
}

fn draw_unknown(path: &Path, learning: &Run, pauses: &Run) -> Result<(), BoxError> {
    let steps = |name, colour, style, times: &[f64]| Curve::new(name, colour, style, counted(times));
    let best: Vec<f64> = ideal().collect();
    let plot = Plot {
        title: "100 prompts under an unknown limit: 10 at once, then one a second",
        values: "requests so far",
        along: "seconds",
        width: 100.0,
        height: 250.0,
        logarithmic: false,
    };
    plot.draw(
        path,
        &[
            steps("sent, pauses alone", Colour::Vermilion, Style::Line, &pauses.sent),
            steps("refused, pauses alone", Colour::Vermilion, Style::Thin, &pauses.refused),
            steps("sent, learning", Colour::Blue, Style::Line, &learning.sent),
            steps("refused, learning", Colour::Blue, Style::Thin, &learning.refused),
            steps("sent, ideal", Colour::Black, Style::Dashed, &best),
        ],
    )
}

/// The count at each of these times, and right before.
fn counted(times: &[f64]) -> Vec<(f64, f64)> {
    let mut count = 0.0;
    let step = |at: &f64| {
        count += 1.0;
        [(*at, count - 1.0), (*at, count)]
    };
    times.iter().flat_map(step).collect()
}

fn draw_waits(path: &Path, in_line: &Waits, coming_back: &Waits) -> Result<(), BoxError> {
    let plot = Plot {
        title: "4,000 callers at once, 1,000 a second: how long each waits",
        values: "seconds",
        along: "callers, in the order in which they came",
        width: 4_000.0,
        height: 5.0,
        logarithmic: false,
    };
    plot.draw(
        path,
        &[
            Curve::new("coming back", Colour::Orange, Style::Dots, points(coming_back)),
            Curve::new("in line", Colour::Blue, Style::Line, points(in_line)),
        ],
    )
}

/// The wait of every eighth caller: all of them would make a large file that looks the same.
fn points(waits: &Waits) -> Vec<(f64, f64)> {
    let mut served = waits.served.clone();
    served.sort_unstable_by_key(|served| served.number);
    let point = |number: usize, waited| (f64::from(u32::try_from(number).unwrap_or(u32::MAX)), waited);
    served.iter().step_by(8).map(|served| point(served.number, served.waited)).collect()
}

/// Runs to the end in virtual time: the clock jumps to the next moment at which something happens.
fn in_virtual_time<T>(scene: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(scene))
}
