//! The codes by which providers name their errors.

#[allow(
    clippy::enum_glob_use,
    reason = "a table reads better without the prefix on each line"
)]
use crate::Reason::{self, *};
use crate::Settings;

/// What a code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) reason: Reason,
    /// Whether it outranks the status.
    pub(crate) is_exact: bool,
}

/// Reasons, and the codes in lower case that name them.
pub(crate) type Table = &'static [(Reason, &'static [&'static str])];

/// All that is known of codes: the user's, those that mean something else at this provider than
/// elsewhere, and everybody's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codes<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) own: Table,
    /// Statuses that mean something else at this provider than elsewhere.
    pub(crate) statuses: &'static [(u16, Reason)],
}

/// Codes that say just what happened, whatever the status. Those of all providers are in one table:
/// they do not contradict each other, and gateways pass them on.
#[rustfmt::skip]
const EXACT: Table = &[
    (RateLimited, &[
        "rate_limit_exceeded", "rate_limit_error", "rate_limit_reached", "rate_limit_reached_error", "rate_limited",
        "rate_limit", "ratelimitreached", "ratelimitexceeded", "too_many_requests", "ramp_limit_exceeded",
        "throttlingexception", "throttling_error", "1300", "too_many_requests_error",
        "too_many_tokens_error", "token_quota_exceeded", "request_quota_exceeded", "abnormal-usage-detected",
        // A policy of a server that follows the IETF's draft, and no account.
        "quota-exceeded",
    ]),
    (TooManyAtOnce, &[
        "concurrency_limit_exceeded",
        // The one 402 that passes by itself, as running requests end.
        "in_flight_budget_exhausted", "openrouter_in_flight_budget",
    ]),
    (QuotaExhausted, &[
        "insufficient_quota", "credit_balance_exhausted", "insufficient_balance", "insufficient_credits",
        "insufficient_funds", "usage_limit_reached", "usage_limit_exceeded", "usage_not_included",
        "exceeded_current_quota_error", "billing_error", "billing_not_active", "billing_hard_limit_reached",
        "payment_required", "openrouter_credits", "openrouter_key_limit", "budget_exceeded", "quota_exceeded",
        "quota_exhausted", "insufficient_g1_credits_balance", "billing_disabled", "servicequotaexceededexception",
        "1308",
    ]),
    (Overloaded, &[
        "overloaded_error", "overloaded", "server_is_overloaded", "server_overloaded", "model_overloaded",
        "provider_overloaded", "engine_overloaded", "engine_overloaded_error", "service_unavailable_error",
        "service_unavailable", "unavailable_error", "resource_unavailable", "flex_unavailable",
        "compaction_unavailable", "capacity_exceeded", "queue_exceeded", "model_capacity_exhausted", "nocapacity",
        "modelnotreadyexception", "serviceunavailableexception", "temporary-reduced-capacity", "3505",
    ]),
    (ServerError, &["internalserverexception", "incomplete_generation"]),
    (Timeout, &["timeout_error", "timeout", "request_timeout", "deadline_exceeded", "modeltimeoutexception"]),
    (ContextTooLong, &[
        "context_length_exceeded", "context_window_exceeded", "exceed_context_size_error", "string_above_max_length",
        "contextwindowexceedederror",
    ]),
    (RequestTooLarge, &[
        "request_too_large", "request_entity_too_large", "payload_too_large", "request_body_too_large_after_decoding",
    ]),
    (ContentFiltered, &[
        "content_filter", "content_filtered", "content_policy_violation", "responsibleaipolicyviolation",
        "moderation_blocked", "cyber_policy", "contentpolicyviolationerror",
    ]),
    (Unauthorized, &[
        "invalid_api_key", "incorrect_api_key", "authentication_error", "invalid_authentication",
        "invalid_authentication_error", "permission_error", "permission_denied", "account_deactivated",
        "organization_on_hold", "invalid_organization", "ip_not_authorized", "unsupported_country_region_territory",
        "unauthenticated", "api_key_invalid", "accessdeniedexception", "unrecognizedclientexception",
        "expiredtokenexception", "service_disabled",
    ]),
    (NotFound, &[
        "model_not_found", "not_found_error", "not_found", "deploymentnotfound", "resourcenotfoundexception",
    ]),
    (Conflict, &["conflict_error", "conflict"]),
    (InvalidRequest, &[
        "invalid_prompt", "invalid_value", "invalid_type", "unsupported_value", "unsupported_parameter",
        "unknown_parameter", "missing_required_parameter", "validationexception",
    ]),
];

