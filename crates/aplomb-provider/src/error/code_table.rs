//! The error codes of all providers, in lower case. Each row is of one vendor and names its source.
//!
//! To add a code, add it to a row, or a row. Codes that mean something else at another vendor go into that provider's dialect.

use super::codes::Table;
#[allow(
    clippy::enum_glob_use,
    reason = "a table reads better without the prefix on each line"
)]
use aplomb_core::Reason::{self, *};

/// Codes that say exactly what happened, whatever the status. Those of all providers are in one table: they do
/// not contradict each other, and gateways forward them.
#[rustfmt::skip]
pub(super) const EXACT: Table = &[
    // OpenAI: https://developers.openai.com/api/docs/guides/error-codes, https://help.openai.com/en/articles/6614457
    (RateLimited, &["rate_limit_exceeded", "rate_limit_error", "rate_limit_reached", "too_many_requests", "ramp_limit_exceeded"]),
    (QuotaExhausted, &[
        "insufficient_quota", "credit_balance_exhausted", "usage_limit_reached", "usage_limit_exceeded", "usage_not_included",
        "billing_not_active", "billing_hard_limit_reached", "quota_exceeded", "quota_exhausted",
    ]),
    (Overloaded, &[
        "server_is_overloaded", "server_overloaded", "engine_overloaded", "service_unavailable_error", "service_unavailable",
        "flex_unavailable", "model_overloaded", "overloaded",
    ]),
    (ServerError, &["incomplete_generation"]),
    (Timeout, &["timeout", "request_timeout", "deadline_exceeded"]),
    (ContextTooLong, &["context_length_exceeded", "context_window_exceeded", "string_above_max_length"]),
    (ContentFiltered, &["content_filter", "content_filtered", "content_policy_violation", "moderation_blocked", "cyber_policy"]),
    (Unauthorized, &[
        "invalid_api_key", "incorrect_api_key", "invalid_authentication", "account_deactivated", "invalid_organization",
        "ip_not_authorized", "unsupported_country_region_territory",
    ]),
    (NotFound, &["model_not_found", "not_found"]),
    (Conflict, &["conflict"]),
    (InvalidRequest, &[
        "invalid_prompt", "invalid_value", "invalid_type", "unsupported_value", "unsupported_parameter",
        "unknown_parameter", "missing_required_parameter",
    ]),
    // Azure: https://learn.microsoft.com/azure/ai-services/openai/how-to/quota
    (RateLimited, &["ratelimitreached"]),
    (Overloaded, &["nocapacity"]),
    (ContentFiltered, &["responsibleaipolicyviolation"]),
    (NotFound, &["deploymentnotfound"]),
    // Anthropic: https://platform.claude.com/docs/en/api/errors
    (QuotaExhausted, &["billing_error"]),
    (Overloaded, &["overloaded_error", "compaction_unavailable"]),
    (Timeout, &["timeout_error"]),
    (RequestTooLarge, &["request_too_large", "request_body_too_large_after_decoding"]),
    (Unauthorized, &["authentication_error", "permission_error", "organization_on_hold"]),
    (NotFound, &["not_found_error"]),
    (Conflict, &["conflict_error"]),
    // Google: https://ai.google.dev/gemini-api/docs/troubleshooting; its command line client
    (RateLimited, &["ratelimitexceeded"]),
    (QuotaExhausted, &["insufficient_g1_credits_balance", "billing_disabled"]),
    (Overloaded, &["model_capacity_exhausted"]),
    (Unauthorized, &["permission_denied", "unauthenticated", "api_key_invalid", "service_disabled"]),
    (ServerError, &["malformed_function_call"]),
    // AWS: botocore's model of bedrock-runtime
    (RateLimited, &["throttlingexception"]),
    (QuotaExhausted, &["servicequotaexceededexception"]),
    (Overloaded, &["modelnotreadyexception", "serviceunavailableexception"]),
    (ServerError, &["internalserverexception", "modelerrorexception", "modelstreamerrorexception"]),
    (Timeout, &["modeltimeoutexception"]),
    (Unauthorized, &["accessdeniedexception", "unrecognizedclientexception", "expiredtokenexception"]),
    (NotFound, &["resourcenotfoundexception"]),
    (InvalidRequest, &["validationexception"]),
    // Mistral: https://docs.mistral.ai
    (RateLimited, &["1300", "rate_limited"]),
    (Overloaded, &["3505"]),
    // Cerebras: https://inference-docs.cerebras.ai/support/error
    (RateLimited, &["too_many_requests_error", "too_many_tokens_error", "token_quota_exceeded", "request_quota_exceeded"]),
    (Overloaded, &["queue_exceeded"]),
    // Groq: https://console.groq.com/docs/errors
    (Overloaded, &["capacity_exceeded"]),
    // OpenRouter: https://openrouter.ai/docs/api-reference/errors
    (TooManyAtOnce, &[
        "concurrency_limit_exceeded",
        // The only 402 that passes by itself, as running requests end.
        "in_flight_budget_exhausted", "openrouter_in_flight_budget",
    ]),
    (QuotaExhausted, &["openrouter_credits", "openrouter_key_limit", "insufficient_credits", "payment_required"]),
    (Overloaded, &["provider_overloaded"]),
    (RequestTooLarge, &["payload_too_large", "request_entity_too_large"]),
    // DeepSeek: https://api-docs.deepseek.com/quick_start/error_codes; a finish reason
    (QuotaExhausted, &["insufficient_balance"]),
    (Overloaded, &["insufficient_system_resource"]),
    // Moonshot: https://platform.moonshot.ai/docs
    (RateLimited, &["rate_limit_reached_error"]),
    (QuotaExhausted, &["exceeded_current_quota_error"]),
    (Overloaded, &["engine_overloaded_error"]),
    (Unauthorized, &["invalid_authentication_error"]),
    // z.ai: https://docs.z.ai/api-reference/api-code, https://docs.bigmodel.cn/cn/api/api-code; its finish reasons
    (RateLimited, &["1303", "1305", "1313"]),
    (TooManyAtOnce, &["1302"]),
    // No money; the day; a window of hours; an expired plan; a week or a month.
    (QuotaExhausted, &["1113", "1304", "1308", "1309", "1310"]),
    (Overloaded, &["1312"]),
    (ServerError, &["network_error", "1234"]),
    (ContextTooLong, &["1261"]),
    (ContentFiltered, &["1301"]),
    (Unauthorized, &["1112", "1121"]),
    // There is no such model, or it is not in the plan.
    (NotFound, &["1211", "1311"]),
    // Cloudflare: https://developers.cloudflare.com/workers-ai/platform/errors
    (QuotaExhausted, &["3036", "4006"]),
    (Overloaded, &["3040"]),
    (Timeout, &["3007", "3008"]),
    (RequestTooLarge, &["3006"]),
    (Unauthorized, &["3023", "3041", "5016", "5018"]),
    (NotFound, &["3042", "5007"]),
    // Alibaba: https://www.alibabacloud.com/help/en/model-studio/error-code
    (RateLimited, &["throttling.ratequota", "throttling.allocationquota", "throttling.burstrate"]),
    (QuotaExhausted, &["arrearage", "allocationquota.freetieronly"]),
    (ContentFiltered, &["datainspectionfailed", "data_inspection_failed"]),
    // ByteDance: https://docs.byteplus.com/docs/ModelArk/1299023
    (RateLimited, &[
        "ratelimitexceeded.endpointrpmexceeded", "ratelimitexceeded.endpointtpmexceeded",
        "ratelimitexceeded.foundationmodelrpmexceeded", "ratelimitexceeded.foundationmodeltpmexceeded",
    ]),
    (QuotaExhausted, &["accountoverdueerror", "operationdenied.serviceoverdue", "quotaexceeded", "setlimitexceeded"]),
    (Overloaded, &["serveroverloaded"]),
    (NotFound, &["modelnotopen"]),
    // vLLM, llama.cpp: their sources
    (ServerError, &["abort"]),
    (Overloaded, &["unavailable_error"]),
    (ContextTooLong, &["exceed_context_size_error"]),
    // LiteLLM: its exceptions
    (RateLimited, &["throttling_error"]),
    (QuotaExhausted, &["budget_exceeded"]),
    (ContextTooLong, &["contextwindowexceedederror"]),
    (ContentFiltered, &["contentpolicyviolationerror"]),
    // One API and its copies: https://docs.aihubmix.com/en/FAQs/HTTP-Codes
    (QuotaExhausted, &["insufficient_user_quota"]),
    // IETF: draft-ietf-httpapi-ratelimit-headers. The quota is a policy's, not an account's.
    (RateLimited, &["quota-exceeded", "abnormal-usage-detected"]),
    (Overloaded, &["temporary-reduced-capacity"]),
    // Several.
    (RateLimited, &["rate_limit"]),
    (QuotaExhausted, &["insufficient_funds"]),
    (Overloaded, &["resource_unavailable"]),
];

/// The numeric codes of `MiniMax`'s `base_resp`, which mean something else at other vendors:
/// <https://platform.minimax.io/docs/api-reference/errorcode>.
pub(super) const BASE_RESP: &[(u64, Reason)] = &[
    (1001, Timeout),
    (1002, RateLimited),
    (1004, Unauthorized),
    (1008, QuotaExhausted),
    (1024, ServerError),
    (1026, ContentFiltered),
    (1027, ContentFiltered),
    (1033, ServerError),
    (1039, RateLimited),
    (1041, TooManyAtOnce),
    (2013, InvalidRequest),
    (2049, Unauthorized),
    (2056, QuotaExhausted),
];

/// Endings of codes that say that an account is exhausted: `organization_spend_limit_exceeded`,
/// `enforced_spend_limit_reached`, `organization_usage_limit_exceeded`.
pub(super) const EXHAUSTED: &[&str] = &[
    "_spend_limit_exceeded",
    "_spend_limit_reached",
    "_usage_limit_exceeded",
    "_usage_limit_reached",
    "_billing_unavailable",
];

/// Codes so broad that they accompany any error: they count only if there is no status.
#[rustfmt::skip]
pub(super) const BROAD: Table = &[
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
