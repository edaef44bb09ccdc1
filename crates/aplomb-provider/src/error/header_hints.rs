//! Delays in provider-specific headers.

use std::time::Duration;

use crate::time::{rfc3339, until, until_unix};
use crate::{Head, limits};

/// Reads when a throttled request may be sent again.
pub(crate) type HeaderHint = fn(&Head<'_>) -> Option<Duration>;

/// Anthropic: the latest reset of the exhausted dimensions, relative to the response's own date.
///
/// Dimensions with tokens left say nothing about this refusal. Priority dimensions never refuse: they fall back
/// to the standard ones.
pub(crate) fn anthropic(head: &Head<'_>) -> Option<Duration> {
    let exhausted = head.headers().iter().filter_map(|(name, value)| {
        let dimension = name.as_str().strip_suffix("-remaining")?;
        let refuses =
            dimension.starts_with("anthropic-ratelimit-") || dimension.starts_with("anthropic-fast-");
        (refuses && is_zero(value.to_str().ok()?)).then_some(dimension)
    });
    let resets = exhausted.filter_map(|dimension| {
        let reset = rfc3339::parse(head.header(&format!("{dimension}-reset"))?)?;
        reset.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()
    });
    until_unix(resets.max()?, head.sent())
}

/// Anthropic: the window of a subscription is exhausted, which lasts for hours.
pub(crate) fn is_subscription_exhausted(head: &Head<'_>) -> bool {
    head.header("anthropic-ratelimit-unified-status")
        .is_some_and(|status| status.eq_ignore_ascii_case("rejected"))
}

/// Mistral: the tokens of a month are exhausted, by their newer or older name.
pub(crate) fn is_month_exhausted(head: &Head<'_>) -> bool {
    head.headers().iter().any(|(name, value)| {
        let name = name.as_str();
        let is_per_month = name.ends_with("-month")
            && (name.starts_with("x-ratelimit-remaining-")
                || name.starts_with("x-ratelimitbysize-remaining-"));
        is_per_month && value.to_str().is_ok_and(is_zero)
    })
}

/// AWS: milliseconds, with any error.
pub(crate) fn aws(head: &Head<'_>) -> Option<Duration> {
    let number = head.header("x-amz-retry-after")?.parse::<u64>().ok()?;
    Some(Duration::from_millis(number)).filter(|delay| !delay.is_zero())
}

/// The IETF's drafts.
pub(crate) fn ietf(head: &Head<'_>) -> Option<Duration> {
    limits::ietf::exhausted_reset(head)
}

/// `X-RateLimit-Reset` once nothing remains: the end of a window.
///
/// `x-ratelimit-reset-tokens` and the like are not hints: they say when the bucket is full, which is far later
/// than when a request is admitted.
pub(crate) fn window(head: &Head<'_>) -> Option<Duration> {
    let remaining = head.header("x-ratelimit-remaining");
    remaining.is_none_or(is_zero).then_some(())?;
    until(head.header("x-ratelimit-reset")?, head.sent())
}

/// Azure: `x-rate-limit-reset-tokens`, sent in place of `Retry-After`.
pub(crate) fn azure(head: &Head<'_>) -> Option<Duration> {
    let resets = ["x-rate-limit-reset-tokens", "x-rate-limit-reset-requests"];
    let resets = resets.iter().filter_map(|name| until(head.header(name)?, head.sent()));
    resets.max()
}

/// Cerebras: the resets of the exhausted limits, whose names include the window.
pub(crate) fn named_window(head: &Head<'_>) -> Option<Duration> {
    let resets = head.headers().iter().filter_map(|(name, value)| {
        let unit = name.as_str().strip_prefix("x-ratelimit-remaining-")?;
        let has_window = ["-minute", "-hour", "-day"].iter().any(|window| unit.ends_with(window));
        (has_window && is_zero(value.to_str().ok()?)).then_some(())?;
        until(head.header(&format!("x-ratelimit-reset-{unit}"))?, head.sent())
    });
    resets.max()
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
    use std::time::SystemTime;

    fn read(hint: HeaderHint, pairs: &[(&'static str, &'static str)]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for &(name, value) in pairs {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_696_004_797);
        let clock = WallClock::from_fn(move || now);
        hint(&Head::new(StatusCode::TOO_MANY_REQUESTS, &headers, &clock)).map(|delay| delay.as_secs())
    }

    #[test]
    fn only_exhausted_dimensions_count() {
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
        let cerebras = [
            ("x-ratelimit-remaining-tokens-minute", "0"),
            ("x-ratelimit-reset-tokens-minute", "11.38"),
            ("x-ratelimit-remaining-requests-day", "7"),
            ("x-ratelimit-reset-requests-day", "33011.38"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ];
        assert_eq!(read(named_window, &cerebras), Some(11));
    }

    #[test]
    fn the_end_of_a_window_counts_once_nothing_remains() {
        for (remaining, reset, seconds) in [
            ("0", "13", Some(13)),
            ("0", "1696004810", Some(13)),
            ("0", "1696004810000", Some(13)),
            ("0", "1696004000", None),
            ("7", "13", None),
            ("0", "0", None),
            ("0", "99999999999999999999999999999999999", None),
        ] {
            let headers = [("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", reset)];
            assert_eq!(read(window, &headers), seconds, "{remaining} {reset}");
        }
        assert_eq!(read(window, &[("x-ratelimit-reset", "1696004810")]), Some(13));
        assert_eq!(read(azure, &[("x-rate-limit-reset-tokens", "55")]), Some(55));
        assert_eq!(read(azure, &[("x-ratelimit-reset-tokens", "55")]), None);
        assert_eq!(read(aws, &[("x-amz-retry-after", "1500")]), Some(1));
        assert_eq!(read(aws, &[("x-amz-retry-after", "1.5")]), None);
    }

    proptest! {
        #[test]
        fn any_value_never_panics(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            for name in ["ratelimit", "x-ratelimit-reset", "x-amz-retry-after", "date",
                "x-rate-limit-reset-tokens", "anthropic-ratelimit-requests-reset", "x-ratelimit-reset-tokens-minute"] {
                headers.insert(name, value.clone());
            }
            for name in ["x-ratelimit-remaining", "anthropic-ratelimit-requests-remaining",
                "x-ratelimit-remaining-tokens-minute"] {
                headers.insert(name, HeaderValue::from_static("0"));
            }
            let clock = WallClock::system();
            let head = Head::new(StatusCode::OK, &headers, &clock);
            for hint in [anthropic, aws, ietf, window, azure, named_window] {
                let _ = hint(&head);
            }
        }
    }
}
