//! The rules of judging that all dialects share. `docs/guide/providers.md` tells their order.

use std::time::{Duration, SystemTime};

use aplomb_core::{Kind, Outcome, Scope, retry_after};
use serde_json::Value;

use super::body::{self, ErrorBody};
use super::code::{self, Codes};
use super::google::Details;
use super::hint;
use super::phrases;
use super::text::Text;
use crate::dialect::Dialect;
use crate::json::{Document, Nodes};
use crate::{Head, Judgement, Reason, Settings};

/// Judges a buffered response.
pub(crate) fn response(head: &Head<'_>, body: &[u8], dialect: &'static Dialect) -> Judgement {
    let judge = Judge { dialect, settings: head.settings(), head: Some(head) };
    if head.status().is_success() {
        judge.answer(head, body).unwrap_or_else(|| judge.answered())
    } else {
        let error = ErrorBody::read(body, head.sent(), &judge.codes());
        judge.failure(&error, Some(head.status().as_u16()), true)
    }
}

/// Judges an error that came as an event of a stream, before or after some of its content.
pub(crate) fn event(
    value: &Value,
    sent: SystemTime,
    dialect: &'static Dialect,
    settings: &Settings,
    had_content: bool,
) -> Judgement {
    let judge = Judge { dialect, settings, head: None };
    judge.failure(&ErrorBody::from_value(value, sent, &judge.codes()), None, !had_content)
}

/// What a judgement is made from, besides the body.
struct Judge<'a> {
    dialect: &'static Dialect,
    settings: &'a Settings,
    head: Option<&'a Head<'a>>,
}

