//! The rules for judging responses, shared by all dialects. Their order is in `docs/guide/providers.md`.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aplomb_core::{Classification, Dimension, Kind, Outcome, Reason, Scope};
use http::header::WWW_AUTHENTICATE;
use memchr::memmem::Finder;
use serde_json::Value;

use super::body::{self, ErrorBody};
use super::codes::{self, Codes};
use super::dimension;
use super::google::Details;
use super::header_hints;
use super::message::Message;
use super::phrases;
use crate::body_format::BodyFormat;
use crate::buffered;
use crate::dialect::Dialect;
use crate::json::{Document, Nodes};
use crate::{Head, Settings};

/// The cause of a failure by a web page in a success.
pub(crate) const PAGE: &str = "a web page came in place of an answer";

/// Any error in a success contains one of these. To prepare a search takes longer than the search, so it is done once.
static MARKS: LazyLock<[Finder<'static>; 7]> = LazyLock::new(|| {
    [
        "error",
        "failed",
        "\"ERROR",
        "base_resp",
        "abort",
        "insufficient_system",
        "MALFORMED_",
    ]
    .map(Finder::new)
});

/// Judges a buffered response.
pub(crate) fn response(head: &Head<'_>, body: &[u8], dialect: &'static Dialect) -> Classification {
    let judge = Judge { dialect, settings: head.settings(), head: Some(head) };
    if head.status().is_success() {
        let may_be_page = body.trim_ascii_start().starts_with(b"<");
        if may_be_page && buffered::format(head, body) == BodyFormat::Page {
            return judge.classification(Reason::Unknown.outcome(), Reason::Unknown).with_cause(&PAGE);
        }
        judge.error_in_success(head, body).unwrap_or_else(|| judge.answered())
    } else {
        let error = ErrorBody::read(body, head.sent(), &judge.codes());
        judge.failure(&error, Some(head.status().as_u16()), head.sent(), true)
    }
}

/// Judges an error that came as an event of a stream, before or after some of its content.
pub(crate) fn event(
    value: &Value,
    sent: SystemTime,
    dialect: &'static Dialect,
    settings: &Settings,
    had_content: bool,
) -> Classification {
    let judge = Judge { dialect, settings, head: None };
    judge.failure(&ErrorBody::from_value(value, sent, &judge.codes()), None, sent, !had_content)
}

/// Judges an event of a stream by the user's rules alone; `None` if none is met.
pub(crate) fn event_by_rules(
    value: &Value,
    status: u16,
    sent: SystemTime,
    dialect: &'static Dialect,
    settings: &Settings,
) -> Option<Classification> {
    let judge = Judge { dialect, settings, head: None };
    let error = ErrorBody::from_value(value, sent, &judge.codes());
    judge.fails_by_rules(&error, Some(status))
}

/// The context in which a body is judged.
struct Judge<'a> {
    dialect: &'static Dialect,
    settings: &'a Settings,
    head: Option<&'a Head<'a>>,
}

