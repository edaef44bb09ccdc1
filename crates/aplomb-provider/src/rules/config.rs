//! Settings in a configuration file.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use aplomb_core::{Dimension, Kind, Reason, Scope};
use serde::de::{self, Deserialize, Deserializer};

use super::written::{self, OneOrMany, Others, Written};
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
    #[serde(deserialize_with = "written::rules")]
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

/// A rule as it is written. Its values are checked later, so that errors name the rule.
#[derive(serde::Deserialize)]
#[serde(expecting = "the settings of a rule")]
pub(super) struct RuleConfig {
    name: Option<Written<String>>,
    #[serde(default)]
    status: Written<OneOrMany<u16>>,
    #[serde(default)]
    header: Written<BTreeMap<String, String>>,
    #[serde(default)]
    code: Written<OneOrMany<String>>,
    #[serde(default)]
    phrase: Written<OneOrMany<String>>,
    #[serde(default)]
    finish_reason: Written<OneOrMany<String>>,
    kind: Option<Written<String>>,
    scope: Option<Written<String>>,
    reason: Option<Written<String>>,
    delay: Option<Written<DelayConfig>>,
    #[serde(flatten)]
    others: Others,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum DelayConfig {
    Seconds(f64),
    Text(String),
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

const TEXT: &str = "text";
const TEXTS: &str = "text or a list of texts";
const STATUSES: &str = "a status, such as 418, or a list of statuses";
const HEADERS: &str = "a table of names and values";
const DELAY: &str = "a number of seconds or a duration, such as \"2m\"";

impl RuleConfig {
    fn into_rule(mut self, number: usize) -> Result<Rule, InvalidRule> {
        let position = || number.to_string();
        let name = self.name.take().map_or_else(|| Ok(position()), |name| name.value("name", TEXT));
        let name = name.map_err(|problem| invalid(&position(), problem))?;
        self.named(&name).map_err(|problem| invalid(&name, problem))
    }

    /// The rule with this name.
    fn named(self, name: &str) -> Result<Rule, Problem> {
        if let Some(other) = self.others.0.into_iter().next() {
            return Err(Problem::Unknown("setting", other.into()));
        }
        let mut rule = Rule::new(name);
        for status in self.status.value("status", STATUSES)?.into_vec() {
            rule = rule.status(status);
        }
        for (header, value) in &self.header.value("header", HEADERS)? {
            rule = rule.header(header, value);
        }
        for code in &self.code.value("code", TEXTS)?.into_vec() {
            rule = rule.code(code);
        }
        for words in &self.phrase.value("phrase", TEXTS)?.into_vec() {
            rule = rule.phrase(words);
        }
        for reason in &self.finish_reason.value("finish_reason", TEXTS)?.into_vec() {
            rule = rule.finish_reason(reason);
        }
        if let Some(kind) = self.kind {
            rule = rule.kind(named(KINDS, "kind", &kind.value("kind", TEXT)?)?);
        }
        if let Some(scope) = self.scope {
            rule = rule.scope(named(SCOPES, "scope", &scope.value("scope", TEXT)?)?);
        }
        if let Some(reason) = self.reason {
            rule = rule.reason(reason_named(&reason.value("reason", TEXT)?)?);
        }
        if let Some(delay) = self.delay {
            rule = rule.delay(delay.value("delay", DELAY)?.into_duration()?);
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
