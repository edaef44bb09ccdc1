//! Points in time in RFC 3339: `2024-03-26T20:00:00Z`.

use std::time::{Duration, SystemTime};

/// Parses a point in time strictly as in RFC 3339, since the epoch.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let punctuation = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let punctuated = punctuation.iter().all(|&(at, c)| bytes.get(at) == Some(&c));
    if !punctuated || !matches!(bytes[10], b'T' | b't') {
        return None;
    }
    let year = number(bytes, 0, 4)?;
    let month = number(bytes, 5, 2).filter(|month| (1..=12).contains(month))?;
    let day = number(bytes, 8, 2).filter(|&day| day >= 1 && day <= days_in(year, month))?;
    let hour = number(bytes, 11, 2).filter(|&hour| hour < 24)?;
    let minute = number(bytes, 14, 2).filter(|&minute| minute < 60)?;
    let second = number(bytes, 17, 2).filter(|&second| second <= 60)?;
    let (nanos, zone) = fraction(&bytes[19..])?;

    let local = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let since = u64::try_from(local - offset(zone)?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(since, nanos))
}

/// Parses the point in time that a text in lower case starts with. A space may separate date and time, and the zone
/// may be `utc` or `gmt`.
pub(crate) fn leading(text: &str) -> Option<SystemTime> {
    let (date, time) = (text.get(..10)?, text.get(11..19)?);
    let zone = text[19..].trim_start();
    let zone = match zone.as_bytes() {
        [b'+' | b'-', ..] => zone.get(..6)?,
        _ if ["utc", "gmt", "z"].iter().any(|name| zone.starts_with(name)) => "Z",
        _ => return None,
    };
    matches!(text.as_bytes()[10], b' ' | b't').then(|| parse(&format!("{date}T{time}{zone}")))?
}

/// Exactly `len` digits.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<i64> {
    let digits = bytes.get(at..at + len)?;
    digits
        .iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// The nanoseconds, and the rest.
fn fraction(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let Some((b'.', rest)) = bytes.split_first() else {
        return Some((0, bytes));
    };
    let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, zone) = rest.split_at(len);
    let places = digits.iter().copied().chain(std::iter::repeat(b'0'));
    let nanos = places.take(9).fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    (len > 0).then_some((nanos, zone))
}

/// Seconds east of Greenwich.
fn offset(zone: &[u8]) -> Option<i64> {
    let sign = match zone {
        b"Z" | b"z" => return Some(0),
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let hours = number(zone, 1, 2).filter(|&hours| hours < 24)?;
    let minutes = number(zone, 4, 2).filter(|&minutes| minutes < 60)?;
    Some(sign * (hours * 3_600 + minutes * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant's `days_from_civil`, <https://howardhinnant.github.io/date_algorithms.html>.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(text: &str) -> Option<f64> {
        let since = parse(text)?.duration_since(SystemTime::UNIX_EPOCH);
        Some(since.unwrap().as_secs_f64())
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "whole and half seconds are exact")]
    fn points_in_time() {
        for (text, unix) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2024-03-26T20:00:00Z", 1_711_483_200.0),
            ("2024-03-26t21:30:00.500+01:30", 1_711_483_200.5),
            ("2024-02-29T00:00:00Z", 1_709_164_800.0),
            ("2024-03-26T19:00:00-01:00", 1_711_483_200.0),
            ("2016-12-31T23:59:60Z", 1_483_228_800.0),
        ] {
            assert_eq!(seconds(text), Some(unix), "{text}");
        }
        for text in [
            "",
            "2024-03-26",
            "2024-03-26 20:00:00Z",
            "2024-03-26T20:00:00",
            "2024-03-26T20:00:00.Z",
            "2024-13-26T20:00:00Z",
            "2023-02-29T20:00:00Z",
            "2024-03-26T24:00:00Z",
            "2024-03-26T20:00:00+24:00",
            "2024-03-26T20:00:00Zulu",
            "1960-03-26T20:00:00Z",
            "1788879438",
            "99999-03-26T20:00:00Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn points_in_text() {
        for (text, unix) in [
            ("2024-03-26 20:00:00 utc.", Some(1_711_483_200)),
            ("2024-03-26t20:00:00z", Some(1_711_483_200)),
            ("2024-03-26 21:30:00 +01:30, or so", Some(1_711_483_200)),
            ("2024-03-26 20:00:00", None),
            ("2024-03-26 20:00:00 cet", None),
            ("2024-03-26 ß0:00:00 utc", None),
            ("2024-03-26", None),
        ] {
            let point = unix.map(|unix| SystemTime::UNIX_EPOCH + Duration::from_secs(unix));
            assert_eq!(leading(text), point, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text in "\\PC*") {
            let _ = (parse(&text), leading(&text));
        }

        #[test]
        fn agrees_with_another_parser(unix in 0_u64..253_402_300_800) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(unix);
            // Sun, 06 Nov 1994 08:49:37 GMT
            let http = httpdate::fmt_http_date(time);
            let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
            let month = months.find(&http[8..11]).unwrap() / 3 + 1;
            let text = format!("{}-{month:02}-{}T{}Z", &http[12..16], &http[5..7], &http[17..25]);
            prop_assert_eq!(parse(&text), Some(time));
        }
    }
}
