//! Runs clients against servers of all kinds, in virtual time: `cargo run --release --example simulate`.
//!
//! Prints the results, and with `--svg` draws them. The scenarios and the clients are in `examples/src/simulate`.

mod plot;

use std::fs;
use std::path::PathBuf;

use aplomb::BoxError;
use aplomb_examples::simulate::{Client, Scenario, Table, all, named, promises, run};
use clap::Parser;

/// Runs clients against servers of all kinds, in virtual time
#[derive(Parser)]
#[command(name = "simulate")]
struct Args {
    /// A scenario; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// A client; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    client: Vec<String>,
    /// How many seeds to take the median of
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    seeds: u64,
    /// Print a line every so many seconds of the first seed of each scenario
    #[arg(long, value_name = "SECONDS")]
    watch: Option<f64>,
    /// Checks the promises instead, or those of these numbers
    #[arg(long, value_name = "NUMBER", num_args = 0..)]
    promises: Option<Vec<u8>>,
    /// Lists the scenarios and ends
    #[arg(long)]
    list: bool,
    /// Writes the table to this file as well, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Prints the table as Markdown
    #[arg(long)]
    markdown: bool,
    /// Draws the first seed of each scenario into this directory
    #[arg(long, value_name = "DIRECTORY")]
    svg: Option<PathBuf>,
}

fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let scenarios: Vec<Scenario> = match args.scenario.as_slice() {
        [] => all(),
        names => names
            .iter()
            .map(|name| named(name).ok_or(format!("no scenario `{name}`")))
            .collect::<Result<_, _>>()?,
    };
    if args.list {
        for scenario in &scenarios {
            println!("{:<22}{}", scenario.name, scenario.about);
        }
        return Ok(());
    }
    if let Some(numbers) = args.promises {
        return check(&numbers, args.seeds);
    }
    let clients: Vec<Client> = match args.client.as_slice() {
        [] => Client::ALL.to_vec(),
        names => {
            let client = |name: &String| Client::named(name).ok_or(format!("no client `{name}`"));
            names.iter().map(client).collect::<Result<_, _>>()?
        }
    };
    if let Some(every) = args.watch {
        for (scenario, client) in
            scenarios.iter().flat_map(|one| clients.iter().map(move |client| (one, *client)))
        {
            watch(scenario, client, every);
        }
        return Ok(());
    }
    let table = Table::of(&scenarios, &clients, 0..args.seeds.max(1));
    if args.markdown {
        print!("{}", table.to_markdown(&scenarios));
    } else {
        print!("{table}");
    }
    if let Some(path) = args.json {
        fs::write(path, serde_json::to_string_pretty(&table.to_json())?)?;
    }
    if let Some(directory) = args.svg {
        fs::create_dir_all(&directory)?;
        for scenario in &scenarios {
            let runs: Vec<_> =
                clients.iter().map(|client| (*client, run(scenario, *client, 0, true))).collect();
            plot::draw(&directory, scenario, &runs)?;
        }
    }
    Ok(())
}

/// Prints a run, one line for each interval.
fn watch(scenario: &Scenario, client: Client, every: f64) {
    println!("{}, {}", scenario.name, client.name());
    println!("     at  in flight  waiting  circuit   paused      rate  limit  answered  requests");
    let run = run(scenario, client, 0, true);
    let mut next = 0.0;
    for moment in &run.moments {
        let (at, look) = (moment.at.as_secs_f64(), moment.look);
        if at < next {
            continue;
        }
        next = at + every;
        let answered = run.waits.iter().filter(|wait| wait.answered && wait.to <= moment.at).count();
        let requests = run.seen.iter().filter(|seen| seen.at <= moment.at).count();
        println!(
            "{at:>7.1}{:>11}{:>9}{:>9}{:>8.1}s{:>10}{:>7}{answered:>10}{requests:>10}",
            moment.in_flight,
            look.waiting,
            if look.open { "open" } else { "closed" },
            look.paused.as_secs_f64(),
            look.rate.map_or("-".to_owned(), |rate| format!("{rate:.2}")),
            look.limit.map_or("-".to_owned(), |limit| limit.to_string()),
        );
    }
}

/// Checks these promises, or all; fails if one is broken.
fn check(numbers: &[u8], seeds: u64) -> Result<(), BoxError> {
    let asked = promises::ALL.iter().filter(|(number, _)| numbers.is_empty() || numbers.contains(number));
    let mut broken = 0;
    for (number, promise) in asked {
        match promise(0..seeds.max(1)) {
            Ok(()) => println!("promise {number} holds"),
            Err(violation) => {
                broken += 1;
                println!("{violation}");
            }
        }
    }
    if broken > 0 {
        Err(format!("{broken} promises are broken").into())
    } else {
        Ok(())
    }
}
