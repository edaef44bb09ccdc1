//! The IETF's rate limit headers, by draft.
//!
//! - `RateLimit-Policy: "burst";q=100;w=60, "daily";q=1000;w=86400` and `RateLimit: "burst";r=50;t=30`:
//!   draft-ietf-httpapi-ratelimit-headers-08 to -11. `t` is the seconds until the quota is available again.
//! - `RateLimit-Policy: 100;w=60` and `RateLimit: limit=100, remaining=50, reset=30`: -07.
//! - `RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset`: up to -06.

use std::time::Duration;

use aplomb_core::{Dimension, Reading};

use super::reading::{number, reading};
use crate::Head;

/// Policies beyond this number are ignored.
const MOST_ITEMS: usize = 16;

/// A list item: its names or value, and its parameters.
#[derive(Debug, Default)]
struct Item<'a> {
    names: Vec<&'a str>,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Item<'a> {
    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(known, _)| *known == name).map(|&(_, value)| value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        number(self.parameter(name)?)
    }

    fn seconds(&self, name: &str) -> Option<Duration> {
        self.number(name).filter(|&seconds| seconds > 0).map(Duration::from_secs)
    }
}

/// The latest reset of the policies with nothing remaining.
pub(crate) fn exhausted_reset(head: &Head<'_>) -> Option<Duration> {
    let limits = items(head.header("ratelimit").unwrap_or_default());
    let resets = limits.iter().filter(|limit| limit.number("r") == Some(0));
    let older = || {
        let merged = merged(&limits);
        (merged.number("remaining") == Some(0)).then(|| merged.seconds("reset")).flatten()
    };
    let oldest = || {
        (number(head.header("ratelimit-remaining")?)? == 0).then_some(())?;
        let reset = number(head.header("ratelimit-reset")?).filter(|&reset| reset > 0);
        reset.map(Duration::from_secs)
    };
    resets.filter_map(|limit| limit.seconds("t")).max().or_else(older).or_else(oldest)
}

/// One reading for each policy.
pub(crate) fn readings(head: &Head<'_>) -> Vec<Reading> {
    let policies = items(head.header("ratelimit-policy").unwrap_or_default());
    let limits = items(head.header("ratelimit").unwrap_or_default());
    let merged = merged(&limits);
    let oldest = head.header("ratelimit-limit");
    if merged.parameter("limit").is_some() || (limits.is_empty() && oldest.is_some()) {
        return older(head, &merged, policies.first()).into_iter().collect();
    }
    let named = |policy: &Item<'_>| {
        limits.iter().find(|limit| limit.names.iter().any(|name| policy.names.contains(name)))
    };
    let with_policy = policies.iter().map(|policy| of_item(Some(policy), named(policy)));
    let orphans = limits.iter().filter(|limit| {
        let has = |policy: &Item<'_>| policy.names.iter().any(|name| limit.names.contains(name));
        !policies.iter().any(has)
    });
    with_policy.chain(orphans.map(|limit| of_item(None, Some(limit)))).flatten().collect()
}

fn of_item(policy: Option<&Item<'_>>, limit: Option<&Item<'_>>) -> Option<Reading> {
    let quota = policy.and_then(|policy| policy.number("q"));
    let remaining = limit.and_then(|limit| limit.number("r"));
    (quota.is_some() || remaining.is_some()).then_some(())?;
    let dimension = match policy.and_then(|policy| policy.parameter("qu")) {
        None | Some("requests") => Dimension::REQUESTS,
        Some("content-bytes") => Dimension::named("content bytes"),
        Some("concurrent-requests") => Dimension::named("concurrent requests"),
        Some(_) => return None,
    };
    let window = policy.and_then(|policy| policy.seconds("w"));
    let reset = limit.and_then(|limit| limit.seconds("t"));
    Some(reading(dimension, window, quota, remaining, reset))
}

fn older(head: &Head<'_>, merged: &Item<'_>, policy: Option<&Item<'_>>) -> Option<Reading> {
    let count = |name: &str, header: &str| {
        let oldest = || head.header(header)?.split(',').next();
        merged.number(name).or_else(|| number(oldest()?.trim()))
    };
    let limit = count("limit", "ratelimit-limit");
    let remaining = count("remaining", "ratelimit-remaining");
    (limit.is_some() || remaining.is_some()).then_some(())?;
    let reset = count("reset", "ratelimit-reset").filter(|&reset| reset > 0);
    let window = policy.and_then(|policy| policy.seconds("w"));
    Some(reading(Dimension::REQUESTS, window, limit, remaining, reset.map(Duration::from_secs)))
}

/// In -07, list members are what later became parameters.
fn merged<'a>(items: &[Item<'a>]) -> Item<'a> {
    let names = items.iter().flat_map(|item| item.names.iter());
    let pairs = names.filter_map(|name| name.split_once('='));
    Item { names: Vec::new(), parameters: pairs.collect() }
}

/// The items of a list, separated by commas outside quotes. A part without `=` is a name: some servers send two
/// names for one item.
fn items(value: &str) -> Vec<Item<'_>> {
    split(value, b',')
        .take(MOST_ITEMS)
        .map(|item| {
            let mut parts = split(item, b';').take(MOST_ITEMS).map(str::trim);
            let first = parts.next().map(unquoted);
            let mut item = Item { names: first.into_iter().collect(), parameters: Vec::new() };
            for part in parts {
                match part.split_once('=') {
                    Some((name, value)) => item.parameters.push((name.trim(), unquoted(value.trim()))),
                    None => item.names.push(unquoted(part)),
                }
            }
            item
        })
        .filter(|item| item.names.iter().any(|name| !name.is_empty()))
        .collect()
}

