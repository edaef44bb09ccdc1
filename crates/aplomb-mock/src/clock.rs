//! Times and durations as answers contain them. All decisions go by tokio's clock.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The wall clock, read once. From then on it follows tokio's clock, so that dates agree with paused time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    read_at: Instant,
    date: SystemTime,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { read_at: Instant::now(), date: wall_clock() }
    }

    /// Returns the date at an instant.
    pub(crate) fn date(&self, at: Instant) -> SystemTime {
        self.date + at.saturating_duration_since(self.read_at)
    }
}

#[expect(clippy::disallowed_methods, reason = "dates in headers need the wall clock")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

pub(crate) fn unix_seconds(date: SystemTime) -> u64 {
    date.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whole seconds, rounded up.
pub(crate) fn ceil_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// Whole milliseconds, rounded up.
pub(crate) fn ceil_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Writes a duration as Go does (`12ms`, `1.002s`, `6m0s`), rounded up to the millisecond.
pub(crate) fn go_duration(duration: Duration) -> String {
    let millis = ceil_millis(duration);
    if (1..1_000).contains(&millis) {
        return format!("{millis}ms");
    }
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    let (seconds, rest) = (millis / 1_000 % 60, millis % 1_000);
    let mut text = String::new();
    // Writing to a string does not fail.
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    let _ = write!(text, "{seconds}");
    if rest > 0 {
        let _ = write!(text, ".{}", format!("{rest:03}").trim_end_matches('0'));
    }
    text.push('s');
    text
}

/// Writes a date as RFC 3339 in UTC, rounded up to the second.
pub(crate) fn rfc3339(date: SystemTime) -> String {
    let seconds = ceil_seconds(date.duration_since(UNIX_EPOCH).unwrap_or_default());
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day since 1970 (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        let cases = [
            (0, "0s"),
            (9, "9ms"),
            (644, "644ms"),
            (1_000, "1s"),
            (18_642, "18.642s"),
            (90_002, "1m30.002s"),
            (360_000, "6m0s"),
            (3_600_100, "1h0m0.1s"),
        ];
        for (millis, text) in cases {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(go_duration(Duration::from_nanos(1)), "1ms");
    }

    #[test]
    fn dates_read_as_rfc_3339() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (1_711_483_200, "2024-03-26T20:00:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        let late = UNIX_EPOCH + Duration::from_millis(1_711_483_199_001);
        assert_eq!(rfc3339(late), "2024-03-26T20:00:00Z");
    }
}
