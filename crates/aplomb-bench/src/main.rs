//! `cargo run --release -- time retry`, `cargo run --release -- count retry`.

mod count;
mod threads;
mod time;

use std::process::{self, ExitCode};

use aplomb_bench::{Case, Group, Running, Table, chosen, groups};
use clap::{Args, Parser, Subcommand};

/// Measures the layers beside the bare service and other crates.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the groups and their cases.
    List,
    /// Measures time: medians of interleaved batches.
    Time(Time),
    /// Measures the cost of a second thread on the same state. Needs an idle machine.
    Threads(Time),
    /// Counts instructions by running itself under valgrind.
    Count(Count),
    /// Time, instructions and heap use, in one table for each group. If no group is named, also the heap use of
    /// calls in flight, how tasks wait, and the cost of a million keys.
    Report {
        #[command(flatten)]
        time: Time,
        /// Leaves out all times: only counts, which a busy machine does not change.
        #[arg(long)]
        untimed: bool,
        /// Calls to count.
        #[arg(long, default_value_t = 2_000)]
        counted: u64,
    },
    /// Makes calls and nothing else, for valgrind and profilers.
    Run {
        /// `group/case`.
        case: String,
        /// Number of calls.
        calls: u64,
    },
}

#[derive(Args)]
struct Time {
    /// The groups to measure (default: all).
    groups: Vec<String>,
    /// Batches of each case.
    #[arg(long, default_value_t = 301)]
    batches: usize,
    /// Length of a batch.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 500)]
    batch: u32,
}

#[derive(Args)]
struct Count {
    /// The groups to count (default: all).
    groups: Vec<String>,
    /// Calls to count.
    #[arg(long, default_value_t = 2_000)]
    calls: u64,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), String> {
    match command {
        Command::List => {
            for group in groups() {
                println!("{}: {}", group.name, group.about);
                group.cases.iter().for_each(|case| println!("    {}", case.name));
            }
            Ok(())
        }
        Command::Time(Time { groups, batches, batch }) => {
            print(&groups, |group| Ok(time::table(group, batches.max(1), batch)))
        }
        Command::Threads(Time { groups, batches, batch }) => {
            print(&groups, |group| Ok(threads::table(group, batches.max(1), batch)))
        }
        Command::Count(Count { groups, calls }) => print(&groups, |group| count::table(group, calls.max(1))),
        Command::Report { time: Time { groups, batches, batch }, untimed, counted } => {
            print(&groups, |group| {
                let count = count::table(group, counted.max(1))?.without("instructions");
                let heap = Table::parse(&beside("heap", &[group.name])?);
                let counts = count.join(heap);
                if untimed {
                    return Ok(counts);
                }
                // Ratios hold on other machines too; nanoseconds do not.
                let time = time::table(group, batches.max(1), batch).without("ns beyond");
                Ok(time.join(counts))
            })?;
            let others: &[&str] = if groups.is_empty() && !untimed {
                &["flight", "waiting", "keys"]
            } else {
                &[]
            };
            for name in others {
                println!("{}", beside(name, &[])?);
            }
            Ok(())
        }
        Command::Run { case, calls } => {
            let case = find(&case).ok_or_else(|| format!("no case {case}: see `list`"))?;
            Running::start(case).batch(calls);
            Ok(())
        }
    }
}

fn print(names: &[String], measure: impl Fn(&Group) -> Result<Table, String>) -> Result<(), String> {
    for group in chosen(names)? {
        println!("{}: {}\n\n{}", group.name, group.about, measure(group)?);
    }
    Ok(())
}

/// Runs a program in the directory of this one and returns its output.
fn beside(name: &str, args: &[&str]) -> Result<String, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    match process::Command::new(own.with_file_name(name)).args(args).output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("`cargo build --release` builds the program `{name}`: {error}")),
    }
}

fn find(path: &str) -> Option<&'static Case> {
    let (group, case) = path.split_once('/')?;
    let group = groups().iter().find(|known| known.name == group)?;
    group.cases.iter().find(|known| known.name == case)
}
