//! Settings and snapshots as data: feature `serde`.

use std::time::Duration;

use aplomb_core::{Exponential, Jitter};
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use crate::{
    CircuitSettings, CircuitSnapshot, Cooldown, OnAbandoned, OnOpen, Probes, Ramp, Slow, Trip, Window,
    WindowCounts,
};

/// Settings as they are written. Every field is optional; durations are in seconds.
#[derive(Default, serde::Deserialize)]
#[serde(rename = "CircuitSettings", deny_unknown_fields, default)]
struct SettingsFields {
    trip: Option<Vec<RuleFields>>,
    one_credential: bool,
    unauthorized: Option<u32>,
    cooldown: Option<CooldownFields>,
    probes: Option<ProbesFields>,
    ramp: Option<RampFields>,
    park: Option<f64>,
    /// A call that is dropped after this many seconds without an answer has failed.
    abandoned_after: Option<f64>,
    seed: Option<u64>,
}

/// One of the rules, any of which opens the circuit.
#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum RuleFields {
    NobodyGetsThrough,
    ConsecutiveFailures(u32),
    FailureRatio(RatioFields),
    SlowCalls {
        #[serde(flatten)]
        ratio: RatioFields,
        first_content: Option<f64>,
        whole: Option<f64>,
        per_output_token: Option<f64>,
    },
}

