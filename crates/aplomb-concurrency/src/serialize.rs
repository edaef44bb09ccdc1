//! Limits and snapshots as data: feature `serde`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Adaptive, ConcurrencySnapshot, Latency, Limit};

/// An adaptive limit in serialized form. Every field is optional.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Adaptive", deny_unknown_fields, default)]
struct AdaptiveFields {
    initial: usize,
    min: usize,
    max: usize,
    decrease: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<LatencyFields>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LatencyFields {
    signal: SignalName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tolerance: Option<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SignalName {
    FirstByte,
    PerOutputToken,
}

/// A number, or an adaptive limit.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum LimitFields {
    Fixed(usize),
    Adaptive(AdaptiveFields),
}

impl Default for AdaptiveFields {
    fn default() -> Self {
        Adaptive::new().into()
    }
}

impl From<Adaptive> for AdaptiveFields {
    fn from(adaptive: Adaptive) -> Self {
        let Adaptive { initial, min, max, decrease, latency } = adaptive;
        Self { initial, min, max, decrease, latency: latency.map(Into::into) }
    }
}

impl From<AdaptiveFields> for Adaptive {
    fn from(fields: AdaptiveFields) -> Self {
        let AdaptiveFields { initial, min, max, decrease, latency } = fields;
        let adaptive = Self::new().initial(initial).min(min).max(max).decrease(decrease);
        match latency {
            Some(latency) => adaptive.latency(latency.into()),
            None => adaptive,
        }
    }
}

impl From<Latency> for LatencyFields {
    fn from(latency: Latency) -> Self {
        let signal = if latency.is_an_age() {
            SignalName::FirstByte
        } else {
            SignalName::PerOutputToken
        };
        Self { signal, tolerance: Some(latency.factor()) }
    }
}

impl From<LatencyFields> for Latency {
    fn from(LatencyFields { signal, tolerance }: LatencyFields) -> Self {
        let latency = match signal {
            SignalName::FirstByte => Self::first_byte(),
            SignalName::PerOutputToken => Self::per_output_token(),
        };
        tolerance.map_or(latency, |factor| latency.tolerance(factor))
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = match *self {
            Self::Fixed(calls) => LimitFields::Fixed(calls),
            Self::Adaptive(adaptive) => LimitFields::Adaptive(adaptive.into()),
        };
        fields.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match LimitFields::deserialize(deserializer)? {
            LimitFields::Fixed(calls) => Self::Fixed(calls),
            LimitFields::Adaptive(fields) => Self::Adaptive(fields.into()),
        })
    }
}

impl Serialize for Adaptive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AdaptiveFields::from(*self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Adaptive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AdaptiveFields::deserialize(deserializer).map(Into::into)
    }
}

#[derive(Serialize)]
#[serde(rename = "ConcurrencySnapshot")]
struct SnapshotFields {
    limit: usize,
    in_flight: usize,
    abandoned: usize,
    waiting: usize,
    last_change: Option<ChangeFields>,
}

#[derive(Serialize)]
struct ChangeFields {
    from: usize,
    to: usize,
    cause: String,
}

impl Serialize for ConcurrencySnapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let last_change = self.last_change().map(|change| ChangeFields {
            from: change.from(),
            to: change.to(),
            cause: change.cause().to_string(),
        });
        let fields = SnapshotFields {
            limit: self.limit(),
            in_flight: self.in_flight(),
            abandoned: self.abandoned(),
            waiting: self.waiting(),
            last_change,
        };
        fields.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Slots;
    use tokio::time::Instant;

    #[test]
    fn limits_are_read_as_they_were_written() {
        let latency = Latency::per_output_token().tolerance(1.5);
        for limit in [
            Limit::Fixed(16),
            Adaptive::new().into(),
            Adaptive::new().initial(8).max(64).decrease(0.5).latency(latency).into(),
        ] {
            let written = serde_json::to_string(&limit).unwrap();
            assert_eq!(serde_json::from_str::<Limit>(&written).unwrap(), limit, "{written}");
        }
        assert_eq!(serde_json::from_str::<Limit>("16").unwrap(), Limit::Fixed(16));
        let read: Adaptive =
            serde_json::from_str(r#"{"max": 64, "latency": {"signal": "first_byte"}}"#).unwrap();
        assert_eq!(read, Adaptive::new().max(64).latency(Latency::first_byte()));
        assert!(serde_json::from_str::<Limit>(r#"{"maximum": 64}"#).is_err());
    }

    #[test]
    fn a_snapshot_can_be_written() {
        let now = Instant::now();
        let mut slots = Slots::new(4);
        slots.set_limit(8, now);
        assert_eq!(
            serde_json::to_value(slots.snapshot(2, now)).unwrap(),
            serde_json::json!({
                "limit": 8, "in_flight": 0, "abandoned": 0, "waiting": 2,
                "last_change": { "from": 4, "to": 8, "cause": "set by hand" },
            })
        );
    }
}
