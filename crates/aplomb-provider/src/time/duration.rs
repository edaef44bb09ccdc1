//! Durations as servers write them: `6m0s`, `644ms`, `1m30.002s`, `35 seconds`.

use std::time::Duration;

const NANOS: u128 = 1_000_000_000;

/// Parses a duration in Go's notation: `6m0s`, `120ms`, `2m59.56s`, `1h2m3s`, `12µs`, `0`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.contains(char::is_whitespace) {
        return None;
    }
    let (duration, rest) = leading(text)?;
    rest.is_empty().then_some(duration)
}

/// Parses the duration that `text` starts with, in Go's notation or in words. Returns the rest too.
pub(crate) fn leading(text: &str) -> Option<(Duration, &str)> {
    let (mut total, mut rest) = part(text)?;
    while let Some((more, after)) = part(and(rest)) {
        total = total.checked_add(more)?;
        rest = after;
    }
    let seconds = u64::try_from(total / NANOS).ok()?;
    let nanos = u32::try_from(total % NANOS).ok()?;
    Some((Duration::new(seconds, nanos), rest))
}

/// Parses one number with its unit, in nanoseconds.
fn part(text: &str) -> Option<(u128, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.').map(digits) {
        Some((fraction, after)) if !fraction.is_empty() => (fraction, after),
        _ => ("", rest),
    };
    if whole.is_empty() {
        return None;
    }
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
    let unit = unit(&rest[..end])?;

    // Digits far below a nanosecond do not matter.
    let fraction = &fraction[..fraction.len().min(15)];
    let mut nanos = whole.parse::<u64>().ok().map(u128::from)? * unit;
    if !fraction.is_empty() {
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        nanos += fraction.parse::<u128>().ok()? * unit / scale;
    }
    Some((nanos, &rest[end..]))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// Skips what joins two parts: `1 hour and 5 minutes`, `1 hour, 5 minutes`.
fn and(text: &str) -> &str {
    let text = text.strip_prefix(',').unwrap_or(text).trim_start();
    text.strip_prefix("and ").unwrap_or(text)
}

fn unit(word: &str) -> Option<u128> {
    Some(match word {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" | "msec" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => NANOS,
        "m" | "min" | "mins" | "minute" | "minutes" => 60 * NANOS,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600 * NANOS,
        "d" | "day" | "days" => 86_400 * NANOS,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn go_durations() {
        for (text, nanos) in [
            ("1s", 1_000_000_000),
            ("120ms", 120_000_000),
            ("6m0s", 360_000_000_000),
            ("2m59.56s", 179_560_000_000),
            ("9m38.016s", 578_016_000_000),
            ("1m47.5854s", 107_585_400_000),
            ("1h2m3s", 3_723_000_000_000),
            ("50.597142857s", 50_597_142_857),
            ("539.477544ms", 539_477_544),
            ("12µs", 12_000),
            ("0s", 0),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in [
            "",
            "s",
            "-1",
            "-1s",
            "1",
            "1.s2",
            ".5s",
            "1x",
            "inf",
            "1 s",
            "99999999999999999999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn words() {
        let read = |text| leading(text).map(|(duration, _)| duration.as_millis());
        assert_eq!(read("35 seconds."), Some(35_000));
        assert_eq!(read("1 hour and 5 minutes"), Some(3_900_000));
        assert_eq!(read("1 minute, 30 seconds later"), Some(90_000));
        assert_eq!(read("18.642s. Visit 2 pages"), Some(18_642));
        assert_eq!(read("2 pages"), None);
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text in "\\PC*") {
            let _ = leading(&text);
        }

        #[test]
        fn written_durations_are_read_back(h in 0_u64..1_000, m in 0_u64..60, ms in 0_u64..60_000) {
            let text = format!("{h}h{m}m{}.{:03}s", ms / 1_000, ms % 1_000);
            prop_assert_eq!(parse(&text), Some(Duration::from_millis((h * 3_600 + m * 60) * 1_000 + ms)));
        }
    }
}
