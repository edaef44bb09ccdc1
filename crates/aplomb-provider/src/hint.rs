//! When to come back, where neither `retry-after-ms` nor `Retry-After` says it.

use std::time::{Duration, SystemTime};

use crate::Head;
use crate::rfc3339;

/// Anthropic: the reset of each dimension that is used up; the last of them.
///
/// Counted against the response's own date. Dimensions with something left say nothing about this
/// refusal; priority ones never refuse, they fall back to the standard ones.
pub(crate) fn anthropic(head: &Head<'_>) -> Option<Duration> {
    let used_up = head.headers().iter().filter_map(|(name, value)| {
        let dimension = name.as_str().strip_suffix("-remaining")?;
        let refuses =
            dimension.starts_with("anthropic-ratelimit-") || dimension.starts_with("anthropic-fast-");
        (refuses && is_zero(value.to_str().ok()?)).then_some(dimension)
    });
    let resets = used_up.filter_map(|dimension| {
        let reset = head.header(&format!("{dimension}-reset"))?;
        rfc3339::parse(reset)
    });
    until(resets.max()?, head.sent())
}

/// Anthropic: a subscription whose window is used up, which lasts for hours.
pub(crate) fn is_subscription_used_up(head: &Head<'_>) -> bool {
    head.header("anthropic-ratelimit-unified-status")
        .is_some_and(|status| status.eq_ignore_ascii_case("rejected"))
}

/// Milliseconds to wait, under names of their own.
pub(crate) fn milliseconds(head: &Head<'_>) -> Option<Duration> {
    ["x-ms-retry-after-ms", "x-amz-retry-after"].iter().find_map(|name| {
        let number = head.header(name)?.parse::<u64>().ok()?;
        Some(Duration::from_millis(number)).filter(|delay| !delay.is_zero())
    })
}

/// What else is in use: the draft for `RateLimit`, and `X-RateLimit-Reset` once nothing remains.
///
/// `x-ratelimit-reset-tokens` and its like are not here: they name the time until the bucket is
/// full, which is far later than the time at which a request is admitted.
pub(crate) fn common(head: &Head<'_>) -> Option<Duration> {
    let draft = || rate_limit(head.header("ratelimit")?);
    let reset = || {
        is_zero(head.header("x-ratelimit-remaining")?).then_some(())?;
        moment(head.header("x-ratelimit-reset")?, head.sent())
    };
    draft().or_else(reset)
}

/// `"burst";r=0;t=30, "daily";r=900;t=3600`: the latest of the windows with nothing remaining.
/// draft-ietf-httpapi-ratelimit-headers-10.
fn rate_limit(value: &str) -> Option<Duration> {
    let windows = value.split(',').filter_map(|item| {
        let parameter = |name: &str| {
            let mut parameters = item.split(';').map(str::trim);
            parameters.find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))
        };
        is_zero(parameter("r")?).then_some(())?;
        parameter("t")?.parse::<u64>().ok()
    });
    windows.max().filter(|&t| t > 0).map(Duration::from_secs)
}

/// A number of unclear meaning: seconds from now, or since the epoch in seconds or milliseconds.
/// They can be told apart by their size.
fn moment(value: &str, sent: SystemTime) -> Option<Duration> {
    match value.parse::<u64>().ok()? {
        0 => None,
        delta @ 1..1_000_000_000 => Some(Duration::from_secs(delta)),
        unix @ 1_000_000_000..1_000_000_000_000 => until_unix(Duration::from_secs(unix), sent),
        unix => until_unix(Duration::from_millis(unix), sent),
    }
}

/// From `sent` until a point given in seconds since the epoch.
pub(crate) fn until_unix(since_epoch: Duration, sent: SystemTime) -> Option<Duration> {
    until(SystemTime::UNIX_EPOCH.checked_add(since_epoch)?, sent)
}

fn until(reset: SystemTime, sent: SystemTime) -> Option<Duration> {
    let delay = reset.duration_since(sent).ok()?;
    (!delay.is_zero()).then_some(delay)
}

fn is_zero(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use aplomb_core::WallClock;
    use http::{HeaderMap, HeaderValue, StatusCode};
    use proptest::prelude::*;

    fn read(
        hint: impl Fn(&Head<'_>) -> Option<Duration>,
        pairs: &[(&'static str, &'static str)],
    ) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for &(name, value) in pairs {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_696_004_797);
        let clock = WallClock::from_fn(move || now);
        hint(&Head::new(StatusCode::TOO_MANY_REQUESTS, &headers, &clock)).map(|delay| delay.as_secs())
    }

    #[test]
    fn only_the_dimension_that_is_used_up_counts() {
        let date = ("date", "Tue, 26 Mar 2024 19:59:59 GMT");
        let input = [
            date,
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2024-03-26T20:00:29Z"),
            ("anthropic-ratelimit-output-tokens-remaining", "4000"),
            ("anthropic-ratelimit-output-tokens-reset", "2024-03-26T20:10:00Z"),
            ("anthropic-priority-input-tokens-remaining", "0"),
            ("anthropic-priority-input-tokens-reset", "2024-03-26T20:20:00Z"),
        ];
        assert_eq!(read(anthropic, &input), Some(30));
        let past = [
            date,
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2024-03-26T19:59:59Z"),
        ];
        assert_eq!(read(anthropic, &past), None);
    }

    #[test]
    fn the_drafts_window_with_nothing_left() {
        for (value, seconds) in [
            ("\"api\";r=0;t=55", Some(55)),
            ("\"burst\";r=0;t=30, \"daily\";r=900;t=3600", Some(30)),
            ("\"burst\";r=1;t=30", None),
            ("\"burst\";r=0;t=-30", None),
            ("r;t;;=,,", None),
        ] {
            assert_eq!(read(common, &[("ratelimit", value)]), seconds, "{value}");
        }
    }

    #[test]
    fn epochs_are_told_from_deltas() {
        for (value, seconds) in [
            ("13", Some(13)),
            ("1696004810", Some(13)),
            ("1696004810000", Some(13)),
            ("1696004000", None),
            ("0", None),
            ("99999999999999999999999999999999999", None),
            ("18446744073709551615", Some(18_446_742_377_704_754)),
        ] {
            let headers = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", value)];
            assert_eq!(read(common, &headers), seconds, "{value}");
        }
        assert_eq!(read(common, &[("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "13")]), None);
    }

    proptest! {
        #[test]
        fn any_value_never_panics(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            for name in ["ratelimit", "x-ratelimit-reset", "x-ms-retry-after-ms", "date",
                "anthropic-ratelimit-requests-reset"] {
                headers.insert(name, value.clone());
            }
            headers.insert("x-ratelimit-remaining", HeaderValue::from_static("0"));
            headers.insert("anthropic-ratelimit-requests-remaining", HeaderValue::from_static("0"));
            let clock = WallClock::system();
            let head = Head::new(StatusCode::OK, &headers, &clock);
            let _ = (common(&head), anthropic(&head), milliseconds(&head));
        }
    }
}
