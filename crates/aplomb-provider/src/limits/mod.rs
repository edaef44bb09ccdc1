//! Rate limits reported by response headers.

pub(crate) mod ietf;
mod reading;
pub(crate) mod table;

use std::cell::OnceCell;
use std::time::{Duration, SystemTime};

use aplomb_core::Reading;
use http::HeaderValue;
use smallvec::SmallVec;

use self::reading::{number, reading};
use self::table::Row;
use crate::head::text;
use crate::{Head, time};

/// All limits that a head reports, each once: first the provider's own headers, then the IETF's, then those that
/// a gateway forwards from the provider behind it.
pub(crate) fn read(head: &Head<'_>, rows: &[&[Row]]) -> Vec<Reading> {
    let mut all = Vec::new();
    let mut headers = about_limits(head).peekable();
    if headers.peek().is_none() {
        return all;
    }
    let headers = LimitHeaders { head, headers: headers.collect(), sent: OnceCell::new() };
    headers.read(rows, &mut all);
    if !headers.any(|name| name.starts_with("llm_provider-")) {
        return all;
    }
    if let Some(forwarded) = head.forwarded() {
        let head = Head::new(head.status(), &forwarded, head.clock());
        let headers =
            LimitHeaders { head: &head, headers: about_limits(&head).collect(), sent: OnceCell::new() };
        headers.read(rows, &mut all);
    }
    all
}

fn about_limits<'a>(head: &Head<'a>) -> impl Iterator<Item = (&'a str, &'a HeaderValue)> {
    let names = head.headers().iter().map(|(name, value)| (name.as_str(), value));
    names.filter(|(name, _)| is_about_limits(name))
}

/// The headers of a response that are about limits. They are few, so searching them is cheaper than looking up
/// every name in the tables.
struct LimitHeaders<'a> {
    head: &'a Head<'a>,
    headers: SmallVec<[(&'a str, &'a HeaderValue); 16]>,
    sent: OnceCell<SystemTime>,
}

impl<'a> LimitHeaders<'a> {
    fn any(&self, matches: impl Fn(&str) -> bool) -> bool {
        self.headers.iter().any(|(name, _)| matches(name))
    }

    fn get(&self, wanted: &str) -> Option<&'a str> {
        let found = self.headers.iter().find(|(name, _)| *name == wanted);
        found.and_then(|(_, value)| text(value))
    }

    /// When the response was sent, looked up once.
    fn sent(&self) -> SystemTime {
        *self.sent.get_or_init(|| self.head.sent())
    }

    fn read(&self, rows: &[&[Row]], all: &mut Vec<Reading>) {
        let first_own = all.len();
        let own = rows.iter().flat_map(|rows| rows.iter()).filter_map(|row| row.read(self));
        let drafts = self.any(|name| name.starts_with("ratelimit")).then(|| ietf::readings(self.head));
        for reading in own.chain(drafts.into_iter().flatten()) {
            let is_same = |known: &Reading| {
                known.dimension() == reading.dimension() && known.window() == reading.window()
            };
            match all.iter().position(is_same) {
                None => all.push(reading),
                // Two limits of one kind, of a project and its organization: the tighter one counts. A gateway
                // forwards what it has already reported itself.
                Some(at) if at >= first_own && is_tighter(&reading, &all[at]) => all[at] = reading,
                Some(_) => {}
            }
        }
    }
}

/// Returns whether a header may be about limits. Hardly any is.
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

/// The window of a limit in a list. Envoy lists all its limits, first the one that counts: `10, 10;w=1, 1000;w=3600`.
fn window_of(limits: &str, limit: u64) -> Option<Duration> {
    memchr::memchr(b';', limits.as_bytes())?;
    let is_limit = |item: &&str| number(item.trim()) == Some(limit);
    let mut parameters = limits.split(',').filter(is_limit).flat_map(|item| item.split(';'));
    let seconds = parameters.find_map(|parameter| number(parameter.trim().strip_prefix("w=")?))?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

impl Row {
    /// Reads this limit, if the headers report it.
    fn read(&self, headers: &LimitHeaders<'_>) -> Option<Reading> {
        let limits = headers.get(self.limit);
        let (limit, remaining) = (limits.and_then(number), headers.get(self.remaining).and_then(number));
        (limit.is_some() || remaining.is_some()).then_some(())?;
        headers.get(self.unless).is_none().then_some(())?;
        let reset = headers.get(self.reset).and_then(|reset| time::until_from(reset, || headers.sent()));
        let window = self.window.or_else(|| window_of(limits?, limit?));
        Some(reading(self.dimension, window, limit, remaining, reset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_tables_is_recognized() {
        let tables = [
            table::OPENAI,
            table::AZURE,
            table::ANTHROPIC,
            table::GROQ,
            table::WINDOWED,
            table::MISTRAL,
            table::COHERE,
            table::TOGETHER,
            table::FIREWORKS,
            table::BARE,
        ];
        for row in tables.iter().flat_map(|rows| rows.iter()) {
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
