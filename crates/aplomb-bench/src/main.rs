//! `cargo run --release -- time retry`, `cargo run --release -- count retry`.

mod count;
mod time;

use std::process::ExitCode;

use aplomb_bench::{Case, Group, Running, groups};
use clap::{Parser, Subcommand};

/// The layers beside the bare service and beside other crates, in one run.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Names the groups and their cases.
    List,
    /// Measures time: medians of interleaved batches.
    Time {
        /// The groups to measure; all of them if none is named.
        groups: Vec<String>,
        /// How many batches of each case.
        #[arg(long, default_value_t = 101)]
        batches: usize,
        /// How many calls to a batch.
        #[arg(long, default_value_t = 5_000)]
        calls: u64,
    },
    /// Counts instructions, by running itself under valgrind.
    Count {
        /// The groups to count; all of them if none is named.
        groups: Vec<String>,
        /// How many calls to count.
        #[arg(long, default_value_t = 2_000)]
        calls: u64,
    },
    /// Makes calls and nothing else, for valgrind and for profilers.
    Run {
        /// `group/case`.
        case: String,
        /// How many.
        calls: u64,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
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
        }
        Command::Time { groups, batches, calls } => {
            chosen(&groups)?.iter().for_each(|group| time::print(group, batches.max(1), calls.max(1)));
        }
        Command::Count { groups, calls } => {
            for group in chosen(&groups)? {
                count::print(group, calls.max(1))?;
            }
        }
        Command::Run { case, calls } => {
            let case = find(&case).ok_or_else(|| format!("no case {case}: see `list`"))?;
            Running::start(case).batch(calls);
        }
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Group>, String> {
    if names.is_empty() {
        return Ok(groups().iter().collect());
    }
    let named = |name: &String| groups().iter().find(|group| group.name == name);
    names.iter().map(|name| named(name).ok_or_else(|| format!("no group {name}: see `list`"))).collect()
}

fn find(path: &str) -> Option<&'static Case> {
    let (group, case) = path.split_once('/')?;
    let group = groups().iter().find(|known| known.name == group)?;
    group.cases.iter().find(|known| known.name == case)
}
