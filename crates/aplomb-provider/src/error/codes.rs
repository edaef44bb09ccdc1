//! Error codes of all providers.

use crate::Settings;
#[allow(
    clippy::enum_glob_use,
    reason = "a table reads better without the prefix on each line"
)]
use aplomb_core::Reason::{self, *};

/// The meaning of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) reason: Reason,
    /// True if it takes precedence over the status.
    pub(crate) is_exact: bool,
}

/// Reasons and their codes in lower case.
pub(crate) type Table = &'static [(Reason, &'static [&'static str])];

/// The known codes: the user's, those with a meaning of their own at this provider, and the common ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codes<'a> {
    pub(crate) settings: &'a Settings,
    /// Codes with a meaning of their own at this provider.
    pub(crate) dialect: Table,
    /// Statuses with a meaning of their own at this provider.
    pub(crate) statuses: &'static [(u16, Reason)],
}

/// Codes that say exactly what happened, whatever the status. Those of all providers are in one table: they do
/// not contradict each other, and gateways forward them.
#[rustfmt::skip]
const EXACT: Table = &[
    (RateLimited, &[
        "rate_limit_exceeded", "rate_limit_error", "rate_limit_reached", "rate_limit_reached_error", "rate_limited",
        "rate_limit", "ratelimitreached", "ratelimitexceeded", "too_many_requests", "ramp_limit_exceeded",
        "throttlingexception", "throttling_error", "1300", "too_many_requests_error",
        "too_many_tokens_error", "token_quota_exceeded", "request_quota_exceeded", "abnormal-usage-detected",
        // A policy of the IETF's draft, not an account.
        "quota-exceeded",
    ]),
    (TooManyAtOnce, &[
        "concurrency_limit_exceeded",
        // The only 402 that passes by itself, as running requests end.
        "in_flight_budget_exhausted", "openrouter_in_flight_budget",
    ]),
    (QuotaExhausted, &[
        "insufficient_quota", "credit_balance_exhausted", "insufficient_balance", "insufficient_credits",
        "insufficient_funds", "usage_limit_reached", "usage_limit_exceeded", "usage_not_included",
        "exceeded_current_quota_error", "billing_error", "billing_not_active", "billing_hard_limit_reached",
        "payment_required", "openrouter_credits", "openrouter_key_limit", "budget_exceeded", "quota_exceeded",
        "quota_exhausted", "insufficient_g1_credits_balance", "billing_disabled", "servicequotaexceededexception",
        "1308",
        // z.ai without money; the free allocation of a day at Cloudflare.
        "1113", "3036", "4006",
    ]),
    (Overloaded, &[
        "overloaded_error", "overloaded", "server_is_overloaded", "server_overloaded", "model_overloaded",
        "provider_overloaded", "engine_overloaded", "engine_overloaded_error", "service_unavailable_error",
        "service_unavailable", "unavailable_error", "resource_unavailable", "flex_unavailable",
        "compaction_unavailable", "capacity_exceeded", "queue_exceeded", "model_capacity_exhausted", "nocapacity",
        "modelnotreadyexception", "serviceunavailableexception", "temporary-reduced-capacity", "3505",
        // Cloudflare.
        "3040",
        // DeepSeek, as a finish reason.
        "insufficient_system_resource",
    ]),
    (ServerError, &[
        "internalserverexception", "incomplete_generation", "modelerrorexception", "modelstreamerrorexception",
        // Finish reasons.
        "abort", "network_error", "malformed_function_call",
    ]),
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

/// The numeric codes of `MiniMax`'s `base_resp`, which mean something else at other vendors.
const BASE_RESP: &[(u64, Reason)] = &[
    (1002, RateLimited),
    (1004, Unauthorized),
    (1008, QuotaExhausted),
    (1026, ContentFiltered),
    (1039, RateLimited),
    (2013, InvalidRequest),
];

/// Endings of codes that say that an account is exhausted: `organization_spend_limit_exceeded`,
/// `enforced_spend_limit_reached`, `organization_usage_limit_exceeded`.
const EXHAUSTED: &[&str] = &[
    "_spend_limit_exceeded",
    "_spend_limit_reached",
    "_usage_limit_exceeded",
    "_usage_limit_reached",
    "_billing_unavailable",
];

/// Codes so broad that they accompany any error: they count only if there is no status.
#[rustfmt::skip]
const BROAD: Table = &[
    // The exhausted dimension; and "slow down", which is about the server if it comes with a 503.
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
    /// The meaning of a code, if it is known.
    pub(crate) fn known(&self, code: &str) -> Option<Code> {
        let code = code.to_ascii_lowercase();
        let exhausted = || EXHAUSTED.iter().any(|end| code.ends_with(end)).then_some(QuotaExhausted);
        let exact = find(self.dialect, &code).or_else(|| find(EXACT, &code)).or_else(exhausted);
        exact
            .map(|reason| Code { reason, is_exact: true })
            .or_else(|| find(BROAD, &code).map(|reason| Code { reason, is_exact: false }))
    }

    /// The user's meaning of a code.
    pub(crate) fn own(&self, code: &str) -> Option<Code> {
        let reason = self.settings.own_code(&code.to_ascii_lowercase())?;
        Some(Code { reason, is_exact: true })
    }

    /// The meaning of a status.
    pub(crate) fn by_status(&self, status: u16) -> Reason {
        let own = self.statuses.iter().find(|&&(known, _)| known == status);
        own.map_or_else(|| by_status(status), |&(_, reason)| reason)
    }
}

/// The meaning of a code in `MiniMax`'s `base_resp`.
pub(crate) fn of_base_resp(code: u64) -> Option<Code> {
    let (_, reason) = BASE_RESP.iter().find(|(known, _)| *known == code)?;
    Some(Code { reason: *reason, is_exact: true })
}

fn find(table: Table, code: &str) -> Option<Reason> {
    let row = table.iter().find(|(_, codes)| codes.contains(&code));
    row.map(|&(reason, _)| reason)
}

/// A code without its wrapping: AWS's `com.amazon.coral#ThrottlingException:http://…`, the
/// IETF's `https://iana.org/assignments/http-problem-types#quota-exceeded`.
pub(crate) fn bare(code: &str) -> &str {
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code);
    code.split(':').next().unwrap_or(code).trim()
}

/// The common meaning of a status.
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
        // 101 and 3xx: the endpoint is elsewhere, or something else answered. 501 and 505: what the server does not
        // implement will not work later either.
        _ => InvalidRequest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappings_are_removed() {
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
    fn no_code_is_in_two_rows() {
        let all = EXACT.iter().chain(BROAD).flat_map(|(_, codes)| codes.iter());
        let mut all = all.collect::<Vec<_>>();
        let len = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), len);
    }
}
