//! The codes by which providers name their errors.

#[allow(
    clippy::enum_glob_use,
    reason = "a table reads better without the prefix on each line"
)]
use crate::Reason::{self, *};

/// What a code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) reason: Reason,
    /// Whether it outranks the status.
    pub(crate) is_exact: bool,
}

/// Codes that say just what happened, whatever the status. Those of all providers are in one table:
/// they do not contradict each other, and gateways pass them on.
#[rustfmt::skip]
const EXACT: &[(Reason, &[&str])] = &[
    (RateLimited, &[
        "rate_limit_exceeded", "rate_limit_error", "rate_limit_reached", "rate_limit_reached_error", "rate_limited",
        "rate_limit", "ratelimitreached", "ratelimitexceeded", "too_many_requests", "ramp_limit_exceeded",
        "throttlingexception", "1300",
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
        "payment_required", "openrouter_credits", "openrouter_key_limit",
    ]),
    (Overloaded, &[
        "overloaded_error", "overloaded", "server_is_overloaded", "server_overloaded", "model_overloaded",
        "provider_overloaded", "engine_overloaded", "engine_overloaded_error", "service_unavailable_error",
        "service_unavailable", "unavailable_error", "resource_unavailable", "flex_unavailable",
        "compaction_unavailable", "capacity_exceeded", "3505",
    ]),
    (Timeout, &["timeout_error", "timeout", "request_timeout", "deadline_exceeded"]),
    (ContextTooLong, &[
        "context_length_exceeded", "context_window_exceeded", "exceed_context_size_error", "string_above_max_length",
    ]),
    (RequestTooLarge, &[
        "request_too_large", "request_entity_too_large", "payload_too_large", "request_body_too_large_after_decoding",
    ]),
    (ContentFiltered, &[
        "content_filter", "content_filtered", "content_policy_violation", "responsibleaipolicyviolation",
        "moderation_blocked", "cyber_policy",
    ]),
    (Unauthorized, &[
        "invalid_api_key", "incorrect_api_key", "authentication_error", "invalid_authentication",
        "invalid_authentication_error", "permission_error", "permission_denied", "account_deactivated",
        "organization_on_hold", "invalid_organization", "ip_not_authorized", "unsupported_country_region_territory",
    ]),
    (NotFound, &["model_not_found", "not_found_error", "not_found", "deploymentnotfound"]),
    (Conflict, &["conflict_error", "conflict"]),
    (InvalidRequest, &[
        "invalid_prompt", "invalid_value", "invalid_type", "unsupported_value", "unsupported_parameter",
        "unknown_parameter", "missing_required_parameter",
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
const WIDE: &[(Reason, &[&str])] = &[
    // The dimension that is short; and "slow down", which with a 503 is about the server.
    (RateLimited, &["tokens", "requests", "slow_down"]),
    (InvalidRequest, &[
        "invalid_request_error", "invalid_request", "bad_request", "bad_request_error", "badrequesterror",
        "unprocessable_entity", "not_supported_error",
    ]),
    (ServerError, &[
        "server_error", "api_error", "internal_error", "internal_server_error", "internalservererror",
        "cmek_key_unreachable",
    ]),
];

/// What `code` says, if it is known.
pub(crate) fn known(code: &str) -> Option<Code> {
    let code = code.to_ascii_lowercase();
    let find = |table: &[(Reason, &[&str])]| {
        let row = table.iter().find(|(_, codes)| codes.contains(&code.as_str()));
        row.map(|&(reason, _)| reason)
    };
    let used_up = || USED_UP.iter().any(|end| code.ends_with(end)).then_some(QuotaExhausted);
    let exact = find(EXACT).or_else(used_up).map(|reason| Code { reason, is_exact: true });
    exact.or_else(|| find(WIDE).map(|reason| Code { reason, is_exact: false }))
}

/// What a status says, on its own.
pub(crate) const fn by_status(status: u16) -> Reason {
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