impl<'a> Judge<'a> {
    fn codes(&self) -> Codes<'a> {
        Codes {
            settings: self.settings,
            own: self.dialect.codes,
            statuses: self.dialect.statuses,
        }
    }

    /// The error in an answer that claims to be fine, if there is one.
    fn answer(&self, head: &Head<'_>, body: &[u8]) -> Option<Judgement> {
        // Nearly every body is an answer: what has no error in it need not be read.
        let mentions = |word: &[u8]| memchr::memmem::find(body, word).is_some();
        if !mentions(b"error") && !mentions(b"failed") {
            return None;
        }
        body::is_in(Document::read(body, &mut Nodes::new())?.view()).then(|| {
            let error = ErrorBody::read(body, head.sent(), &self.codes());
            self.failure(&error, None, true)
        })
    }

    /// An answer. One that was given above the limit all the same asks the account to slow down.
    fn answered(&self) -> Judgement {
        let over = self.head.and_then(|head| head.header("x-ratelimit-over-limit"));
        let judgement = Judgement::answered();
        if over.is_some_and(|over| over.eq_ignore_ascii_case("yes")) {
            return Judgement::new(Outcome::success().with_scope(Scope::Account), Reason::Answered);
        }
        judgement
    }

    fn failure(&self, error: &ErrorBody, status: Option<u16>, is_unbegun: bool) -> Judgement {
        let codes = self.codes();
        let named = self.head.and_then(|head| head.header("x-amzn-errortype"));
        let named = named.map(code::bare).and_then(|code| codes.of_user(code).or_else(|| codes.known(code)));
        let coarse = error.reason(status, named, &codes);

        let text = error.message().filter(|_| self.settings.reads_text()).map(Text::new);
        let text = text.as_ref();
        let (reason, is_shared) = self.refine(coarse, error, text);
        let mut outcome = self.outcome(reason, status.or(error.status()), is_shared);

        if let Some(hint) = self.hint(outcome, error, text) {
            outcome = outcome.with_retry_after(hint);
        }
        // Who has too much to do has not begun with this as well.
        if reason == Reason::Overloaded && is_unbegun {
            outcome = outcome.mark_unprocessed();
        }
        let judgement = Judgement::new(self.should_retry(outcome, reason), reason);
        match error.message() {
            Some(message) => judgement.with_message(message),
            None => judgement,
        }
    }

    /// Which of its many meanings a refusal has, and whether it is about what everybody shares.
    fn refine(&self, reason: Reason, error: &ErrorBody, text: Option<&Text>) -> (Reason, bool) {
        let is_limited = reason == Reason::RateLimited;
        if is_limited && self.head.is_some_and(hint::is_subscription_used_up) {
            return (Reason::QuotaExhausted, false);
        }
        if let Some(details) = error.details().filter(|_| is_limited) {
            return self.quota(details, error, text);
        }
        if is_limited && text.is_some_and(Text::is_too_large) {
            return (Reason::RequestTooLarge, false);
        }
        let refined = text.and_then(|text| phrases::refine(reason, text.as_str(), self.dialect.phrases));
        (refined.unwrap_or(reason), false)
    }

    /// What Google means by `RESOURCE_EXHAUSTED`.
    fn quota(&self, details: &Details, error: &ErrorBody, text: Option<&Text>) -> (Reason, bool) {
        let follows_hint = details.retry_delay.is_some() && self.settings.follows_daily_hints();
        let has_none = details.has_none || text.is_some_and(Text::names_a_quota_of_nothing);
        if has_none || (details.per_day && !follows_hint) {
            return (Reason::QuotaExhausted, false);
        }
        let in_words = |text: &Text| text.names_a_quota() || text.delay().is_some();
        let names_any = details.names_quota || error.delay().is_some() || text.is_some_and(in_words);
        if !names_any && self.dialect.shares_capacity {
            return (Reason::Overloaded, true);
        }
        (Reason::RateLimited, false)
    }

    fn outcome(&self, reason: Reason, status: Option<u16>, is_shared: bool) -> Outcome {
        match reason {
            Reason::Conflict if status == Some(409) => Outcome::busy().with_scope(self.dialect.conflict),
            Reason::Overloaded if is_shared => Outcome::throttled().with_scope(Scope::Server),
            _ => reason.outcome(),
        }
    }

    /// When to come back: by the headers, those a gateway passes on, the body, the text; and if none
    /// says it, by what is usual for a quota that is named.
    fn hint(&self, outcome: Outcome, error: &ErrorBody, text: Option<&Text>) -> Option<Duration> {
        let is_throttled = outcome.kind() == Kind::Throttled;
        let in_headers = |head: &Head<'_>| {
            let resets = || self.dialect.resets.iter().find_map(|reset| reset(head));
            let is_used_up = is_throttled || outcome.kind() == Kind::Exhausted;
            retry_after(head.headers(), head.clock())
                .or_else(|| hint::aws(head))
                .or_else(|| is_used_up.then(resets).flatten())
        };
        let behind = |head: &Head<'_>| {
            let headers = head.passed_on()?;
            in_headers(&Head::new(head.status(), &headers, head.clock()))
        };
        self.head
            .and_then(|head| in_headers(head).or_else(|| behind(head)))
            .or_else(|| error.delay())
            .or_else(|| text?.delay())
            .or_else(|| error.details().filter(|_| is_throttled)?.usual_delay())
    }

    /// The server's own word on whether to retry. A "no" always counts. A "yes" makes a permanent
    /// failure one that may pass, unless the request is too large, which no waiting changes; and it is
    /// not believed about accounts and credentials: it goes by the status, which says less than the
    /// code.
    fn should_retry(&self, outcome: Outcome, reason: Reason) -> Outcome {
        let word = self.head.filter(|_| self.settings.believes_should_retry());
        let word = word.and_then(|head| head.header("x-should-retry"));
        let too_large = matches!(reason, Reason::RequestTooLarge | Reason::ContextTooLong);
        match word {
            Some("false") => outcome.forbid_retry(),
            Some("true") if outcome.kind() == Kind::Permanent && !too_large => match outcome.retry_after() {
                Some(hint) => Outcome::busy().with_retry_after(hint),
                None => Outcome::busy(),
            },
            _ => outcome,
        }
    }
}
