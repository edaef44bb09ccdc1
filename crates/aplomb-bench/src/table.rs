//! Results as Markdown tables.

use std::fmt;

/// A table with a row for each case of a group.
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table whose first column names the cases.
    pub fn new(columns: &[&str]) -> Self {
        let header = std::iter::once("case").chain(columns.iter().copied()).map(str::to_owned).collect();
        Self { header, rows: Vec::new() }
    }

    /// Adds a row for a case.
    pub fn row(&mut self, case: &str, cells: impl IntoIterator<Item = String>) {
        self.rows.push(std::iter::once(case.to_owned()).chain(cells).collect());
    }

    /// Parses a printed table.
    pub fn parse(markdown: &str) -> Self {
        let cells =
            |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let mut lines = markdown.lines().filter(|line| line.starts_with('|'));
        let header = lines.next().map(cells).unwrap_or_default();
        Self { header, rows: lines.skip(1).map(cells).collect() }
    }

    /// Appends the columns of `other`, which has the same cases.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        self.header.extend(other.header.into_iter().skip(1));
        for (own, theirs) in self.rows.iter_mut().zip(other.rows) {
            own.extend(theirs.into_iter().skip(1));
        }
        self
    }

    /// Removes the column with this name.
    #[must_use]
    pub fn without(mut self, column: &str) -> Self {
        if let Some(n) = self.header.iter().position(|name| name == column) {
            self.rows.iter_mut().chain([&mut self.header]).for_each(|row| drop(row.remove(n)));
        }
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |n: usize| {
            let cells = self.rows.iter().chain([&self.header]).filter_map(|row| row.get(n));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(4)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let mut line = |cells: &[String]| {
            for (n, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                match n {
                    0 => write!(f, "| {cell:<width$} ")?,
                    _ => write!(f, "| {cell:>width$} ")?,
                }
            }
            writeln!(f, "|")
        };
        line(&self.header)?;
        let rule = |(n, width): (usize, &usize)| match n {
            0 => "-".repeat(*width),
            _ => format!("{}:", "-".repeat(width - 1)),
        };
        line(&widths.iter().enumerate().map(rule).collect::<Vec<_>>())?;
        self.rows.iter().try_for_each(|row| line(row))
    }
}
