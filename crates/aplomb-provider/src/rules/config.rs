//! Settings in a configuration file.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use aplomb_core::{Dimension, Kind, Reason, Scope};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{InvalidRule, Problem, Rule};
use crate::time::duration;
use crate::{DailyQuota, Settings};

/// The settings as they are written.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SettingsConfig {
    daily_quota: DailyQuotaConfig,
    text: bool,
    should_retry: bool,
    characters_per_token: Option<NonZeroU32>,
    codes: BTreeMap<String, String>,
    usage: UsageConfig,
    rules: Vec<RuleConfig>,
}

impl Default for SettingsConfig {
    fn default() -> Self {
        Self {
            daily_quota: DailyQuotaConfig::default(),
            text: true,
            should_retry: true,
            characters_per_token: None,
            codes: BTreeMap::new(),
            usage: UsageConfig::default(),
            rules: Vec::new(),
        }
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum DailyQuotaConfig {
    #[default]
    GiveUp,
    FollowHint,
}

/// Paths to counts of tokens.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UsageConfig {
    input: Option<String>,
    output: Option<String>,
    total: Option<String>,
}

/// A rule as it is written. Its words are looked up later, so that errors name the rule.
#[derive(serde::Deserialize)]
struct RuleConfig {
    name: Option<String>,
    #[serde(default)]
    status: OneOrMany<u16>,
    #[serde(default)]
    header: BTreeMap<String, String>,
    #[serde(default)]
    code: OneOrMany<String>,
    #[serde(default)]
    phrase: OneOrMany<String>,
    #[serde(default)]
    finish_reason: OneOrMany<String>,
    kind: Option<String>,
    scope: Option<String>,
    reason: Option<String>,
    delay: Option<DelayConfig>,
    #[serde(flatten)]
    others: Others,
}

/// The names of settings that there are not.
struct Others(Vec<String>);

impl<'de> Deserialize<'de> for Others {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Others;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("settings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Others, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Others(names))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum DelayConfig {
    Seconds(f64),
    Text(String),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SettingsConfig::deserialize(deserializer)?.into_settings().map_err(de::Error::custom)
    }
}

impl SettingsConfig {
    fn into_settings(self) -> Result<Settings, InvalidRule> {
        let mut settings = Settings::new()
            .daily_quota(match self.daily_quota {
                DailyQuotaConfig::GiveUp => DailyQuota::GiveUp,
                DailyQuotaConfig::FollowHint => DailyQuota::FollowHint,
            })
            .text(self.text)
            .should_retry(self.should_retry);
        if let Some(characters) = self.characters_per_token {
            settings = settings.characters_per_token(characters);
        }
        for (code, reason) in &self.codes {
            settings = settings.code(code, reason_named(reason).map_err(|problem| invalid(code, problem))?);
        }
        let paths = [
            (Dimension::INPUT_TOKENS, self.usage.input),
            (Dimension::OUTPUT_TOKENS, self.usage.output),
            (Dimension::TOKENS, self.usage.total),
        ];
        for (dimension, path) in paths {
            if let Some(path) = path {
                settings = settings.usage_path(dimension, &path);
            }
        }
        let rules = (1..).zip(self.rules).map(|(number, rule)| rule.into_rule(number));
        settings.rules(rules.collect::<Result<Vec<_>, _>>()?)
    }
}

impl RuleConfig {
    fn into_rule(self, number: usize) -> Result<Rule, InvalidRule> {
        let name = self.name.unwrap_or_else(|| number.to_string());
        let fail = |problem| invalid(&name, problem);
        if let Some(other) = self.others.0.into_iter().next() {
            return Err(fail(Problem::Unknown("setting", other.into())));
        }
        let mut rule = Rule::new(&name);
        rule = self.status.into_vec().into_iter().fold(rule, Rule::status);
        rule = self.header.iter().fold(rule, |rule, (header, value)| rule.header(header, value));
        rule = self.code.into_vec().iter().fold(rule, |rule, code| rule.code(code));
        rule = self.phrase.into_vec().iter().fold(rule, |rule, words| rule.phrase(words));
        rule = self.finish_reason.into_vec().iter().fold(rule, |rule, reason| rule.finish_reason(reason));
        if let Some(kind) = self.kind {
            rule = rule.kind(named(KINDS, "kind", &kind).map_err(fail)?);
        }
        if let Some(scope) = self.scope {
            rule = rule.scope(named(SCOPES, "scope", &scope).map_err(fail)?);
        }
        if let Some(reason) = self.reason {
            rule = rule.reason(reason_named(&reason).map_err(fail)?);
        }
        if let Some(delay) = self.delay {
            rule = rule.delay(delay.into_duration().map_err(fail)?);
        }
        Ok(rule)
    }
}

impl DelayConfig {
    fn into_duration(self) -> Result<Duration, Problem> {
        let (delay, written) = match self {
            Self::Seconds(seconds) => (Duration::try_from_secs_f64(seconds).ok(), seconds.to_string()),
            Self::Text(text) => (duration::parse(&text), text),
        };
        delay.ok_or(Problem::Unknown("delay", written.into()))
    }
}

const KINDS: &[(&str, Kind)] = &[
    ("transient", Kind::Transient),
    ("busy", Kind::Busy),
    ("throttled", Kind::Throttled),
    ("exhausted", Kind::Exhausted),
    ("unauthorized", Kind::Unauthorized),
    ("permanent", Kind::Permanent),
];

const SCOPES: &[(&str, Scope)] = &[
    ("request", Scope::Request),
    ("account", Scope::Account),
    ("server", Scope::Server),
];

/// All reasons to fail.
const REASONS: &[Reason] = &[
    Reason::RateLimited,
    Reason::TooManyAtOnce,
    Reason::QuotaExhausted,
    Reason::Overloaded,
    Reason::ServerError,
    Reason::Timeout,
    Reason::ContextTooLong,
    Reason::RequestTooLarge,
    Reason::ContentFiltered,
    Reason::Unauthorized,
    Reason::NotFound,
    Reason::InvalidRequest,
    Reason::Conflict,
    Reason::Truncated,
    Reason::Unknown,
];

fn named<T: Copy>(all: &[(&str, T)], what: &'static str, word: &str) -> Result<T, Problem> {
    let found = all.iter().find(|(name, _)| *name == word);
    found.map(|&(_, value)| value).ok_or_else(|| Problem::Unknown(what, word.into()))
}

fn reason_named(word: &str) -> Result<Reason, Problem> {
    let found = REASONS.iter().find(|reason| reason.as_str() == word);
    found.copied().ok_or_else(|| Problem::Unknown("reason", word.into()))
}

fn invalid(name: &str, problem: Problem) -> InvalidRule {
    InvalidRule { name: name.into(), problem }
}