/// A string without its quotes. Escapes are kept and compared as they are.
fn unquoted(text: &str) -> &str {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or(text)
}

/// Splits at separators outside quotes.
fn split(value: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = unquoted_position(text.as_bytes(), separator);
        rest = end.map(|end| &text[end + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

fn unquoted_position(text: &[u8], separator: u8) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ if byte == separator && !is_quoted => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use aplomb_core::WallClock;
    use http::{HeaderMap, HeaderValue, StatusCode};
    use proptest::prelude::*;

    fn with<T>(pairs: &[(&'static str, &str)], read: impl Fn(&Head<'_>) -> T) -> T {
        let headers = pairs.iter().map(|&(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        let (headers, clock) = (headers.collect::<HeaderMap>(), WallClock::system());
        read(&Head::new(StatusCode::TOO_MANY_REQUESTS, &headers, &clock))
    }

    fn of(window: u64, limit: u64) -> Reading {
        Reading::of(Dimension::REQUESTS)
            .with_window(Duration::from_secs(window))
            .with_limit(limit)
    }

    #[test]
    fn policies_and_their_remaining_quota() {
        let headers = [
            ("ratelimit-policy", r#""burst";q=100;w=60,"da,ily";q=1000;w=86400"#),
            ("ratelimit", r#""burst";r=50;t=30"#),
        ];
        let burst = of(60, 100).with_remaining(50).with_reset(Duration::from_secs(30));
        assert_eq!(with(&headers, readings), [burst, of(86_400, 1_000)]);

        let two_names = [
            ("ratelimit-policy", r#""fixed window";"api";q=500;w=300"#),
            ("ratelimit", r#""api";r=0;t=55"#),
        ];
        let api = of(300, 500).with_remaining(0).with_reset(Duration::from_secs(55));
        assert_eq!(with(&two_names, readings), [api]);
        assert_eq!(with(&two_names, exhausted_reset), Some(Duration::from_secs(55)));
    }

    #[test]
    fn older_drafts() {
        let expected = of(60, 100).with_remaining(0).with_reset(Duration::from_secs(30));
        for headers in [
            &[
                ("ratelimit-policy", "100;w=60"),
                ("ratelimit", "limit=100, remaining=0, reset=30"),
            ][..],
            &[
                ("ratelimit-policy", "100;w=60"),
                ("ratelimit-limit", "100"),
                ("ratelimit-remaining", "0"),
                ("ratelimit-reset", "30"),
            ],
            &[
                ("ratelimit-policy", "100;w=60"),
                ("ratelimit-limit", "100, 100;w=60"),
                ("ratelimit-remaining", "0"),
                ("ratelimit-reset", "30"),
            ],
        ] {
            assert_eq!(with(headers, readings), [expected], "{headers:?}");
            assert_eq!(with(headers, exhausted_reset), Some(Duration::from_secs(30)), "{headers:?}");
        }
    }

    #[test]
    fn units_and_nonsense() {
        let bytes = [("ratelimit-policy", r#""a";q=9;qu="content-bytes", "b";q=9;qu="bananas""#)];
        assert_eq!(with(&bytes, readings), [Reading::of(Dimension::named("content bytes")).with_limit(9)]);
        for value in [
            "",
            ",;,",
            "r;t;;=,,",
            r#""a"#,
            r#""a";r=-1;t=30"#,
            r#""a";q=x"#,
            r#""a";r=99999999999999999999999"#,
        ] {
            let headers = [("ratelimit-policy", value), ("ratelimit", value)];
            assert_eq!(with(&headers, readings), [], "{value}");
            assert_eq!(with(&headers, exhausted_reset), None, "{value}");
        }
        for (value, seconds) in [
            (r#""burst";r=0;t=30, "daily";r=900;t=3600"#, Some(30)),
            (r#""burst";r=0;t=30, "daily";r=0;t=3600"#, Some(3_600)),
            (r#""burst";r=1;t=30"#, None),
            (r#""burst";r=0;t=0"#, None),
        ] {
            let reset = with(&[("ratelimit", value)], exhausted_reset);
            assert_eq!(reset.map(|reset| reset.as_secs()), seconds, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_value_never_panics(policy in "[\"\\\\a;=,qwrt0-9 -]*", limit in "[\"\\\\a;=,qwrt0-9 -]*") {
            let headers = [("ratelimit-policy", policy.as_str()), ("ratelimit", limit.as_str()),
                ("ratelimit-limit", limit.as_str()), ("ratelimit-remaining", policy.as_str())];
            prop_assert!(with(&headers, readings).len() <= 2 * MOST_ITEMS);
            let _ = with(&headers, exhausted_reset);
        }

        #[test]
        fn written_policies_are_read_back(policies in prop::collection::vec((1_u64..1_000_000, 1_u64..100_000, 0_u64..1_000, 1_u64..1_000), 1..9)) {
            let policy = policies.iter().enumerate().map(|(i, (q, w, ..))| format!("\"p{i}\";q={q};w={w}"));
            let limit = policies.iter().enumerate().map(|(i, (.., r, t))| format!("\"p{i}\";r={r};t={t}"));
            let (policy, limit) = (policy.collect::<Vec<_>>().join(", "), limit.collect::<Vec<_>>().join(","));
            let read = with(&[("ratelimit-policy", &policy), ("ratelimit", &limit)], readings);
            let expected = policies.iter().map(|&(q, w, r, t)| {
                of(w, q).with_remaining(r).with_reset(Duration::from_secs(t))
            });
            prop_assert_eq!(read, expected.collect::<Vec<_>>());
        }
    }
}
