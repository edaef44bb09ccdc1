//! `cargo run --release --bin waiting`: many tasks that wait for few places.

mod lines;

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb_bench::Table;
use clap::Parser;
use cpu_time::ProcessTime;
use lines::{LINES, Make};
use tokio::time::Instant;

/// Lets tasks wait for a thousand places a second, with one limiter after the other.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Number of tasks; each waits again when it has been served.
    #[arg(long, default_value_t = 1_000)]
    tasks: usize,
    /// Length of each run.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    seconds: u64,
    /// The limiters (default: all).
    lines: Vec<String>,
}

fn main() {
    let Args { tasks, seconds, lines } = Args::parse();
    let span = Duration::from_secs(seconds);
    let mut table = Table::new(&[
        "served a second",
        "most in 10 ms",
        "polls each",
        "overtaken",
        "tasks unserved",
        "processor µs each",
    ]);
    for (name, make) in
        LINES.iter().filter(|(name, _)| lines.is_empty() || lines.iter().any(|own| own == name))
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        table.row(name, runtime.block_on(wait(*make, tasks, span)).cells(span));
    }
    println!("waiting: {tasks} tasks wait for 1,000 places a second, for {seconds} s\n\n{table}");
}

/// The result of a run.
struct Waited {
    /// When each call was served, and its number in order of arrival.
    served: Vec<(Instant, u64)>,
    polls: u64,
    unserved: usize,
    processor: Duration,
}

async fn wait(make: Make, tasks: usize, span: Duration) -> Waited {
    let (arrivals, polls) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let served = Arc::new(Mutex::new(Vec::new()));
    let each: Vec<Arc<AtomicU64>> = (0..tasks).map(|_| Arc::default()).collect();
    let line = Arc::new(make());
    let before = ProcessTime::now();
    let start = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for own in &each {
        let (line, own, served) = (Arc::clone(&line), Arc::clone(own), Arc::clone(&served));
        let (arrivals, polls) = (Arc::clone(&arrivals), Arc::clone(&polls));
        running.spawn(async move {
            loop {
                let number = arrivals.fetch_add(1, Relaxed);
                counted(&polls, line()).await;
                own.fetch_add(1, Relaxed);
                served.lock().expect("not poisoned").push((Instant::now(), number));
                // A real caller would wait for its answer here.
                tokio::task::yield_now().await;
            }
        });
    }
    tokio::time::sleep_until(start + span).await;
    let processor = before.elapsed();
    let served = std::mem::take(&mut *served.lock().expect("not poisoned"));
    let unserved = each.iter().filter(|own| own.load(Relaxed) == 0).count();
    Waited { served, polls: polls.load(Relaxed), unserved, processor }
}

/// Counts the polls of `future`.
async fn counted(polls: &AtomicU64, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        polls.fetch_add(1, Relaxed);
        future.as_mut().poll(cx)
    })
    .await;
}

impl Waited {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn cells(&self, span: Duration) -> [String; 6] {
        let all = self.served.len().max(1) as f64;
        [
            format!("{:.0}", self.served.len() as f64 / span.as_secs_f64()),
            self.most_in(Duration::from_millis(10)).to_string(),
            format!("{:.1}", self.polls as f64 / all),
            format!("{:.0} %", 100.0 * self.overtaken() as f64 / all),
            self.unserved.to_string(),
            format!("{:.1}", self.processor.as_secs_f64() * 1e6 / all),
        ]
    }

    /// The most calls served in any window of this length.
    fn most_in(&self, window: Duration) -> usize {
        let mut first = 0;
        let within = |(last, (at, _)): (usize, &(Instant, u64))| {
            while self.served[first].0 + window <= *at {
                first += 1;
            }
            last + 1 - first
        };
        self.served.iter().enumerate().map(within).max().unwrap_or(0)
    }

    /// Calls served after one that arrived later.
    fn overtaken(&self) -> usize {
        let mut latest = 0;
        let late = |(_, number): &&(Instant, u64)| {
            latest = latest.max(*number);
            *number < latest
        };
        self.served.iter().filter(late).count()
    }
}
