//! What responses say about a provider's limits.

pub(crate) mod ietf;
pub(crate) mod rows;

use std::time::Duration;

use aplomb_core::{Dimension, Reading};

use self::rows::Row;
use crate::{Head, time};

/// All limits that a head tells of, each once: the provider's own first, then what a gateway passes
/// on from behind it, then those of the IETF's fields.
pub(crate) fn read(head: &Head<'_>, rows: &[&[Row]]) -> Vec<Reading> {
    let mut all = Vec::new();
    if !head.headers().keys().any(|name| is_about_limits(name.as_str())) {
        return all;
    }
    of_one(head, rows, &mut all);
    if let Some(behind) = head.passed_on() {
        of_one(&Head::new(head.status(), &behind, head.clock()), rows, &mut all);
    }
    all
}

/// Nearly every response says nothing, or little: then no name is looked up.
fn is_about_limits(name: &str) -> bool {
    ["ratelimit", "rate-limit", "tokenlimit", "call-", "llm_provider-"]
        .iter()
        .any(|part| name.contains(part))
}

fn of_one(head: &Head<'_>, rows: &[&[Row]], all: &mut Vec<Reading>) {
    let told_before = all.len();
    let own = rows.iter().flat_map(|rows| rows.iter()).filter_map(|row| row.read(head));
    for reading in own.chain(ietf::readings(head)) {
        let is_same =
            |known: &Reading| known.dimension() == reading.dimension() && known.window() == reading.window();
        match all.iter().position(is_same) {
            None => all.push(reading),
            // Two limits of one kind, of a project and its organisation: the tighter one counts. What
            // comes from behind a gateway is the same as what the gateway says.
            Some(at) if at >= told_before && is_tighter(&reading, &all[at]) => all[at] = reading,
            Some(_) => {}
        }
    }
}

fn is_tighter(reading: &Reading, known: &Reading) -> bool {
    let left = |reading: &Reading| reading.remaining().or(reading.limit()).unwrap_or(u64::MAX);
    left(reading) < left(known)
}

/// A reading of what is known.
fn reading(
    dimension: Dimension,
    window: Option<Duration>,
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Duration>,
) -> Reading {
    let mut reading = Reading::of(dimension);
    if let Some(limit) = limit {
        reading = reading.with_limit(limit);
    }
    if let Some(remaining) = remaining {
        reading = reading.with_remaining(remaining);
    }
    if let Some(reset) = reset {
        reading = reading.with_reset(reset);
    }
    if let Some(window) = window {
        reading = reading.with_window(window);
    }
    reading
}

/// A count. Negative ones stand for "not known", and are none.
fn number(text: &str) -> Option<u64> {
    let digits = text.split_once('.').map_or(text, |(whole, _)| whole);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

impl Row {
    /// What the head says about this limit, if anything.
    fn read(&self, head: &Head<'_>) -> Option<Reading> {
        let count = |name: &str| number(head.header(name)?);
        head.header(self.unless).is_none().then_some(())?;
        let (limit, remaining) = (count(self.limit), count(self.remaining));
        (limit.is_some() || remaining.is_some()).then_some(())?;
        let reset = head.header(self.reset).and_then(|reset| time::until(reset, head.sent()));
        Some(reading(self.dimension, self.window, limit, remaining, reset))
    }
}
