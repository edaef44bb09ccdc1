//! Delays in fields of an error body.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::google;
use crate::time::{duration, rfc3339, until, until_unix};

/// Fields with a delay, and their unit in seconds.
const FIELDS: [(&str, f64); 8] = [
    ("retry_after_ms", 1e-3),
    ("retry_after", 1.0),
    ("retry_after_seconds", 1.0),
    ("retryAfter", 1.0),
    ("retryAfterSeconds", 1.0),
    ("resets_in_seconds", 1.0),
    ("reset_seconds", 1.0),
    // Hugging Face, while a model is being loaded.
    ("estimated_time", 1.0),
];

/// Fields with a point in time.
const POINTS: [&str; 4] = ["resets_at", "reset_at", "retry_at", "resetsAt"];

/// The delay in an error: in its own fields, in Google's details, or in the metadata of a gateway.
pub(crate) fn of(error: &Map<String, Value>, sent: SystemTime) -> Option<Duration> {
    let metadata = || error.get("metadata")?.as_object();
    fields(error)
        .or_else(|| google::list(error, "details").find_map(google::retry_delay))
        .or_else(|| points(error, sent))
        .or_else(|| google::list(error, "details").find_map(|detail| time_stamp(detail, sent)))
        .or_else(|| fields(metadata()?))
        .or_else(|| headers(metadata()?.get("headers")?, sent))
}

fn fields(error: &Map<String, Value>) -> Option<Duration> {
    FIELDS.iter().find_map(|&(name, unit)| {
        let delay = match error.get(name)? {
            Value::String(text) => {
                let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                let number = plain.then(|| text.parse::<f64>().ok()).flatten();
                number.map_or_else(|| duration::parse(text), |number| seconds(number * unit))
            }
            value => seconds(value.as_f64()? * unit),
        };
        delay.filter(|delay| !delay.is_zero())
    })
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

fn points(error: &Map<String, Value>, sent: SystemTime) -> Option<Duration> {
    POINTS.iter().find_map(|name| match error.get(*name)? {
        // A point in time without a zone may be hours off.
        Value::String(text) => until(text, sent).filter(|_| rfc3339::parse(text).is_some()),
        value => match value.as_u64()? {
            unix @ 0..1_000_000_000_000 => until_unix(Duration::from_secs(unix), sent),
            unix => until_unix(Duration::from_millis(unix), sent),
        },
    })
}

fn time_stamp(detail: &Value, sent: SystemTime) -> Option<Duration> {
    until(detail["metadata"]["quotaResetTimeStamp"].as_str()?, sent)
}

/// The headers of the provider behind a gateway, as repeated by `OpenRouter`.
fn headers(headers: &Value, sent: SystemTime) -> Option<Duration> {
    let text = |wanted: &str| {
        let mut fields = headers.as_object()?.iter();
        let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        value.as_str()
    };
    let is_exhausted = || text("x-ratelimit-remaining") == Some("0");
    until(text("retry-after").unwrap_or_default(), sent)
        .or_else(|| until(text("x-ratelimit-reset").filter(|_| is_exhausted())?, sent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_have_many_names() {
        let sent = SystemTime::UNIX_EPOCH + Duration::from_secs(1_696_004_797);
        for (error, millis) in [
            (json!({"retry_after_ms": 250}), Some(250)),
            (json!({"retry_after": 1.5}), Some(1_500)),
            (json!({"retry_after": "20"}), Some(20_000)),
            (json!({"retry_after": "1m5s"}), Some(65_000)),
            (json!({"retryAfter": 0, "resets_in_seconds": 4}), Some(4_000)),
            (json!({"resets_at": 1_696_004_803_u64}), Some(6_000)),
            (json!({"resets_at": 1_696_004_803_000_u64}), Some(6_000)),
            (json!({"resets_at": "2023-09-29T16:26:40Z"}), Some(3_000)),
            (json!({"resets_at": "2023-09-29 16:26:40"}), None),
            (json!({"details": [{"retryDelay": "9s"}]}), Some(9_000)),
            (json!({"details": [{"metadata": {"quotaResetDelay": "539.5ms"}}]}), Some(539)),
            (
                json!({"details": [{"metadata": {"quotaResetTimeStamp": "2023-09-29T16:26:40Z"}}]}),
                Some(3_000),
            ),
            (json!({"metadata": {"retry_after_seconds": 7}}), Some(7_000)),
            (
                json!({"metadata": {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1696004810000"}}}),
                Some(13_000),
            ),
            (
                json!({"metadata": {"headers": {"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "13"}}}),
                None,
            ),
            (json!({"metadata": {"headers": {"Retry-After": "3"}}}), Some(3_000)),
            (json!({"retry_after": -1, "resets_at": -1, "retry_after_ms": 1e300}), None),
            (json!({"retry_after": "inf", "details": "none", "metadata": 3}), None),
        ] {
            let delay = of(error.as_object().unwrap(), sent);
            assert_eq!(delay.map(|delay| delay.as_millis()), millis, "{error}");
        }
    }
}
