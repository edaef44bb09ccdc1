//! Rules of one's own.

mod apply;
mod config;
mod phrase;
mod written;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aplomb_core::{Kind, Reason, Scope};
use http::{HeaderName, StatusCode};

use self::phrase::OwnPhrase;

pub(crate) use self::apply::Told;

/// A rule of one's own: which responses it is about, and what they mean.
///
/// It is about a response that meets all of its conditions. Of several statuses, headers, codes, phrases or finish reasons, one is
/// enough. The first rule that is met counts, before everything that is known of the provider; what a rule leaves open is
/// judged as without it. A success that meets a rule is a failure: with its whole body, or as an event of a stream.
///
/// Rules are given to [`Settings::rules`](crate::Settings::rules), which checks them.
///
/// # Examples
///
/// ```
/// use aplomb_core::{Kind, Reason, WallClock};
/// use aplomb_provider::{Generic, Head, Provider, Rule, Settings, Tuned};
/// use http::{HeaderMap, StatusCode};
/// use std::time::Duration;
///
/// let asleep = Rule::new("a tenant that sleeps")
///     .status(418)
///     .phrase("wakes up in {delay}")
///     .kind(Kind::Throttled)
///     .reason(Reason::Overloaded);
/// let provider = Tuned::new(Generic, Settings::new().rules([asleep])?);
///
/// let (headers, clock) = (HeaderMap::new(), WallClock::system());
/// let head = Head::new(StatusCode::IM_A_TEAPOT, &headers, &clock);
/// let judged = provider.judge(&head, br#"{"error": "The model wakes up in 20s."}"#);
/// assert_eq!(judged.outcome().kind(), Kind::Throttled);
/// assert_eq!(judged.outcome().retry_after(), Some(Duration::from_secs(20)));
///
/// let error = Settings::new().rules([Rule::new("idle").status(418)]).unwrap_err();
/// assert_eq!(error.to_string(), "rule \"idle\": it does not say what its responses mean");
/// # Ok::<(), aplomb_provider::InvalidRule>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Rule {
    name: Box<str>,
    statuses: Vec<u16>,
    /// Names, and values in lower case.
    headers: Vec<(Box<str>, Box<str>)>,
    /// In lower case.
    codes: Vec<Box<str>>,
    phrases: Vec<Box<str>>,
    finish_reasons: Vec<Box<str>>,
    kind: Option<Kind>,
    scope: Option<Scope>,
    reason: Option<Reason>,
    delay: Option<Duration>,
}

/// The value of a header that may be any.
const ANY: &str = "*";

/// Its conditions.
impl Rule {
    /// A rule without conditions, and without a meaning. The name is for messages about the rule.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            statuses: Vec::new(),
            headers: Vec::new(),
            codes: Vec::new(),
            phrases: Vec::new(),
            finish_reasons: Vec::new(),
            kind: None,
            scope: None,
            reason: None,
            delay: None,
        }
    }

    /// Responses with this status.
    pub fn status(mut self, status: u16) -> Self {
        self.statuses.push(status);
        self
    }

    /// Responses with this header, in any case; `*` is any value. An error within a stream is not met by its headers.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.to_ascii_lowercase().into()));
        self
    }

    /// Bodies with this code, in any case, in any of the places where providers have codes.
    pub fn code(mut self, code: &str) -> Self {
        self.codes.push(code.to_ascii_lowercase().into());
        self
    }

    /// Messages with these words, in any case. `{delay}` stands for a delay, `20s`, `1m30s` or `20 seconds`, which becomes the hint.
    pub fn phrase(mut self, words: &str) -> Self {
        self.phrases.push(words.into());
        self
    }

    /// Answers that ended for this reason, in any of the places where providers say why.
    pub fn finish_reason(mut self, reason: &str) -> Self {
        self.finish_reasons.push(reason.into());
        self
    }
}

/// Its meaning.
impl Rule {
    /// Sets the kind of outcome: any but a success and a local one. Default: that of the [`reason`](Self::reason).
    pub const fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Sets whom it concerns. Default: as the kind or the reason implies.
    pub const fn scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Sets the reason. Default: as judged without the rule.
    pub const fn reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Sets the hint, where no phrase captures one. Default: as judged without the rule.
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }
}

/// A rule that cannot be applied. It says which rule, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRule {
    name: Box<str>,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    NoCondition,
    NoMeaning,
    NotAFailure,
    Status(u16),
    Header(Box<str>),
    Phrase(Box<str>),
    /// A word of a configuration file that is none: of which kind, and the word.
    Unknown(&'static str, Box<str>),
    /// A setting of a configuration file that has another type.
    Type {
        setting: &'static str,
        expected: &'static str,
    },
}

impl InvalidRule {
    /// The name of the rule. One without a name in a configuration file is named by its position there, from `1`.
    pub fn rule(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for InvalidRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {:?}: ", self.name)?;
        match &self.problem {
            Problem::NoCondition => f.write_str("it has no condition"),
            Problem::NoMeaning => f.write_str("it does not say what its responses mean"),
            Problem::NotAFailure => f.write_str("its kind is not a failure of the server or the request"),
            Problem::Status(status) => write!(f, "{status} is not a status"),
            Problem::Header(name) => write!(f, "{name:?} is not the name of a header"),
            Problem::Phrase(phrase) => {
                write!(f, "the phrase {phrase:?} needs words, and `{{delay}}` at most once")
            }
            Problem::Unknown(what, word) => write!(f, "there is no {what} {word:?}"),
            Problem::Type { setting, expected } => write!(f, "`{setting}` must be {expected}"),
        }
    }
}

impl Error for InvalidRule {}

/// A rule that has been checked.
#[derive(Debug)]
pub(crate) struct CheckedRule {
    rule: Rule,
    headers: Vec<(HeaderName, Box<str>)>,
    phrases: Vec<OwnPhrase>,
}

impl CheckedRule {
    pub(crate) fn new(rule: Rule) -> Result<Self, InvalidRule> {
        let name = &rule.name;
        let fail = |problem| InvalidRule { name: name.clone(), problem };
        let lists = [rule.codes.len(), rule.phrases.len(), rule.finish_reasons.len()];
        if rule.statuses.is_empty() && rule.headers.is_empty() && lists.iter().all(|len| *len == 0) {
            return Err(fail(Problem::NoCondition));
        }
        if rule.kind.is_none() && rule.reason.is_none() && rule.scope.is_none() && rule.delay.is_none() {
            return Err(fail(Problem::NoMeaning));
        }
        if matches!(rule.kind, Some(Kind::Success | Kind::Local)) || rule.reason == Some(Reason::Answered) {
            return Err(fail(Problem::NotAFailure));
        }
        if let Some(status) = rule.statuses.iter().find(|status| StatusCode::from_u16(**status).is_err()) {
            return Err(fail(Problem::Status(*status)));
        }
        let headers = rule.headers.iter().map(|(name, value)| {
            let parsed = HeaderName::from_bytes(name.as_bytes());
            Ok((parsed.map_err(|_| fail(Problem::Header(name.clone())))?, value.clone()))
        });
        let phrases = rule
            .phrases
            .iter()
            .map(|phrase| OwnPhrase::parse(phrase).ok_or_else(|| fail(Problem::Phrase(phrase.clone()))));
        let (headers, phrases) = (headers.collect::<Result<_, _>>()?, phrases.collect::<Result<_, _>>()?);
        Ok(Self { rule, headers, phrases })
    }
}