impl<'a> Judge<'a> {
    fn codes(&self) -> Codes<'a> {
        Codes {
            settings: self.settings,
            dialect: self.dialect.codes,
            statuses: self.dialect.statuses,
        }
    }

    /// Reads the headers, or those that a gateway forwards.
    fn in_headers<T>(&self, read: impl Fn(&Head<'_>) -> Option<T>) -> Option<T> {
        let head = self.head?;
        read(head).or_else(|| {
            let forwarded = head.forwarded()?;
            read(&Head::new(head.status(), &forwarded, head.clock()))
        })
    }

    /// Judges the body of a success: `None` if it is not an error.
    fn error_in_success(&self, head: &Head<'_>, body: &[u8]) -> Option<Classification> {
        if self.settings.has_rules() {
            let error = ErrorBody::read(body, head.sent(), &self.codes());
            if let Some(failed) = self.fails_by_rules(&error, Some(head.status().as_u16())) {
                return Some(failed);
            }
        }
        // Nearly every body is an answer, which need not be parsed here.
        if !MARKS.iter().any(|mark| mark.find(body).is_some()) {
            return None;
        }
        body::is_error_answer(Document::read(body, &mut Nodes::new())?.view(), false).then(|| {
            let error = ErrorBody::read(body, head.sent(), &self.codes());
            self.failure(&error, None, head.sent(), true)
        })
    }

    /// A success. One beyond the limit asks the account to slow down.
    fn answered(&self) -> Classification {
        let over = self.head.and_then(|head| head.header("x-ratelimit-over-limit"));
        let is_over = over.is_some_and(|over| over.eq_ignore_ascii_case("yes"));
        let success = Outcome::success();
        self.classification(
            if is_over {
                success.with_scope(Scope::Account)
            } else {
                success
            },
            Reason::Answered,
        )
    }

    fn classification(&self, outcome: Outcome, reason: Reason) -> Classification {
        let classification =
            Classification::new(outcome).with_reason(reason).with_provider(self.dialect.name);
        match self.head {
            Some(head) => classification.with_status(head.status()),
            None => classification,
        }
    }

    fn failure(
        &self,
        error: &ErrorBody,
        status: Option<u16>,
        sent: SystemTime,
        is_unprocessed: bool,
    ) -> Classification {
        let codes = self.codes();
        let in_header = self.in_headers(|head| {
            let code = codes::bare(head.header("x-amzn-errortype")?);
            codes.own(code).or_else(|| codes.known(code))
        });
        let coarse = error.reason(status, in_header, &codes);

        let message = error.message().filter(|_| self.settings.reads_text()).map(Message::new);
        let message = message.as_ref();
        let status = status.or(error.status());
        let (reason, is_shared) = self.refine(coarse, status.is_some(), error, message);
        let mut outcome = self.outcome(reason, status, is_shared);

        // The window of a limit on parallel requests is not a delay: a place is free when a call ends.
        let is_window = reason == Reason::TooManyAtOnce && self.is_parallel_limit(message);
        if let Some(hint) = self.hint(outcome, error, message, sent).filter(|_| !is_window) {
            outcome = outcome.with_retry_after(hint);
        }
        if let Some(dimension) = self.dimension(reason, error, message) {
            outcome = outcome.with_dimension(dimension);
        }
        // An overloaded server has not started on this request.
        if reason == Reason::Overloaded && is_unprocessed {
            outcome = outcome.mark_unprocessed();
        }
        let judged = (self.should_retry(outcome, reason), reason);
        self.explained(self.by_rules(error, status, judged).unwrap_or(judged), error)
    }

    /// The user's rules, applied to a response that was judged to be this. Only the status of its head counts, if it has one.
    fn by_rules(
        &self,
        error: &ErrorBody,
        status: Option<u16>,
        judged: (Outcome, Reason),
    ) -> Option<(Outcome, Reason)> {
        if !self.settings.has_rules() {
            return None;
        }
        self.settings.by_rules(&error.told(status, self.head.map(Head::headers)), judged)
    }

    /// The failure that a success is by the user's rules.
    fn fails_by_rules(&self, error: &ErrorBody, status: Option<u16>) -> Option<Classification> {
        let met = self.by_rules(error, status, (Outcome::success(), Reason::Unknown))?;
        // A rule that changes a delay alone does not make it one.
        (!met.0.is_success()).then(|| self.explained(met, error))
    }

    /// The classification of a failure, with the server's words.
    fn explained(&self, (outcome, reason): (Outcome, Reason), error: &ErrorBody) -> Classification {
        let classification = self.classification(outcome, reason);
        let redirect = || self.head?.redirect().map(|location| format!("redirected to {location}"));
        match error.message().map(Cow::Borrowed).or_else(|| redirect().map(Cow::Owned)) {
            Some(message) => classification.with_message(&message),
            None => classification,
        }
    }

    /// The limit that a refusal is about: by a field of the body, the message, or the headers.
    fn dimension(&self, reason: Reason, error: &ErrorBody, message: Option<&Message>) -> Option<Dimension> {
        if !matches!(reason, Reason::RateLimited | Reason::QuotaExhausted) {
            return None;
        }
        error
            .dimension()
            .or_else(|| dimension::in_message(message?.as_str()))
            .or_else(|| self.in_headers(|head| dimension::in_headers(head, self.dialect.limits)))
    }

    /// Determines which of its many meanings a refusal has, and whether it is about shared capacity.
    fn refine(
        &self,
        reason: Reason,
        has_status: bool,
        error: &ErrorBody,
        message: Option<&Message>,
    ) -> (Reason, bool) {
        if reason == Reason::Unauthorized && error.is_silent() && self.head.is_some_and(is_from_edge) {
            return (Reason::Unknown, false);
        }
        let is_limited = reason == Reason::RateLimited;
        if is_limited && self.is_parallel_limit(message) {
            return (Reason::TooManyAtOnce, false);
        }
        if is_limited && self.in_headers(|head| is_exhausted(head).then_some(())).is_some() {
            return (Reason::QuotaExhausted, false);
        }
        if let Some(details) = error.details().filter(|_| is_limited) {
            return self.quota(details, error, message);
        }
        if is_limited && message.is_some_and(Message::is_too_large) {
            return (Reason::RequestTooLarge, false);
        }
        let in_words =
            |text: &Message| phrases::refine(reason, has_status, text.as_str(), self.dialect.phrases);
        let refined = message.and_then(in_words);
        (refined.unwrap_or(reason), false)
    }

    /// Returns whether `LiteLLM` says that a limit is on parallel requests.
    fn is_parallel_limit(&self, message: Option<&Message>) -> bool {
        let in_header = |head: &Head<'_>| head.header("rate_limit_type") == Some("max_parallel_requests");
        self.head.is_some_and(in_header)
            || message.is_some_and(|message| message.as_str().contains(phrases::PARALLEL_LIMIT))
    }

    /// Determines what Google means by `RESOURCE_EXHAUSTED`.
    fn quota(&self, details: &Details, error: &ErrorBody, message: Option<&Message>) -> (Reason, bool) {
        let follows_hint = details.retry_delay.is_some() && self.settings.follows_daily_hints();
        let has_zero_quota = details.has_zero_quota || message.is_some_and(Message::names_zero_quota);
        if has_zero_quota || (details.per_day && !follows_hint) {
            return (Reason::QuotaExhausted, false);
        }
        let in_words = |message: &Message| message.names_quota() || message.delay().is_some();
        let names_any = details.names_quota || error.delay().is_some() || message.is_some_and(in_words);
        if !names_any && self.dialect.shares_capacity {
            return (Reason::Overloaded, true);
        }
        (Reason::RateLimited, false)
    }

    fn outcome(&self, reason: Reason, status: Option<u16>, is_shared: bool) -> Outcome {
        match reason {
            Reason::Conflict if status == Some(409) => {
                Outcome::busy().with_scope(self.dialect.conflict_scope)
            }
            Reason::Overloaded if is_shared => Outcome::throttled().with_scope(Scope::Server),
            _ => reason.outcome(),
        }
    }

    /// When to retry: by the headers, those that a gateway forwards, the body, the message, or what is usual for the
    /// named quota.
    fn hint(
        &self,
        outcome: Outcome,
        error: &ErrorBody,
        message: Option<&Message>,
        sent: SystemTime,
    ) -> Option<Duration> {
        let is_throttled = outcome.kind() == Kind::Throttled;
        let in_headers = |head: &Head<'_>| {
            let hints = || self.dialect.hints.iter().find_map(|hint| hint(head));
            let is_limit = is_throttled || outcome.kind() == Kind::Exhausted;
            head.clock()
                .retry_after(head.headers())
                .or_else(|| header_hints::aws(head))
                .or_else(|| is_limit.then(hints).flatten())
        };
        self.in_headers(in_headers)
            .or_else(|| error.delay())
            .or_else(|| message?.delay())
            .or_else(|| message?.reset(sent))
            .or_else(|| error.details().filter(|_| is_throttled)?.default_delay())
    }

    /// Applies `x-should-retry`. `false` always counts. `true` makes a permanent failure one that may pass, unless the
    /// request is too large, which no waiting changes. It is not obeyed for accounts and credentials: servers derive
    /// it from the status, which says less than the code.
    fn should_retry(&self, outcome: Outcome, reason: Reason) -> Outcome {
        let header = self.head.filter(|_| self.settings.obeys_should_retry());
        let header = header.and_then(|head| head.header("x-should-retry"));
        let too_large = matches!(reason, Reason::RequestTooLarge | Reason::ContextTooLong);
        match header {
            Some("false") => outcome.forbid_retry(),
            Some("true") if outcome.kind() == Kind::Permanent && !too_large => match outcome.retry_after() {
                Some(hint) => Outcome::busy().with_retry_after(hint),
                None => Outcome::busy(),
            },
            _ => outcome,
        }
    }
}

/// Headers of answers that an edge gave in place of the origin.
const EDGE: [&str; 2] = [
    "cf-mitigated",      // https://developers.cloudflare.com/cloudflare-challenges
    "x-amzn-waf-action", // https://docs.aws.amazon.com/waf/latest/developerguide/waf-captcha-and-challenge.html
];

/// Returns whether a refusal comes from a proxy in front of the provider, which says nothing about the credential.
fn is_from_edge(head: &Head<'_>) -> bool {
    let is_page = head.media_type().is_some_and(|media_type| media_type.eq_ignore_ascii_case("text/html"));
    let is_challenge = head.headers().contains_key(WWW_AUTHENTICATE);
    EDGE.iter().any(|name| head.headers().contains_key(*name)) || (is_page && !is_challenge)
}

/// Returns whether the head says that a limit is exhausted for hours or for a month.
fn is_exhausted(head: &Head<'_>) -> bool {
    header_hints::is_subscription_exhausted(head) || header_hints::is_month_exhausted(head)
}
