//! The results of many runs, as a table.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Client;
use super::parallel;
use super::run::{Run, run};
use super::scenario::Scenario;

/// The results of a client in a scenario: medians over the seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The scenario.
    pub scenario: &'static str,
    /// The client.
    pub client: Client,
    /// The number of prompts that could be answered.
    pub prompts: u64,
    /// The number that were.
    pub answered: u64,
    /// The number of requests that the server saw.
    pub requests: u64,
    /// The number of them that it refused with a 429.
    pub refused: u64,
    /// The number of them that failed otherwise.
    pub failed: u64,
    /// The number of them that came earlier than the server allowed.
    pub early: u64,
    /// The number of them that were sent while the server was down.
    pub into_outages: u64,
    /// The time, in seconds.
    pub took: f64,
    /// The time of the ideal client, in seconds.
    pub ideal: f64,
    /// The ratio of the two.
    pub ratio: f64,
    /// The median time of an answer, in seconds.
    pub p50: f64,
    /// The 99th percentile of the time of an answer, in seconds.
    pub p99: f64,
    /// The number of runs in which the client had to be stopped.
    pub stopped: usize,
}

/// Rows by scenario and client, in the order in which they were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(Vec<Row>);

impl Table {
    /// Runs every client in every scenario with every seed, on as many threads as there are processors.
    pub fn of(scenarios: &[Scenario], clients: &[Client], seeds: Range<u64>) -> Self {
        let jobs: Vec<_> = scenarios
            .iter()
            .flat_map(|scenario| clients.iter().map(move |client| (scenario, *client)))
            .collect();
        Self(parallel::map(&jobs, |(scenario, client)| {
            let runs: Vec<_> = seeds.clone().map(|seed| run(scenario, *client, seed, false)).collect();
            Row::of(scenario, *client, &runs)
        }))
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.0
    }

    /// The row of a client in a scenario.
    pub fn row(&self, scenario: &str, client: Client) -> Option<&Row> {
        self.0.iter().find(|row| row.scenario == scenario && row.client == client)
    }

    /// The rows as a table in Markdown, with a line for each scenario and a column for each client: the time as a
    /// multiple of the ideal, and the number of requests.
    pub fn to_markdown(&self, scenarios: &[Scenario]) -> String {
        let mut clients: Vec<_> = Vec::new();
        for row in &self.0 {
            if !clients.contains(&row.client) {
                clients.push(row.client);
            }
        }
        let names: Vec<_> = clients.iter().map(|client| client.name()).collect();
        let mut lines = vec![
            format!("| the server | ideal | {} |", names.join(" | ")),
            format!("| --- | --- |{}", " --- |".repeat(names.len())),
        ];
        for scenario in scenarios {
            let rows: Vec<_> = clients.iter().filter_map(|client| self.row(scenario.name, *client)).collect();
            let Some(first) = rows.first() else { continue };
            let cells: Vec<_> = rows.iter().map(|row| row.cell()).collect();
            lines.push(format!("| {} | {:.1} s | {} |", scenario.about, first.ideal, cells.join(" | ")));
        }
        lines.join("\n") + "\n"
    }

    /// The rows as JSON.
    pub fn to_json(&self) -> Value {
        self.0.iter().map(Row::to_json).collect()
    }
}

impl Row {
    /// The medians of these runs.
    pub fn of(scenario: &Scenario, client: Client, runs: &[Run]) -> Self {
        let count = |of: &dyn Fn(&Run) -> u64| median(runs.iter().map(of).collect()).unwrap_or(0);
        let seconds = |of: &dyn Fn(&Run) -> Duration| {
            median(runs.iter().map(of).collect()).unwrap_or_default().as_secs_f64()
        };
        let mut ratios: Vec<_> = runs.iter().map(Run::ratio).collect();
        ratios.sort_by(f64::total_cmp);
        Self {
            scenario: scenario.name,
            client,
            prompts: count(&|run| run.prompts),
            answered: count(&|run| run.answered),
            requests: count(&Run::requests),
            refused: count(&Run::refused),
            failed: count(&Run::failed),
            early: count(&Run::early),
            into_outages: count(&|run| run.sent_within(&scenario.world.outages)),
            took: seconds(&Run::done_in),
            ideal: seconds(&|run| run.ideal.took),
            ratio: ratios.get(ratios.len() / 2).copied().unwrap_or(0.0),
            p50: seconds(&|run| run.percentile(0.5)),
            p99: seconds(&|run| run.percentile(0.99)),
            stopped: runs.iter().filter(|run| run.stopped).count(),
        }
    }

    /// The time as a multiple of the ideal, the requests, and the answers if some are missing.
    fn cell(&self) -> String {
        // A client that was stopped would have taken longer.
        let more = if self.stopped > 0 { "> " } else { "" };
        let missing = if self.answered < self.prompts {
            format!("{} of {}: ", self.answered, self.prompts)
        } else {
            String::new()
        };
        format!("{missing}{more}{:.2} ×, {}", self.ratio, self.requests)
    }

    fn to_json(&self) -> Value {
        json!({
            "scenario": self.scenario, "client": self.client.name(), "prompts": self.prompts,
            "answered": self.answered, "requests": self.requests, "refused": self.refused, "failed": self.failed,
            "early": self.early, "into_outages": self.into_outages, "took": self.took, "ideal": self.ideal, "ratio": self.ratio,
            "p50": self.p50, "p99": self.p99, "stopped": self.stopped,
        })
    }
}

fn median<T: Ord + Copy>(mut all: Vec<T>) -> Option<T> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut scenario = "";
        for row in &self.0 {
            if row.scenario != scenario {
                scenario = row.scenario;
                let title = format!("{scenario} (ideal {:.1} s)", row.ideal);
                writeln!(
                    f,
                    "{title:<36}{:>9}{:>9}{:>9}{:>8}{:>7}{:>9}{:>8}{:>8}",
                    "answered", "requests", "refused", "failed", "early", "time", "p50", "p99"
                )?;
            }
            // A client that was stopped would have taken longer.
            let ratio = format!("{}{:.2} ×", if row.stopped > 0 { ">" } else { "" }, row.ratio);
            writeln!(
                f,
                "  {:<34}{:>9}{:>9}{:>9}{:>8}{:>7}{ratio:>9}{:>7.1}s{:>7.1}s",
                row.client.name(),
                format!("{}/{}", row.answered, row.prompts),
                row.requests,
                row.refused,
                row.failed,
                row.early,
                row.p50,
                row.p99,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(vec![5, 1, 9]), Some(5));
        assert_eq!(median::<u64>(Vec::new()), None);
    }
}