/// Families of codes that say that an account is used up: `organization_spend_limit_exceeded`,
/// `enforced_spend_limit_reached`, `organization_usage_limit_exceeded`.
const USED_UP: &[&str] = &[
    "_spend_limit_exceeded",
    "_spend_limit_reached",
    "_usage_limit_exceeded",
    "_usage_limit_reached",
    "_billing_unavailable",
];

/// Names so wide that they are put on everything: they count only where there is no status.
#[rustfmt::skip]
const WIDE: Table = &[
    // The dimension that is short; and "slow down", which with a 503 is about the server.
    (RateLimited, &["tokens", "requests", "slow_down", "resource_exhausted"]),
    (InvalidRequest, &[
        "invalid_request_error", "invalid_request", "bad_request", "bad_request_error", "badrequesterror",
        "unprocessable_entity", "not_supported_error", "invalid_argument", "failed_precondition", "out_of_range",
        "unimplemented", "validation",
    ]),
    (ServerError, &[
        "server_error", "api_error", "internal_error", "internal_server_error", "internalservererror",
        "cmek_key_unreachable", "internal", "generation",
    ]),
    (Overloaded, &["unavailable"]),
    (Conflict, &["aborted"]),
    (NotFound, &["notfounderror"]),
];

impl Codes<'_> {
    /// What `code` says, if it is known.
    pub(crate) fn known(&self, code: &str) -> Option<Code> {
        let code = code.to_ascii_lowercase();
        let used_up = || USED_UP.iter().any(|end| code.ends_with(end)).then_some(QuotaExhausted);
        let exact = find(self.own, &code).or_else(|| find(EXACT, &code)).or_else(used_up);
        exact
            .map(|reason| Code { reason, is_exact: true })
            .or_else(|| find(WIDE, &code).map(|reason| Code { reason, is_exact: false }))
    }

    /// What `code` says to the user.
    pub(crate) fn of_user(&self, code: &str) -> Option<Code> {
        let reason = self.settings.known(&code.to_ascii_lowercase())?;
        Some(Code { reason, is_exact: true })
    }

    /// What a status says, on its own.
    pub(crate) fn by_status(&self, status: u16) -> Reason {
        let own = self.statuses.iter().find(|&&(own, _)| own == status);
        own.map_or_else(|| by_status(status), |&(_, reason)| reason)
    }
}

fn find(table: Table, code: &str) -> Option<Reason> {
    let row = table.iter().find(|(_, codes)| codes.contains(&code));
    row.map(|&(reason, _)| reason)
}

/// A code without what it is wrapped in: AWS's `com.amazon.coral#ThrottlingException:http://…`, the
/// IETF's `https://iana.org/assignments/http-problem-types#quota-exceeded`.
pub(crate) fn bare(code: &str) -> &str {
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code);
    code.split(':').next().unwrap_or(code).trim()
}

/// What a status says wherever no one gives it a meaning of its own.
const fn by_status(status: u16) -> Reason {
    match status {
        200..=299 => Answered,
        401 | 403 => Unauthorized,
        402 => QuotaExhausted,
        404 | 410 => NotFound,
        408 | 504 | 522 | 524 => Timeout,
        409 | 425 => Conflict,
        413 => RequestTooLarge,
        429 => RateLimited,
        503 | 529 => Overloaded,
        500 | 502 | 506..=599 => ServerError,
        // 501 and 505 too: what the server can not do, it will not be able to do later.
        _ => InvalidRequest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappings_come_off() {
        for (wrapped, code) in [
            (
                "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/",
                "ThrottlingException",
            ),
            ("com.amazon.coral.service#AccessDeniedException", "AccessDeniedException"),
            ("https://iana.org/assignments/http-problem-types#quota-exceeded", "quota-exceeded"),
            ("rate_limit_exceeded", "rate_limit_exceeded"),
            ("", ""),
        ] {
            assert_eq!(bare(wrapped), code);
        }
    }

    #[test]
    fn no_code_stands_in_two_rows() {
        let all = EXACT.iter().chain(WIDE).flat_map(|(_, codes)| codes.iter());
        let mut all = all.collect::<Vec<_>>();
        let len = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), len);
    }
}
