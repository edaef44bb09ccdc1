//! The server's hint about when to retry, in its response headers.

use std::time::{Duration, SystemTime};

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName};

use crate::WallClock;

// Static names need not be parsed for each lookup.
static RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
static X_MS_RETRY_AFTER_MS: HeaderName = HeaderName::from_static("x-ms-retry-after-ms");

impl WallClock {
    /// Reads how long the server asks to wait, counted from the response.
    ///
    /// The headers are, in this order: `retry-after-ms`, Azure's `x-ms-retry-after-ms`, and `Retry-After` in
    /// seconds (integer or decimal) or as an HTTP date. A date is compared with the response's own `Date`, so
    /// that a wrong clock on either side does not matter; without one, with this clock.
    ///
    /// A value that makes no sense (empty, negative, not a number, infinite, an impossible date) is ignored and
    /// the next header is read. Zero and dates in the past are no hint. The result is not capped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use aplomb_core::WallClock;
    /// use http::{HeaderMap, HeaderValue};
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert("retry-after", HeaderValue::from_static("Fri, 29 Sep 2023 16:26:57 GMT"));
    /// headers.insert("date", HeaderValue::from_static("Fri, 29 Sep 2023 16:26:37 GMT"));
    /// let hint = WallClock::system().retry_after(&headers);
    /// assert_eq!(hint, Some(Duration::from_secs(20)));
    /// ```
    #[must_use]
    pub fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let from_ms = |name| duration(text(name)?, 1e-3);
        let from_seconds = || duration(text(&RETRY_AFTER)?, 1.0);
        let from_date = || {
            let until = httpdate::parse_http_date(text(&RETRY_AFTER)?).ok()?;
            until.duration_since(sent_at(headers, self)).ok()
        };
        from_ms(&RETRY_AFTER_MS)
            .or_else(|| from_ms(&X_MS_RETRY_AFTER_MS))
            .or_else(from_seconds)
            .or_else(from_date)
            .filter(|hint| !hint.is_zero())
    }
}

/// When a response was sent: its `Date`, otherwise the time of `clock` in whole seconds.
///
/// HTTP dates have whole seconds. With a fraction in the clock, "in one minute" would be a fraction short.
#[must_use]
pub fn sent_at(headers: &HeaderMap, clock: &WallClock) -> SystemTime {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok());
    date.unwrap_or_else(|| {
        let now = clock.now();
        match now.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()),
            Err(_) => now,
        }
    })
}

/// Parses a decimal number of `unit` seconds. `inf`, `nan` and exponents, which Rust's parser accepts, are
/// refused, as is anything that does not fit into a `Duration`.
fn duration(text: &str, unit: f64) -> Option<Duration> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = plain.then(|| text.parse().ok())??;
    Duration::try_from_secs_f64(number * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn hint(pairs: &[(&'static str, &str)]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        // Fri, 29 Sep 2023 16:26:37 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_696_004_797_400);
        WallClock::from_fn(move || now).retry_after(&headers)
    }

    #[test]
    fn seconds_decimals_and_milliseconds() {
        assert_eq!(hint(&[("retry-after", "20")]), Some(Duration::from_secs(20)));
        assert_eq!(hint(&[("retry-after", " 1.5 ")]), Some(Duration::from_millis(1_500)));
        assert_eq!(hint(&[("retry-after-ms", "250")]), Some(Duration::from_millis(250)));
        let both = [("retry-after-ms", "250"), ("retry-after", "30")];
        assert_eq!(hint(&both), Some(Duration::from_millis(250)));
        let azure = [("x-ms-retry-after-ms", "800"), ("retry-after", "30")];
        assert_eq!(hint(&azure), Some(Duration::from_millis(800)));
    }

    #[test]
    fn dates_against_the_responses_own_clock() {
        let date = "Fri, 29 Sep 2023 16:27:37 GMT";
        assert_eq!(hint(&[("retry-after", date)]), Some(Duration::from_secs(60)));
        let with_date = [("retry-after", date), ("date", "Fri, 29 Sep 2023 16:27:07 GMT")];
        assert_eq!(hint(&with_date), Some(Duration::from_secs(30)));
        let bad_date = [("retry-after", date), ("date", "yesterday")];
        assert_eq!(hint(&bad_date), Some(Duration::from_secs(60)));
    }

    #[test]
    fn garbage_is_ignored_and_the_next_source_asked() {
        for garbage in [
            "",
            "-10",
            "inf",
            "nan",
            "NaN",
            "+5",
            "1e3",
            "0x10",
            ".",
            "soon",
            "0",
            "0.0",
            "99999999999999999999999999999999999",
            "Zun, 29 Sep 2023 16:26:27 GMT",
            "Fri, 29 Sep 100000 16:26:57 GMT",
            "Fri, 29 Sep 2023 16:26:27 GMT",
        ] {
            assert_eq!(hint(&[("retry-after", garbage)]), None, "{garbage}");
        }
        let fallback = [("retry-after-ms", "garbage"), ("retry-after", "3")];
        assert_eq!(hint(&fallback), Some(Duration::from_secs(3)));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(value in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert("retry-after", value.clone());
                headers.insert("retry-after-ms", value.clone());
                headers.insert("date", value);
                let _ = WallClock::system().retry_after(&headers);
            }
        }
    }
}
