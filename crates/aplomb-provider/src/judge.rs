//! The rules of judging that all dialects share.

use std::time::{Duration, SystemTime};

use aplomb_core::{Kind, Outcome, Scope, retry_after};
use serde_json::Value;

use crate::error_body::ErrorBody;
use crate::hint;
use crate::text::Text;
use crate::{Head, Judgement, Reason};

/// Where dialects differ.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Whom a 409 concerns.
    pub(crate) conflict: Scope,
    /// How long to wait, by headers that mean just that under another name.
    pub(crate) wait: fn(&Head<'_>) -> Option<Duration>,
    /// When what a throttled request was refused for is there again, by the dialect's own headers.
    pub(crate) reset: fn(&Head<'_>) -> Option<Duration>,
    /// Whether a throttled account is used up, by the dialect's own headers.
    pub(crate) is_used_up: fn(&Head<'_>) -> bool,
}

/// Judges a buffered response.
pub(crate) fn response(head: &Head<'_>, body: &[u8], rules: &Rules) -> Judgement {
    if head.status().is_success() {
        // Nearly every body is an answer: what has no error in it need not be read.
        let mentions =
            memchr::memmem::find(body, b"error").is_some() || memchr::memmem::find(body, b"failed").is_some();
        let value = mentions.then(|| serde_json::from_slice::<Value>(body).ok());
        match value.flatten().as_ref().and_then(ErrorBody::in_answer) {
            Some(error) => failure(Some(head), None, &error, head.sent(), rules),
            None => Judgement::answered(),
        }
    } else {
        let error = ErrorBody::read(body);
        let status = Some(head.status().as_u16());
        failure(Some(head), status, &error, head.sent(), rules)
    }
}

/// Judges an error that came as an event of a stream.
pub(crate) fn event(value: &Value, sent: SystemTime, rules: &Rules) -> Judgement {
    failure(None, None, &ErrorBody::from_value(value), sent, rules)
}

fn failure(
    head: Option<&Head<'_>>,
    status: Option<u16>,
    error: &ErrorBody,
    sent: SystemTime,
    rules: &Rules,
) -> Judgement {
    let text = error.message().map(Text::new);
    let mut reason = error.reason(status);
    if reason == Reason::RateLimited {
        if head.is_some_and(rules.is_used_up) {
            reason = Reason::QuotaExhausted;
        } else if text.as_ref().is_some_and(Text::is_too_large) {
            reason = Reason::RequestTooLarge;
        }
    }
    let mut outcome = outcome(reason, status.or(error.status()), rules);

    let is_throttled = outcome.kind() == Kind::Throttled;
    let in_headers = |head: &Head<'_>| {
        retry_after(head.headers(), head.clock())
            .or_else(|| (rules.wait)(head))
            .or_else(|| is_throttled.then(|| (rules.reset)(head)).flatten())
    };
    let hint = head
        .and_then(in_headers)
        .or_else(|| error.delay())
        .or_else(|| hint::until_unix(Duration::from_secs(error.resets_at()?), sent))
        .or_else(|| text.as_ref()?.delay());
    if let Some(hint) = hint {
        outcome = outcome.with_retry_after(hint);
    }

    let judgement = Judgement::new(should_retry(head, outcome, reason), reason);
    match error.message() {
        Some(message) => judgement.with_message(message),
        None => judgement,
    }
}

fn outcome(reason: Reason, status: Option<u16>, rules: &Rules) -> Outcome {
    match reason {
        Reason::Conflict if status == Some(409) => Outcome::busy().with_scope(rules.conflict),
        _ => reason.outcome(),
    }
}

/// The server's own word on whether to retry. A "no" always counts. A "yes" makes a permanent
/// failure one that may pass, unless the request is too large, which no waiting changes; and it is
/// not believed about accounts and credentials: it goes by the status, which says less than the code.
fn should_retry(head: Option<&Head<'_>>, outcome: Outcome, reason: Reason) -> Outcome {
    let word = head.and_then(|head| head.header("x-should-retry"));
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
