//! Quotas, what was learned, and snapshots as data: feature `serde`.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Dimension, Learned, Quota, RateLimitSnapshot, Settle};

/// The names of settlements in serialized quotas.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Settle")]
enum SettleName {
    Keep,
    Correct,
    DebtOnly,
}

impl Serialize for Settle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        SettleName::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Settle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SettleName::deserialize(deserializer)
    }
}

/// A quota in serialized form. Only dimension, amount and window are required.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Quota", deny_unknown_fields)]
struct QuotaFields {
    dimension: String,
    amount: u64,
    window: Duration,
    #[serde(default)]
    burst: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settle: Option<Settle>,
}

impl From<&Quota> for QuotaFields {
    fn from(quota: &Quota) -> Self {
        Self {
            dimension: quota.dimension().name().to_owned(),
            amount: quota.amount(),
            window: quota.window(),
            burst: Some(quota.max_burst()),
            settle: quota.own_settle(),
        }
    }
}

impl From<QuotaFields> for Quota {
    fn from(fields: QuotaFields) -> Self {
        let mut quota = Self::new(dimension(fields.dimension), fields.amount, fields.window);
        if let Some(burst) = fields.burst {
            quota = quota.burst(burst);
        }
        if let Some(settle) = fields.settle {
            quota = quota.settle(settle);
        }
        quota
    }
}

impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        QuotaFields::from(self).serialize(serializer)
    }
}

/// Clamps like [`Quota::new`].
impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        QuotaFields::deserialize(deserializer).map(Self::from)
    }
}

/// The dimension of this name. The name of each dimension that is not built in is kept until the process ends.
fn dimension(name: String) -> Dimension {
    static NAMES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);

    let known = [
        Dimension::REQUESTS,
        Dimension::TOKENS,
        Dimension::INPUT_TOKENS,
        Dimension::OUTPUT_TOKENS,
    ];
    if let Some(known) = known.into_iter().find(|known| known.name() == name) {
        return known;
    }
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = names.get(&*name).copied().unwrap_or_else(|| {
        let kept: &'static str = name.leak();
        names.insert(kept);
        kept
    });
    Dimension::named(kept)
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "Learned", deny_unknown_fields)]
struct LearnedFields {
    #[serde(default)]
    quotas: Vec<Quota>,
    #[serde(default)]
    rate: Option<f64>,
}

impl Serialize for Learned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        LearnedFields { quotas: self.known_quotas().to_vec(), rate: self.known_rate() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Learned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let LearnedFields { quotas, rate } = LearnedFields::deserialize(deserializer)?;
        Ok(Self::new().quotas(quotas).rate(rate))
    }
}

#[derive(Serialize)]
struct AvailableFields<'a> {
    quota: &'a Quota,
    available: i64,
}

#[derive(Serialize)]
#[serde(rename = "RateLimitSnapshot")]
struct SnapshotFields<'a> {
    quotas: Vec<AvailableFields<'a>>,
    in_flight: usize,
    waiting: usize,
    oldest_wait: Option<Duration>,
    paused_for: Option<Duration>,
    estimated_rate: Option<f64>,
}

impl Serialize for RateLimitSnapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let quotas = self.available().iter();
        let fields = SnapshotFields {
            quotas: quotas
                .map(|(quota, available)| AvailableFields { quota, available: *available })
                .collect(),
            in_flight: self.in_flight(),
            waiting: self.waiting(),
            oldest_wait: self.oldest_wait(),
            paused_for: self.paused_for(),
            estimated_rate: self.estimated_rate(),
        };
        fields.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_read_as_it_was_written() {
        for quota in [
            Quota::requests_per_minute(600).burst(20),
            Quota::tokens_per_day(4_320_000_000).settle(Settle::DebtOnly),
            Quota::new(Dimension::named("images"), 5, Duration::from_millis(1_500)),
        ] {
            let written = serde_json::to_string(&quota).unwrap();
            assert_eq!(serde_json::from_str::<Quota>(&written).unwrap(), quota, "{written}");
        }
    }

    #[test]
    fn the_burst_and_the_settlement_are_optional() {
        let written = r#"{"dimension": "requests", "amount": 600, "window": {"secs": 60, "nanos": 0}}"#;
        assert_eq!(serde_json::from_str::<Quota>(written).unwrap(), Quota::requests_per_minute(600));
    }

    #[test]
    fn what_was_learned_is_read_as_it_was_written() {
        let learned = Learned::new().quotas([Quota::requests_per_minute(60)]).rate(Some(0.97));
        let written = serde_json::to_string(&learned).unwrap();
        assert_eq!(serde_json::from_str::<Learned>(&written).unwrap(), learned);
        assert_eq!(serde_json::from_str::<Learned>("{}").unwrap(), Learned::new());
    }
}
