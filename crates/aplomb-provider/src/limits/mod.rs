//! What responses say about a provider's limits.

pub(crate) mod ietf;
pub(crate) mod rows;

use std::cell::OnceCell;
use std::time::{Duration, SystemTime};

use aplomb_core::{Dimension, Reading};
use http::HeaderValue;
use smallvec::SmallVec;

use self::rows::Row;
use crate::head::text;
use crate::{Head, time};

/// All limits that a head tells of, each once: the provider's own first, then those of the IETF's
/// fields, then what a gateway passes on from behind it.
pub(crate) fn read(head: &Head<'_>, rows: &[&[Row]]) -> Vec<Reading> {
    let mut all = Vec::new();
    let mut headers = about_limits(head).peekable();
    if headers.peek().is_none() {
        return all;
    }
    let told = Told { head, headers: headers.collect(), sent: OnceCell::new() };
    told.read(rows, &mut all);
    if told.has(|name| name.starts_with("llm_provider-"))
        && let Some(behind) = head.passed_on()
    {
        let head = Head::new(head.status(), &behind, head.clock());
        let told = Told { head: &head, headers: about_limits(&head).collect(), sent: OnceCell::new() };
        told.read(rows, &mut all);
    }
    all
}

fn about_limits<'a>(head: &Head<'a>) -> impl Iterator<Item = (&'a str, &'a HeaderValue)> {
    let names = head.headers().iter().map(|(name, value)| (name.as_str(), value));
    names.filter(|(name, _)| is_about_limits(name))
}

/// The headers of a response that are about limits. They are few: to go through them costs less than to
/// look up every name that there is.
struct Told<'a> {
    head: &'a Head<'a>,
    headers: SmallVec<[(&'a str, &'a HeaderValue); 16]>,
    sent: OnceCell<SystemTime>,
}

impl<'a> Told<'a> {
    fn has(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.headers.iter().any(|(name, _)| is_it(name))
    }

    fn header(&self, wanted: &str) -> Option<&'a str> {
        let found = self.headers.iter().find(|(name, _)| *name == wanted);
        found.and_then(|(_, value)| text(value))
    }

    /// When the response was sent, looked up once.
    fn sent(&self) -> SystemTime {
        *self.sent.get_or_init(|| self.head.sent())
    }

    fn read(&self, rows: &[&[Row]], all: &mut Vec<Reading>) {
        let told_before = all.len();
        let own = rows.iter().flat_map(|rows| rows.iter()).filter_map(|row| row.read(self));
        let drafts = self.has(|name| name.starts_with("ratelimit")).then(|| ietf::readings(self.head));
        for reading in own.chain(drafts.into_iter().flatten()) {
            let is_same = |known: &Reading| {
                known.dimension() == reading.dimension() && known.window() == reading.window()
            };
            match all.iter().position(is_same) {
                None => all.push(reading),
                // Two limits of one kind, of a project and its organisation: the tighter one counts.
                // What comes from behind a gateway is the same as what the gateway says.
                Some(at) if at >= told_before && is_tighter(&reading, &all[at]) => all[at] = reading,
                Some(_) => {}
            }
        }
    }
}

/// Nearly every header is about something else.
fn is_about_limits(name: &str) -> bool {
    let starts = |prefix| name.starts_with(prefix);
    match name.as_bytes().first() {
        Some(b'a') => {
            starts("anthropic-ratelimit-") || starts("anthropic-priority-") || starts("anthropic-fast-")
        }
        Some(b'l') => starts("llm_provider-"),
        Some(b'r') => starts("ratelimit"),
        Some(b'x') => {
            starts("x-rate") || starts("x-tokenlimit-") || starts("x-trial-") || starts("x-endpoint-")
        }
        _ => false,
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

/// A count, without what may follow a point. Negative ones stand for "not known", and are none.
fn number(text: &str) -> Option<u64> {
    let (mut number, mut digits) = (0_u64, 0);
    for byte in text.bytes().take_while(|byte| *byte != b'.') {
        let digit = char::from(byte).to_digit(10)?;
        number = number.checked_mul(10)?.checked_add(digit.into())?;
        digits += 1;
    }
    (digits > 0).then_some(number)
}

impl Row {
    /// What is told about this limit, if anything.
    fn read(&self, told: &Told<'_>) -> Option<Reading> {
        let count = |name: &str| number(told.header(name)?);
        let (limit, remaining) = (count(self.limit), count(self.remaining));
        (limit.is_some() || remaining.is_some()).then_some(())?;
        told.header(self.unless).is_none().then_some(())?;
        let reset = told.header(self.reset).and_then(|reset| time::until_from(reset, || told.sent()));
        Some(reading(self.dimension, self.window, limit, remaining, reset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_row_is_passed_over() {
        let rows = [
            rows::OPENAI,
            rows::AZURE,
            rows::ANTHROPIC,
            rows::GROQ,
            rows::WINDOWED,
            rows::MISTRAL,
            rows::COHERE,
            rows::TOGETHER,
            rows::FIREWORKS,
            rows::BARE,
        ];
        for row in rows.iter().flat_map(|rows| rows.iter()) {
            for name in [row.limit, row.remaining, row.reset, row.unless] {
                assert!(name.is_empty() || is_about_limits(name), "{name}");
            }
        }
        for name in [
            "date",
            "x-request-id",
            "anthropic-organization-id",
            "retry-after",
            "x",
            "",
        ] {
            assert!(!is_about_limits(name), "{name}");
        }
    }
}
