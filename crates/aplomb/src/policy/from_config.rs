//! A policy in a configuration file.

use std::fmt;
use std::time::Duration;

use aplomb_core::Dimension;
use aplomb_rate_limit::Quota;
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::Policy;

/// The settings as they are written. Each has the name of a setter.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct PolicyConfig {
    preset: Preset,
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    input_tokens_per_minute: Option<u64>,
    output_tokens_per_minute: Option<u64>,
    quotas: Vec<QuotaConfig>,
    concurrency: Option<usize>,
    fail_fast: bool,
    park: Option<Time>,
    max_wait: Option<Time>,
    max_waiting: Option<usize>,
    max_retries: Option<u32>,
    max_unanswered_retries: Option<u32>,
    max_retry_after: Option<Time>,
    head_timeout: Option<Time>,
    content_timeout: Option<Time>,
    idle_timeout: Option<Time>,
    attempt_timeout: Option<Time>,
    deadline: Option<Time>,
    look_ahead: Option<LookAheadConfig>,
    whole_answers: Option<usize>,
    retry_empty_answers: u32,
    min_throughput: Option<ThroughputConfig>,
    include_usage: bool,
    seed: Option<u64>,
}

#[derive(Clone, Copy, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Preset {
    #[default]
    Default,
    Interactive,
    Batch,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaConfig {
    dimension: DimensionConfig,
    amount: u64,
    window: Time,
    burst: Option<u32>,
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum DimensionConfig {
    Requests,
    Tokens,
    InputTokens,
    OutputTokens,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LookAheadConfig {
    max_bytes: usize,
    max_wait: Time,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ThroughputConfig {
    bytes_per_second: u32,
    window: Time,
}

/// Reads a policy, and [validates](Policy::validate) it.
///
/// A budget, a pool, a backoff and the details of the circuit cannot be configured: set them afterwards.
impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let policy = PolicyConfig::deserialize(deserializer)?.into_policy();
        policy.validate().map_err(de::Error::custom)?;
        Ok(policy)
    }
}

impl PolicyConfig {
    fn into_policy(self) -> Policy {
        let mut policy = match self.preset {
            Preset::Default => Policy::new(),
            Preset::Interactive => Policy::interactive(),
            Preset::Batch => Policy::batch(),
        };
        policy.quotas = self.quotas.into_iter().map(QuotaConfig::into_quota).collect();
        let per_minute = [
            (self.requests_per_minute, Quota::requests_per_minute as fn(u64) -> Quota),
            (self.tokens_per_minute, Quota::tokens_per_minute),
            (self.input_tokens_per_minute, Quota::input_tokens_per_minute),
            (self.output_tokens_per_minute, Quota::output_tokens_per_minute),
        ];
        policy
            .quotas
            .extend(per_minute.into_iter().filter_map(|(amount, quota)| amount.map(quota)));
        if let Some(calls) = self.concurrency {
            policy = policy.concurrency(calls);
        }
        if self.fail_fast {
            policy = policy.fail_fast();
        }
        if let Some(Time(cooldown)) = self.park {
            policy = policy.park(cooldown);
        }
        if let Some(retries) = self.max_retries {
            policy = policy.max_retries(retries);
        }
        if let Some(Time(longest)) = self.max_retry_after {
            policy = policy.max_retry_after(longest);
        }
        if let Some(LookAheadConfig { max_bytes, max_wait: Time(max_wait) }) = self.look_ahead {
            policy = policy.look_ahead(max_bytes, max_wait);
        }
        if let Some(ThroughputConfig { bytes_per_second, window: Time(window) }) = self.min_throughput {
            policy = policy.min_throughput(bytes_per_second, window);
        }
        policy.retry_empty_answers = self.retry_empty_answers;
        let time = |time: Option<Time>| time.map(|Time(time)| time);
        policy.max_wait = time(self.max_wait).or(policy.max_wait);
        policy.max_unanswered_retries = self.max_unanswered_retries.or(policy.max_unanswered_retries);
        policy.max_waiting = self.max_waiting.or(policy.max_waiting);
        policy.head_timeout = time(self.head_timeout).or(policy.head_timeout);
        policy.content_timeout = time(self.content_timeout).or(policy.content_timeout);
        policy.idle_timeout = time(self.idle_timeout).or(policy.idle_timeout);
        policy.attempt_timeout = time(self.attempt_timeout).or(policy.attempt_timeout);
        policy.deadline = time(self.deadline).or(policy.deadline);
        policy.whole_answers = self.whole_answers.or(policy.whole_answers);
        policy.include_usage |= self.include_usage;
        policy.seed = self.seed.or(policy.seed);
        policy
    }
}

impl QuotaConfig {
    fn into_quota(self) -> Quota {
        let dimension = match self.dimension {
            DimensionConfig::Requests => Dimension::REQUESTS,
            DimensionConfig::Tokens => Dimension::TOKENS,
            DimensionConfig::InputTokens => Dimension::INPUT_TOKENS,
            DimensionConfig::OutputTokens => Dimension::OUTPUT_TOKENS,
        };
        let quota = Quota::new(dimension, self.amount, self.window.0);
        match self.burst {
            Some(burst) => quota.burst(burst),
            None => quota,
        }
    }
}

/// A time: a number of seconds, or a text such as `"1m 30s"`.
#[derive(Clone, Copy)]
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeVisitor)
    }
}

struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds, or a text such as \"1m 30s\"")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Time, E> {
        Ok(Time(Duration::from_secs(seconds)))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Time, E> {
        u64::try_from(seconds)
            .map(|seconds| Time(Duration::from_secs(seconds)))
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self))
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Time, E> {
        Duration::try_from_secs_f64(seconds)
            .map(Time)
            .map_err(|_| E::invalid_value(de::Unexpected::Float(seconds), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
        parse(text).map(Time).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// Parses one or more numbers, each with a unit: `1h 30m`, `250ms`.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = None;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let part = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(milliseconds)?);
        total = Some(total.unwrap_or(Duration::ZERO).checked_add(part)?);
        rest = after.trim_start();
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Policy, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_sets_what_the_setters_set() {
        let read = read(
            r#"{
                "preset": "interactive",
                "requests_per_minute": 500,
                "quotas": [{"dimension": "tokens", "amount": 9, "window": "1d", "burst": 3}],
                "concurrency": 8,
                "park": "2m 30s",
                "max_retries": 6,
                "max_unanswered_retries": 1,
                "attempt_timeout": 90,
                "idle_timeout": 2.5,
                "deadline": "1h",
                "look_ahead": {"max_bytes": 100, "max_wait": "5 s"},
                "whole_answers": 1024,
                "retry_empty_answers": 2,
                "min_throughput": {"bytes_per_second": 8, "window": "30s"},
                "include_usage": true
            }"#,
        );
        let set = Policy::interactive()
            .quota(Quota::new(Dimension::TOKENS, 9, Duration::from_secs(86_400)).burst(3))
            .requests_per_minute(500)
            .concurrency(8)
            .park(Duration::from_secs(150))
            .max_retries(6)
            .max_unanswered_retries(1)
            .attempt_timeout(Duration::from_secs(90))
            .idle_timeout(Duration::from_millis(2_500))
            .deadline(Duration::from_secs(3_600))
            .look_ahead(100, Duration::from_secs(5))
            .whole_answers(1_024)
            .retry_empty_answers(2)
            .min_throughput(8, Duration::from_secs(30))
            .include_usage();
        assert_eq!(format!("{:?}", read.unwrap()), format!("{set:?}"));
        assert_eq!(format!("{:?}", super::tests::read("{}").unwrap()), format!("{:?}", Policy::new()));
    }

    #[test]
    fn mistakes_are_named() {
        for (json, says) in [
            (r#"{"max_retry": 3}"#, "unknown field `max_retry`"),
            (r#"{"deadline": "soon"}"#, "expected a number of seconds, or a text such as"),
            (r#"{"deadline": "5"}"#, "expected a number of seconds"),
            (r#"{"deadline": -1}"#, "expected a number of seconds"),
            (r#"{"attempt_timeout": "2m", "deadline": "1m"}"#, "longer than the deadline"),
            (r#"{"preset": "fast"}"#, "unknown variant `fast`"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn times_are_sums_of_numbers_with_units() {
        for (text, milliseconds) in [("250ms", 250), ("1h30m", 5_400_000), ("1 d 1 s", 86_401_000)] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "1",
            "1.5s",
            "-1s",
            "1y",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
