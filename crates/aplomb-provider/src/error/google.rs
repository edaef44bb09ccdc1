//! What Google's errors say besides: `google.rpc.RetryInfo`, `QuotaFailure` and `ErrorInfo`.
//!
//! <https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto>

use std::time::Duration;

use serde_json::{Map, Value};

use crate::time::duration;

/// How long a quota per minute is used up at most, where nothing says how long. As in Google's own
/// command line client.
const A_MINUTE: Duration = Duration::from_secs(60);

/// What the details of an error say about quotas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is another thing that may be said"
)]
pub(crate) struct Details {
    /// `RetryInfo`: when to come back.
    pub(crate) retry_delay: Option<Duration>,
    /// Some quota is named.
    pub(crate) names_quota: bool,
    /// A quota per day is used up, whatever else is.
    pub(crate) per_day: bool,
    /// A quota per minute is used up.
    pub(crate) per_minute: bool,
    /// There is a quota of nothing.
    pub(crate) has_none: bool,
}

impl Details {
    /// Reads `details`, where the error is in Google's form: a canonical status beside them.
    pub(crate) fn of(error: &Map<String, Value>) -> Option<Self> {
        let status = error.get("status")?.as_str()?;
        // What it says of quotas is asked for with this one alone.
        if status != "RESOURCE_EXHAUSTED" {
            return None;
        }
        let mut all = Self::default();
        for detail in list(error, "details") {
            all.retry_delay = all.retry_delay.or_else(|| retry_delay(detail));
            for violation in detail["violations"].as_array().into_iter().flatten() {
                all.violated(violation);
            }
        }
        Some(all)
    }

    fn violated(&mut self, violation: &Value) {
        self.names_quota = true;
        let id = violation["quotaId"].as_str().unwrap_or_default();
        self.per_day |= id.contains("PerDay") || id.contains("Daily");
        self.per_minute |= id.contains("PerMinute");
        let value = &violation["quotaValue"];
        self.has_none |= value.as_str() == Some("0") || value.as_u64() == Some(0);
    }

    /// When a quota that is named will be there again, where nothing says when.
    pub(crate) fn usual_delay(&self) -> Option<Duration> {
        (self.per_minute && !self.per_day).then_some(A_MINUTE)
    }
}

/// The codes that the details name.
pub(crate) fn reasons(error: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let details = list(error, "details").chain(list(error, "errors"));
    details.filter_map(|detail| detail["reason"].as_str())
}

/// The protobuf duration of a `RetryInfo`, which servers of others use too; or what `ErrorInfo` says.
pub(crate) fn retry_delay(detail: &Value) -> Option<Duration> {
    let info = &detail["metadata"]["quotaResetDelay"];
    protobuf(&detail["retryDelay"]).or_else(|| protobuf(info))
}

/// `"56s"`, `"0.539477544s"`, or the message as it is: `{"seconds": 56, "nanos": 5}`.
fn protobuf(value: &Value) -> Option<Duration> {
    let text = || duration::parse(value.as_str()?);
    let message = || {
        let seconds = &value["seconds"];
        let seconds = seconds.as_u64().or_else(|| seconds.as_str()?.parse().ok());
        let nanos = value["nanos"].as_u64().map_or(Some(0), |nanos| u32::try_from(nanos).ok())?;
        (value.is_object() && nanos < 1_000_000_000).then(|| Duration::new(seconds.unwrap_or(0), nanos))
    };
    text().or_else(message).filter(|delay| !delay.is_zero())
}

/// The items of a list, as long as it can be believed.
pub(crate) fn list<'a>(error: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a Value> {
    error.get(name).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn details(details: &Value) -> Details {
        let error = json!({"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details});
        Details::of(error.as_object().unwrap()).unwrap()
    }

    #[test]
    fn protobuf_durations() {
        for (value, nanos) in [
            (json!("56s"), Some(56_000_000_000)),
            (json!("0.539477544s"), Some(539_477_544)),
            (json!({"seconds": 2, "nanos": 5}), Some(2_000_000_005)),
            (json!({"seconds": "3"}), Some(3_000_000_000)),
            (json!({"nanos": 7}), Some(7)),
            (json!({"nanos": 1_000_000_000}), None),
            (json!({"nanos": -1}), None),
            (json!("-5s"), None),
            (json!("0s"), None),
            (json!({}), None),
            (json!(56), None),
            (json!(null), None),
        ] {
            assert_eq!(protobuf(&value), nanos.map(Duration::from_nanos), "{value}");
        }
    }

    #[test]
    fn quotas_that_are_violated() {
        let day = details(&json!([{"violations": [
            {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "2"},
            {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "20"}
        ]}]));
        assert!(day.per_day && day.per_minute && day.names_quota && !day.has_none);
        assert_eq!(day.usual_delay(), None);
        let none = details(&json!([{"violations": [{"quotaValue": "0"}]}, {"retryDelay": "9s"}]));
        assert!(none.has_none);
        assert_eq!(none.retry_delay, Some(Duration::from_secs(9)));
    }

    #[test]
    fn other_errors_are_not_in_googles_form() {
        for error in [
            json!({"status": 429}),
            json!({"status": "failed"}),
            json!({"status": ""}),
            json!({}),
        ] {
            assert_eq!(Details::of(error.as_object().unwrap()), None);
        }
    }
}
