//! The details of Google's errors: `google.rpc.RetryInfo`, `QuotaFailure` and `ErrorInfo`.
//!
//! <https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto>

use std::time::Duration;

use serde_json::{Map, Value};

use crate::time::duration;

/// The delay for a quota per minute if none is named, as in Google's command line client.
const MINUTE: Duration = Duration::from_secs(60);

/// The details of an error about quotas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is stated independently")]
pub(crate) struct Details {
    /// The delay in `RetryInfo`.
    pub(crate) retry_delay: Option<Duration>,
    /// A quota is named.
    pub(crate) names_quota: bool,
    /// A quota per day is exhausted, whatever else is.
    pub(crate) per_day: bool,
    /// A quota per minute is exhausted.
    pub(crate) per_minute: bool,
    /// A quota is zero.
    pub(crate) has_zero_quota: bool,
}

impl Details {
    /// Reads `details` if the error has Google's status `RESOURCE_EXHAUSTED`.
    pub(crate) fn of(error: &Map<String, Value>) -> Option<Self> {
        let status = error.get("status")?.as_str()?;
        if status != "RESOURCE_EXHAUSTED" {
            return None;
        }
        let mut all = Self::default();
        for detail in list(error, "details") {
            all.retry_delay = all.retry_delay.or_else(|| retry_delay(detail));
            for violation in detail["violations"].as_array().into_iter().flatten() {
                let value = &violation["quotaValue"];
                all.has_zero_quota |= value.as_str() == Some("0") || value.as_u64() == Some(0);
                all.add_quota(violation["quotaId"].as_str().unwrap_or_default());
            }
            if let Some(quota) = detail["metadata"]["quota_limit"].as_str() {
                all.add_quota(quota);
            }
        }
        Some(all)
    }

    fn add_quota(&mut self, id: &str) {
        self.names_quota = true;
        self.per_day |= id.contains("PerDay") || id.contains("Daily");
        self.per_minute |= id.contains("PerMinute");
    }

    /// The delay for the named quota if none is stated.
    pub(crate) fn default_delay(&self) -> Option<Duration> {
        (self.per_minute && !self.per_day).then_some(MINUTE)
    }
}

/// The metrics or identifiers of violated quotas, by `QuotaFailure` or `ErrorInfo`.
pub(crate) fn quotas(error: &Map<String, Value>) -> impl Iterator<Item = &str> {
    list(error, "details").flat_map(move |detail| {
        let violations = detail["violations"].as_array().into_iter().flatten();
        let metadata = &detail["metadata"];
        let info = metadata.get("quota_metric").or_else(|| metadata.get("quota_limit"));
        let metrics =
            violations.filter_map(|quota| quota.get("quotaMetric").or_else(|| quota.get("quotaId")));
        metrics.chain(info).filter_map(Value::as_str)
    })
}

/// The codes in the details. `QUOTA_EXCEEDED` is not one: it is said of any quota.
pub(crate) fn reasons(error: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let details = list(error, "details").chain(list(error, "errors"));
    details
        .filter_map(|detail| detail["reason"].as_str())
        .filter(|reason| *reason != "QUOTA_EXCEEDED")
}

/// The delay in `RetryInfo`, which others use too, or in `ErrorInfo`.
pub(crate) fn retry_delay(detail: &Value) -> Option<Duration> {
    let info = &detail["metadata"]["quotaResetDelay"];
    protobuf(&detail["retryDelay"]).or_else(|| protobuf(info))
}

/// A protobuf duration: `"56s"`, `"0.539477544s"` or `{"seconds": 56, "nanos": 5}`.
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

/// The items of a list.
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
    fn violated_quotas() {
        let day = details(&json!([{"violations": [
            {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "2"},
            {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "20"}
        ]}]));
        assert!(day.per_day && day.per_minute && day.names_quota && !day.has_zero_quota);
        assert_eq!(day.default_delay(), None);
        let none = details(&json!([{"violations": [{"quotaValue": "0"}]}, {"retryDelay": "9s"}]));
        assert!(none.has_zero_quota);
        assert_eq!(none.retry_delay, Some(Duration::from_secs(9)));
    }

    #[test]
    fn other_statuses_are_not_resource_exhausted() {
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
