//! The table of the demonstration.

use std::io::{self, Write};
use std::time::Duration;

/// The result of one way to ask the prompts.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// In two lines.
    pub(crate) title: [&'static str; 2],
    pub(crate) answered: u64,
    pub(crate) prompts: u64,
    pub(crate) requests: u64,
    pub(crate) throttled: u64,
    pub(crate) took: Duration,
}

/// Writes the results side by side.
pub(crate) fn write(out: &mut dyn Write, columns: &[Column]) -> io::Result<()> {
    let mut row = |name: &str, cell: &dyn Fn(&Column) -> String| {
        write!(out, "  {name:<16}")?;
        for column in columns {
            write!(out, "{:>20}", cell(column))?;
        }
        writeln!(out)
    };
    row("", &|column| column.title[0].to_owned())?;
    row("", &|column| column.title[1].to_owned())?;
    row("answered", &|column| format!("{} of {}", column.answered, column.prompts))?;
    row("requests sent", &|column| column.requests.to_string())?;
    row("refused with 429", &|column| column.throttled.to_string())?;
    row("time", &|column| format!("{:.1} s", column.took.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_side_by_side() {
        let left = Column {
            title: ["a plain", "retry loop"],
            answered: 9,
            prompts: 10,
            requests: 30,
            throttled: 7,
            took: Duration::from_secs(3),
        };
        let right = Column { title: ["aplomb,", "told"], answered: 10, throttled: 0, ..left.clone() };
        let mut table = Vec::new();
        write(&mut table, &[left, right]).unwrap();
        let table = String::from_utf8(table).unwrap();
        let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["retry", "loop", "told"]);
        assert_eq!(words[2], ["answered", "9", "of", "10", "10", "of", "10"]);
        assert_eq!(words[4], ["refused", "with", "429", "7", "0"]);
        let widths: Vec<usize> = table.lines().map(str::len).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
    }
}