#[derive(serde::Deserialize)]
struct RatioFields {
    ratio: f64,
    calls: Option<u32>,
    time: Option<f64>,
    min_calls: Option<u32>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CooldownFields {
    first: Option<f64>,
    max: Option<f64>,
    eases_after: Option<f64>,
    max_hint: Option<f64>,
    exhausted: Option<f64>,
    unauthorized: Option<f64>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProbesFields {
    at_once: Option<u32>,
    to_close: Option<u32>,
    success_ratio: Option<f64>,
    lease: Option<f64>,
    patience: Option<f64>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RampFields {
    first: Option<u32>,
    over: Option<f64>,
}

impl RampFields {
    fn into_ramp<E: Error>(self) -> Result<Ramp, E> {
        let ramp = self.first.map_or_else(Ramp::default, Ramp::new);
        set(ramp, self.over, |ramp, over| Ok(ramp.over(time(over)?)))
    }
}

fn time<E: Error>(seconds: f64) -> Result<Duration, E> {
    Duration::try_from_secs_f64(seconds).map_err(E::custom)
}

/// Applies a setter if there is a value.
fn set<T, V, E>(target: T, value: Option<V>, set: impl FnOnce(T, V) -> Result<T, E>) -> Result<T, E> {
    match value {
        Some(value) => set(target, value),
        None => Ok(target),
    }
}

impl RatioFields {
    fn window<E: Error>(&self) -> Result<Window, E> {
        match (self.calls, self.time) {
            (Some(calls), None) => Ok(Window::calls(calls)),
            (None, Some(seconds)) => Ok(Window::time(time(seconds)?)),
            _ => Err(E::custom("a ratio needs a window: either `calls` or `time`")),
        }
    }
}

impl RuleFields {
    fn into_trip<E: Error>(self) -> Result<Trip, E> {
        let min_calls = |trip: Trip, min_calls: Option<u32>| match min_calls {
            Some(calls) => trip.min_calls(calls),
            None => trip,
        };
        match self {
            Self::NobodyGetsThrough => Ok(Trip::nobody_gets_through()),
            Self::ConsecutiveFailures(failures) => Ok(Trip::consecutive(failures)),
            Self::FailureRatio(ratio) => {
                Ok(min_calls(Trip::ratio(ratio.ratio, ratio.window()?), ratio.min_calls))
            }
            Self::SlowCalls { ratio, first_content, whole, per_output_token } => {
                let slow = match (first_content, whole) {
                    (Some(limit), None) => Slow::first_content(time(limit)?),
                    (None, Some(limit)) => Slow::whole(time(limit)?),
                    _ => return Err(E::custom("slow calls need a limit: either `first_content` or `whole`")),
                };
                let slow = set(slow, per_output_token, |slow, each| Ok(slow.per_output_token(time(each)?)))?;
                Ok(min_calls(Trip::slow(ratio.ratio, slow, ratio.window()?), ratio.min_calls))
            }
        }
    }
}

impl CooldownFields {
    fn into_cooldown<E: Error>(self) -> Result<Cooldown, E> {
        let growth = Exponential::new(time(self.first.unwrap_or(5.0))?).jitter(Jitter::Equal);
        let growth = set(growth, self.max, |growth, max| Ok(growth.max(time(max)?)))?;
        let cooldown = Cooldown::new(growth);
        let cooldown = set(cooldown, self.eases_after, |to, value| Ok(to.eases_after(time(value)?)))?;
        let cooldown = set(cooldown, self.max_hint, |to, value| Ok(to.max_hint(time(value)?)))?;
        let cooldown = set(cooldown, self.exhausted, |to, value| Ok(to.exhausted(time(value)?)))?;
        set(cooldown, self.unauthorized, |to, value| Ok(to.unauthorized(time(value)?)))
    }
}

impl ProbesFields {
    fn into_probes<E: Error>(self) -> Result<Probes, E> {
        let probes = Probes::new(self.at_once.unwrap_or(1));
        let probes = set(probes, self.to_close, |to, value| Ok(to.to_close(value)))?;
        let probes = set(probes, self.success_ratio, |to, value| Ok(to.success_ratio(value)))?;
        let probes = set(probes, self.lease, |to, value| Ok(to.lease(time(value)?)))?;
        set(probes, self.patience, |to, value| Ok(to.patience(time(value)?)))
    }
}

/// Reads settings; what is not written has its default. A cooldown, probes or a ramp that are written replace the recovery of
/// the default trip, see [`Trip::nobody_gets_through`]. Rules of your own, and rules joined by `and`, cannot be written.
///
/// ```json
/// {
///   "trip": [{ "consecutive_failures": 10 }, { "failure_ratio": { "ratio": 0.25, "time": 60, "min_calls": 50 } }],
///   "cooldown": { "first": 2, "max": 30 },
///   "park": 300
/// }
/// ```
impl<'de> Deserialize<'de> for CircuitSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = SettingsFields::deserialize(deserializer)?;
        let mut trip = Trip::default();
        if let Some(rules) = fields.trip {
            let rules: Vec<_> = rules.into_iter().map(RuleFields::into_trip).collect::<Result<_, _>>()?;
            let any = rules.into_iter().reduce(Trip::or);
            trip = any.ok_or_else(|| D::Error::custom("a trip needs a rule"))?;
        }
        if let Some(refusals) = fields.unauthorized {
            trip = trip.unauthorized(refusals);
        }
        if fields.one_credential {
            trip = trip.one_credential();
        }
        let settings = Self::new().trip(trip);
        let settings =
            set(settings, fields.cooldown, |to, cooldown| Ok(to.cooldown(cooldown.into_cooldown()?)))?;
        let settings = set(settings, fields.probes, |to, probes| Ok(to.probes(probes.into_probes()?)))?;
        let settings = set(settings, fields.ramp, |to, ramp| Ok(to.ramp(ramp.into_ramp()?)))?;
        let settings = set(settings, fields.park, |settings, max| {
            Ok(settings.on_open(OnOpen::Park { max: time(max)? }))
        })?;
        let settings = set(settings, fields.abandoned_after, |settings, after| {
            Ok(settings.on_abandoned(OnAbandoned::FailureAfter(time(after)?)))
        })?;
        set(settings, fields.seed, |settings, seed| Ok(settings.seed(seed)))
    }
}

#[derive(serde::Serialize)]
#[serde(rename = "CircuitSnapshot")]
struct SnapshotFields {
    state: String,
    epoch: u64,
    window: CountsFields,
    slow_calls: CountsFields,
    failures_in_a_row: u32,
    probes_in_flight: usize,
    ramp: Option<u32>,
    retry_after: Option<Duration>,
    cause: Option<String>,
}

#[derive(serde::Serialize)]
struct CountsFields {
    calls: u64,
    failures: u64,
}

impl From<WindowCounts> for CountsFields {
    fn from(counts: WindowCounts) -> Self {
        Self { calls: counts.calls(), failures: counts.failures() }
    }
}

impl Serialize for CircuitSnapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = SnapshotFields {
            state: self.state().to_string(),
            epoch: self.epoch(),
            window: self.window().into(),
            slow_calls: self.slow_calls().into(),
            failures_in_a_row: self.failures_in_a_row(),
            probes_in_flight: self.probes_in_flight(),
            ramp: self.ramp(),
            retry_after: self.retry_after(),
            cause: self.cause().map(|cause| cause.to_string()),
        };
        fields.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Circuit;
    use tokio::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);

    fn read(text: &str) -> serde_json::Result<CircuitSettings> {
        serde_json::from_str(text)
    }

    #[test]
    fn nothing_written_is_the_default() {
        assert_eq!(read("{}").unwrap(), CircuitSettings::new());
    }

    #[test]
    fn settings_are_read() {
        let minute = Window::time(60 * SECOND);
        let slow = Slow::whole(10 * SECOND).per_output_token(SECOND / 20);
        let trip = Trip::consecutive(10)
            .or(Trip::ratio(0.25, minute.clone()).min_calls(50))
            .or(Trip::slow(0.5, slow, minute))
            .one_credential();
        let growth = Exponential::new(2 * SECOND).max(30 * SECOND).jitter(Jitter::Equal);
        let expected = CircuitSettings::new()
            .trip(trip)
            .cooldown(Cooldown::new(growth).max_hint(10 * SECOND))
            .probes(Probes::new(2).to_close(3))
            .ramp(Ramp::new(8).over(20 * SECOND))
            .on_open(OnOpen::Park { max: 300 * SECOND })
            .on_abandoned(OnAbandoned::FailureAfter(29 * SECOND));
        let written = r#"{
            "trip": [
                { "consecutive_failures": 10 },
                { "failure_ratio": { "ratio": 0.25, "time": 60, "min_calls": 50 } },
                { "slow_calls": { "ratio": 0.5, "time": 60, "whole": 10, "per_output_token": 0.05 } }
            ],
            "one_credential": true,
            "cooldown": { "first": 2, "max": 30, "max_hint": 10 },
            "probes": { "at_once": 2, "to_close": 3 },
            "ramp": { "first": 8, "over": 20 },
            "park": 300,
            "abandoned_after": 29
        }"#;
        assert_eq!(read(written).unwrap(), expected);
    }

    #[test]
    fn the_default_rule_can_be_written_and_joined() {
        let written = r#"{"trip": ["nobody_gets_through"], "unauthorized": 2}"#;
        assert_eq!(read(written).unwrap(), CircuitSettings::new().trip(Trip::default().unauthorized(2)));
        let joined = r#"{"trip": ["nobody_gets_through", {"consecutive_failures": 3}]}"#;
        let trip = Trip::default().or(Trip::consecutive(3));
        assert_eq!(read(joined).unwrap(), CircuitSettings::new().trip(trip));
    }

    #[test]
    fn settings_that_make_no_sense_are_errors() {
        for (written, error) in [
            (r#"{"trip": []}"#, "a trip needs a rule"),
            (r#"{"trip": [{"failure_ratio": {"ratio": 0.5}}]}"#, "a ratio needs a window"),
            (r#"{"park": -1}"#, "negative"),
            (r#"{"parks": 1}"#, "unknown field"),
        ] {
            let found = read(written).unwrap_err().to_string();
            assert!(found.contains(error), "{written}: {found}");
        }
    }

    #[test]
    fn a_snapshot_can_be_written() {
        let now = Instant::now();
        let mut circuit = Circuit::new(CircuitSettings::new());
        circuit.isolate(now);
        let written = serde_json::to_value(circuit.snapshot(now)).unwrap();
        assert_eq!((&written["state"], &written["cause"]), (&"isolated".into(), &"switched by hand".into()));
        assert_eq!(written["window"], serde_json::json!({ "calls": 0, "failures": 0 }));
    }
}
