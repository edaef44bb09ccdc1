//! Times as servers write them.

pub(crate) mod duration;
pub(crate) mod rfc3339;

use std::time::{Duration, SystemTime};

/// The time from `sent` until what `text` says in any notation: `6m0s`, `7.66`, seconds or milliseconds since the
/// epoch, `2024-03-26T20:00:00Z`. `None` if that is zero or in the past.
pub(crate) fn until(text: &str, sent: SystemTime) -> Option<Duration> {
    until_from(text, || sent)
}

/// The same with `sent` computed only if it is needed, for a point in time.
pub(crate) fn until_from(text: &str, sent: impl Fn() -> SystemTime) -> Option<Duration> {
    // A duration does not start with a year and a dash.
    if text.as_bytes().get(4) == Some(&b'-') {
        return until_point(rfc3339::parse(text)?, sent());
    }
    number(text, sent).or_else(|| duration::parse(text).filter(|delay| !delay.is_zero()))
}

/// A number: seconds from now, or since the epoch in seconds or milliseconds, depending on its size.
fn number(text: &str, sent: impl Fn() -> SystemTime) -> Option<Duration> {
    // Rust's parser would accept `inf`, `nan` and exponents too.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    let seconds = if number < 1e12 { number } else { number / 1e3 };
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|delay| !delay.is_zero())?;
    if number < 1e9 {
        Some(duration)
    } else {
        until_unix(duration, sent())
    }
}

/// The time from `sent` until a point given as time since the epoch.
pub(crate) fn until_unix(since_epoch: Duration, sent: SystemTime) -> Option<Duration> {
    until_point(SystemTime::UNIX_EPOCH.checked_add(since_epoch)?, sent)
}

fn until_point(point: SystemTime, sent: SystemTime) -> Option<Duration> {
    point.duration_since(sent).ok().filter(|delay| !delay.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_in_every_notation() {
        let sent = SystemTime::UNIX_EPOCH + Duration::from_secs(1_696_004_797);
        for (text, millis) in [
            ("13", Some(13_000)),
            ("11.5", Some(11_500)),
            ("6m0s", Some(360_000)),
            ("120ms", Some(120)),
            ("1696004810", Some(13_000)),
            ("1696004810000", Some(13_000)),
            ("2023-09-29T16:26:40Z", Some(3_000)),
            ("1696004000", None),
            ("2023-09-29T16:26:30Z", None),
            ("0", None),
            ("0s", None),
            ("-1", None),
            ("inf", None),
            ("1e9", None),
            ("", None),
            (".", None),
            ("soon", None),
            ("99999999999999999999999999999999999", None),
        ] {
            assert_eq!(until(text, sent).map(|delay| delay.as_millis()), millis, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text in "\\PC*", since in any::<u32>()) {
            let _ = until(&text, SystemTime::UNIX_EPOCH + Duration::from_secs(since.into()));
        }

        #[test]
        fn seconds_and_milliseconds_since_the_epoch_are_distinguished(ahead in 1_u64..100_000_000) {
            let sent = SystemTime::UNIX_EPOCH + Duration::from_secs(1_696_004_797);
            let unix = 1_696_004_797 + ahead;
            prop_assert_eq!(until(&unix.to_string(), sent), Some(Duration::from_secs(ahead)));
            prop_assert_eq!(until(&format!("{unix}000"), sent), Some(Duration::from_secs(ahead)));
        }
    }
}
