//! Two ways of doing the same, side by side.

use std::io::{self, Write};
use std::time::Duration;

/// What one way came to.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) answered: u64,
    pub(crate) prompts: u64,
    pub(crate) requests: u64,
    pub(crate) throttled: u64,
    pub(crate) early: u64,
    pub(crate) took: Duration,
}

/// Writes the table. The measure is what would be possible: at all, and where that is longer, in the order given.
pub(crate) fn write(
    out: &mut impl Write,
    columns: &[Column; 2],
    ideal: Duration,
    in_order: Option<Duration>,
) -> io::Result<()> {
    let [left, right] = columns;
    let mut row = |name: &str, cell: &dyn Fn(&Column) -> String| {
        writeln!(out, "  {name:<28}{:>20}{:>20}", cell(left), cell(right))
    };
    row("", &|column| column.name.to_owned())?;
    row("answered", &|column| format!("{} of {}", column.answered, column.prompts))?;
    row("requests sent", &|column| column.requests.to_string())?;
    row("refused with 429", &|column| column.throttled.to_string())?;
    row("retries earlier than told", &|column| column.early.to_string())?;
    row("time", &|column| format!("{:.2} s", column.took.as_secs_f64()))?;
    let measures = [("the ideal", Some(ideal)), ("that in order", in_order)];
    for (name, measure) in measures.into_iter().filter_map(|(name, measure)| Some((name, measure?))) {
        let name = format!("against {name} {:.2} s", measure.as_secs_f64());
        row(&name, &|column| column.against(measure))?;
    }
    Ok(())
}

impl Column {
    fn against(&self, ideal: Duration) -> String {
        if self.answered < self.prompts {
            return format!("{} unanswered", self.prompts - self.answered);
        }
        format!("{:+.1} %", (self.took.as_secs_f64() / ideal.as_secs_f64() - 1.0) * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_did_not_finish_is_not_measured() {
        let left = Column {
            name: "a",
            answered: 9,
            prompts: 10,
            requests: 30,
            throttled: 7,
            early: 2,
            took: Duration::from_secs(3),
        };
        let right = Column { name: "b", answered: 10, took: Duration::from_millis(4_100), ..left.clone() };
        let mut table = Vec::new();
        write(&mut table, &[left, right], Duration::from_secs(4), None).unwrap();
        let table = String::from_utf8(table).unwrap();
        let last = table.lines().last().unwrap();
        assert!(
            last.contains("ideal 4.00 s") && last.contains("1 unanswered") && last.ends_with("+2.5 %"),
            "{last}"
        );
    }
}
