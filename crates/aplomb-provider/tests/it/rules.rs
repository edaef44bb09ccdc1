//! The rules for judging responses, one by one.

use std::time::Duration;

use aplomb_core::{Classification, Reason};
use aplomb_core::{Kind, Scope};
use aplomb_provider::{Anthropic, DeepSeek, Generic, LlmEngine, OpenAi, Provider};
use serde_json::json;

use crate::support::Response;

const ALL: [&dyn Provider; 3] = [&OpenAi, &Anthropic, &Generic];

fn judge(provider: &dyn Provider, status: u16, headers: &[(&str, &str)], body: &str) -> Classification {
    provider.judge(&Response::new(status, headers).head(), body.as_bytes())
}

fn kind(provider: &dyn Provider, status: u16, body: &str) -> Kind {
    judge(provider, status, &[], body).outcome().kind()
}

fn code(code: &str) -> String {
    json!({"error": {"code": code, "message": "m"}}).to_string()
}

#[test]
fn too_many_at_once_differs_from_too_fast() {
    for provider in ALL {
        let at_once = judge(provider, 429, &[], &code("concurrency_limit_exceeded"));
        assert_eq!(at_once.reason(), Some(Reason::TooManyAtOnce));
        assert_eq!(
            (at_once.outcome().kind(), at_once.outcome().is_of_concurrency()),
            (Kind::Throttled, true)
        );
        let fast = judge(provider, 429, &[], &code("rate_limit_exceeded"));
        assert!(!fast.outcome().is_of_concurrency());
    }
    // These providers limit nothing else.
    for provider in [&DeepSeek as &dyn Provider, &LlmEngine] {
        assert!(judge(provider, 429, &[], "").outcome().is_of_concurrency());
        assert!(!judge(provider, 503, &[], "").outcome().is_of_concurrency());
    }
}

#[test]
fn the_status_decides_if_nothing_else_does() {
    for provider in ALL {
        for body in [
            "",
            "{}",
            "null",
            "<error>",
            "{\"error\"",
            "\u{0}",
            r#"{"error": {}}"#,
        ] {
            for (status, expected) in [
                (200, Kind::Success),
                (204, Kind::Success),
                (307, Kind::Permanent),
                (400, Kind::Permanent),
                (401, Kind::Unauthorized),
                (402, Kind::Exhausted),
                (403, Kind::Unauthorized),
                (404, Kind::Permanent),
                (408, Kind::Transient),
                (409, Kind::Busy),
                (413, Kind::Permanent),
                (422, Kind::Permanent),
                (425, Kind::Busy),
                (429, Kind::Throttled),
                (500, Kind::Transient),
                (501, Kind::Permanent),
                (502, Kind::Transient),
                (503, Kind::Transient),
                (504, Kind::Transient),
                (505, Kind::Permanent),
                (520, Kind::Transient),
                (529, Kind::Transient),
            ] {
                assert_eq!(kind(provider, status, body), expected, "{status} {body}");
            }
        }
    }
}

/// The server is elsewhere, or something else answered: a proxy, a login page.
#[test]
fn a_redirect_or_an_upgrade_is_a_permanent_failure_that_says_where_it_leads() {
    for provider in ALL {
        for status in [101, 300, 301, 302, 303, 304, 307, 308] {
            let redirect = [("location", "https://example.org/login?token=secret")];
            let judged = judge(provider, status, &redirect, "");
            assert_eq!(judged.outcome().kind(), Kind::Permanent, "{status}");
            assert_eq!(judged.reason(), Some(Reason::InvalidRequest), "{status}");
            let message = (status != 101).then_some("redirected to https://example.org/login");
            assert_eq!(judged.message(), message, "{status}");
        }
        let secret = judge(provider, 302, &[("location", "https://user:secret@example.org")], "");
        assert_eq!(secret.message(), None);
    }
}

#[test]
fn a_code_outranks_the_status() {
    for provider in ALL {
        assert_eq!(kind(provider, 500, &code("context_length_exceeded")), Kind::Permanent);
        assert_eq!(kind(provider, 429, &code("server_is_overloaded")), Kind::Transient);
        assert_eq!(kind(provider, 400, &code("rate_limit_exceeded")), Kind::Throttled);
        assert_eq!(kind(provider, 403, &code("insufficient_quota")), Kind::Exhausted);
        for exhausted in [
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "usage_limit_reached",
            "billing_not_active",
            "enforced_spend_limit_reached",
            "contract_spend_limit_reached",
            "linked_organization_spend_limit_reached",
        ] {
            assert_eq!(kind(provider, 429, &code(exhausted)), Kind::Exhausted, "{exhausted}");
        }
    }
}

#[test]
fn numeric_codes_are_read_where_a_vendor_has_them() {
    let cases: [(&str, u16, &str, Reason); 14] = [
        ("z.ai", 429, r#"{"error": {"code": "1302", "message": "m"}}"#, Reason::TooManyAtOnce),
        ("z.ai", 429, r#"{"error": {"code": "1304", "message": "m"}}"#, Reason::QuotaExhausted),
        ("z.ai", 429, r#"{"error": {"code": 1310, "message": "m"}}"#, Reason::QuotaExhausted),
        ("z.ai", 429, r#"{"error": {"code": "1311", "message": "m"}}"#, Reason::NotFound),
        ("z.ai", 429, r#"{"error": {"code": "1312", "message": "m"}}"#, Reason::Overloaded),
        ("Cloudflare", 408, r#"{"errors": [{"code": 3007, "message": "m"}]}"#, Reason::Timeout),
        ("Cloudflare", 400, r#"{"errors": [{"code": 5007, "message": "m"}]}"#, Reason::NotFound),
        (
            "MiniMax",
            200,
            r#"{"base_resp": {"status_code": 1041, "status_msg": "m"}}"#,
            Reason::TooManyAtOnce,
        ),
        (
            "MiniMax",
            200,
            r#"{"base_resp": {"status_code": 2056, "status_msg": "m"}}"#,
            Reason::QuotaExhausted,
        ),
        ("MiniMax", 200, r#"{"base_resp": {"status_code": 0}, "choices": []}"#, Reason::Answered),
        ("Alibaba", 400, r#"{"code": "Arrearage", "message": "m"}"#, Reason::QuotaExhausted),
        (
            "Alibaba",
            403,
            r#"{"code": "AllocationQuota.FreeTierOnly", "message": "m"}"#,
            Reason::QuotaExhausted,
        ),
        (
            "ByteDance",
            429,
            r#"{"error": {"code": "ServerOverloaded", "type": "TooManyRequests"}}"#,
            Reason::Overloaded,
        ),
        ("ByteDance", 403, r#"{"error": {"code": "AccountOverdueError"}}"#, Reason::QuotaExhausted),
    ];
    for (vendor, status, body, reason) in cases {
        assert_eq!(judge(&Generic, status, &[], body).reason(), Some(reason), "{vendor} {body}");
    }
    // A plan that lacks a model is no rate.
    let gate = judge(&Generic, 429, &[], r#"{"error": {"code": "1311", "message": "m"}}"#).outcome();
    assert_eq!((gate.kind(), gate.scope()), (Kind::Permanent, Scope::Request));
    for waf in ["cf-mitigated", "x-amzn-waf-action"] {
        let edge = judge(&Generic, 403, &[(waf, "challenge")], "");
        assert_eq!(edge.outcome().kind(), Kind::Transient, "{waf}");
    }
}

#[test]
fn a_broad_code_does_not_outrank_the_status() {
    for (status, wide, expected) in [
        (429, "invalid_request_error", Kind::Throttled),
        (503, "invalid_request_error", Kind::Transient),
        (400, "server_error", Kind::Permanent),
        (404, "api_error", Kind::Permanent),
    ] {
        let body = json!({"error": {"type": wide, "message": "m"}}).to_string();
        for provider in ALL {
            assert_eq!(kind(provider, status, &body), expected, "{status} {wide}");
        }
    }
}

#[test]
fn the_status_says_what_slow_down_is_about() {
    for provider in ALL {
        assert_eq!(kind(provider, 429, &code("slow_down")), Kind::Throttled);
        assert_eq!(kind(provider, 503, &code("slow_down")), Kind::Transient);
        assert_eq!(kind(provider, 200, &code("slow_down")), Kind::Throttled);
    }
}

#[test]
fn a_code_about_an_exhausted_account_outranks_other_codes() {
    let body = r#"{"error": {"type": "insufficient_quota", "code": "rate_limit_exceeded"}}"#;
    assert_eq!(kind(&OpenAi, 429, body), Kind::Exhausted);
    let body = r#"{"type": "error", "error": {"type": "rate_limit_error",
        "details": {"error_code": "ramp_limit_exceeded"}}}"#;
    assert_eq!(kind(&Anthropic, 429, body), Kind::Throttled);
    let body = r#"{"type": "error", "error": {"type": "billing_error", "message": "m"}}"#;
    assert_eq!(kind(&Anthropic, 402, body), Kind::Exhausted);
}

#[test]
fn a_request_above_the_limit_is_permanent_even_with_a_delay() {
    let message = |limit, used, requested| {
        let text = format!(
            "Request too large for gpt-4o on tokens per min (TPM): \
             Limit {limit}, Used {used}, Requested {requested}. Please try again in 9s."
        );
        json!({"error": {"message": text, "code": "rate_limit_exceeded"}}).to_string()
    };
    for provider in ALL {
        let too_large = judge(provider, 429, &[("x-should-retry", "true")], &message(30_000, 0, 31_538));
        assert_eq!(too_large.outcome().kind(), Kind::Permanent);
        assert_eq!(too_large.outcome().scope(), Scope::Request);
        assert_eq!(too_large.outcome().retry_after(), Some(Duration::from_secs(9)));
        assert_eq!(too_large.reason(), Some(Reason::RequestTooLarge));
        assert_eq!(kind(provider, 429, &message(30_000, 29_000, 30_000)), Kind::Throttled);
    }
}

#[test]
fn text_decides_nothing_else() {
    let body = r#"{"error": {"message": "insufficient_quota 401 overloaded_error invalid_api_key"}}"#;
    for provider in ALL {
        assert_eq!(kind(provider, 400, body), Kind::Permanent);
        assert_eq!(kind(provider, 429, body), Kind::Throttled);
    }
}

#[test]
fn x_should_retry_false_outranks_everything() {
    let no = [("x-should-retry", "false")];
    for provider in ALL {
        for status in [408, 409, 429, 500, 503, 529] {
            let outcome = judge(provider, status, &no, "").outcome();
            assert!(!outcome.is_retryable(), "{status}");
            assert_eq!(outcome.kind(), judge(provider, status, &[], "").outcome().kind());
        }
    }
}

#[test]
fn x_should_retry_true_is_ignored_for_accounts_and_credentials() {
    let yes = [("x-should-retry", "true")];
    for provider in ALL {
        let upgraded = judge(provider, 400, &yes, "{}").outcome();
        assert_eq!((upgraded.kind(), upgraded.scope()), (Kind::Busy, Scope::Request));
        assert!(!judge(provider, 401, &yes, "").outcome().is_retryable());
        assert!(!judge(provider, 429, &yes, &code("insufficient_quota")).outcome().is_retryable());
        assert_eq!(judge(provider, 503, &yes, "").outcome().kind(), Kind::Transient);
    }
}

#[test]
fn hints_have_an_order() {
    let body = r#"{"error": {"code": "rate_limit_exceeded", "message": "Please try again in 5s.",
        "resets_in_seconds": 4}}"#;
    let hint = |headers: &[(&str, &str)], body: &str| {
        judge(&Generic, 429, headers, body).outcome().retry_after().map(|hint| hint.as_secs())
    };
    let reset = [
        ("anthropic-ratelimit-requests-remaining", "0"),
        ("anthropic-ratelimit-requests-reset", "2023-09-29T16:26:40Z"),
    ];
    assert_eq!(
        hint(
            &[
                ("retry-after-ms", "1000"),
                ("retry-after", "2"),
                reset[0],
                reset[1]
            ],
            body
        ),
        Some(1)
    );
    assert_eq!(hint(&[("retry-after", "2"), reset[0], reset[1]], body), Some(2));
    assert_eq!(hint(&[("retry-after", "soon"), reset[0], reset[1]], body), Some(3));
    assert_eq!(hint(&[], body), Some(4));
    assert_eq!(hint(&[], &body.replace("resets_in_seconds", "x")), Some(5));
    assert_eq!(hint(&[], r#"{"error": {"resets_at": 1696004803}}"#), Some(6));
    assert_eq!(hint(&[("x-ratelimit-reset-tokens", "6m0s")], "{}"), None);
}

#[test]
fn a_reset_is_a_hint_only_for_throttled_requests() {
    let used_up = |dimension: &str, status| {
        let (remaining, reset) = (format!("{dimension}-remaining"), format!("{dimension}-reset"));
        let headers = [
            (remaining.as_str(), "0"),
            (reset.as_str(), "2023-09-29T16:26:40Z"),
        ];
        judge(&Anthropic, status, &headers, "").outcome().retry_after().is_some()
    };
    for dimension in ["anthropic-ratelimit-output-tokens", "anthropic-fast-input-tokens"] {
        assert!(used_up(dimension, 429));
        assert!(!used_up(dimension, 529), "an overload has nothing to do with our own limits");
        assert!(!used_up(dimension, 400));
    }
    assert!(!used_up("anthropic-priority-input-tokens", 429));
}

#[test]
fn a_long_hint_is_returned_as_it_is() {
    for provider in ALL {
        let outcome = judge(provider, 429, &[("retry-after", "86400")], "").outcome();
        assert_eq!(outcome.kind(), Kind::Throttled);
        assert_eq!(outcome.retry_after(), Some(Duration::from_hours(24)));
    }
}

#[test]
fn bodies_come_in_many_shapes() {
    for body in [
        r#"{"error": {"code": "insufficient_quota", "message": "why"}}"#,
        r#"{"error": {"type": "insufficient_quota", "code": null, "message": "why"}}"#,
        r#"{"error": "why", "code": "insufficient_quota"}"#,
        r#"{"error": "insufficient_quota", "message": "why"}"#,
        r#"{"detail": "why", "code": "insufficient_quota"}"#,
        r#"{"detail": [{"loc": ["body"], "msg": "why"}], "type": "insufficient_quota"}"#,
        r#"{"type": "error", "error": {"type": "insufficient_quota", "message": "why"}}"#,
        r#"{"code": "insufficient_quota", "message": "why", "type": "x"}"#,
        r#"{"object": "error", "message": "why", "type": "INSUFFICIENT_QUOTA", "code": 429}"#,
        r#"[{"error": {"code": "insufficient_quota", "message": "why"}}]"#,
    ] {
        for provider in ALL {
            let judged = judge(provider, 429, &[], body);
            assert_eq!(judged.reason(), Some(Reason::QuotaExhausted), "{body}");
            assert_eq!(judged.message(), Some("why"), "{body}");
        }
    }
    assert_eq!(judge(&Generic, 503, &[], r#"{"error": "why"}"#).message(), Some("why"));
    assert_eq!(judge(&Generic, 503, &[], " upstream gone\n").message(), Some("upstream gone"));
    assert_eq!(judge(&Generic, 503, &[], "<html><body>").message(), None);
}

#[test]
fn an_error_in_a_200_is_judged_as_that_error() {
    for (body, expected) in [
        (r#"{"error": {"code": 502, "message": "m"}}"#, Kind::Transient),
        (r#"{"error": {"code": 429, "message": "m"}}"#, Kind::Throttled),
        (r#"{"error": {"code": "400", "message": "m"}}"#, Kind::Permanent),
        (r#"{"error": {"type": "invalid_request_error"}}"#, Kind::Permanent),
        (r#"{"error": {"message": "m"}}"#, Kind::Transient),
        (r#"{"type": "error", "error": {"type": "overloaded_error"}}"#, Kind::Transient),
        (
            r#"{"object": "response", "status": "failed", "error": {"code": "insufficient_quota"}}"#,
            Kind::Exhausted,
        ),
        (r#"{"choices": [{"finish_reason": "error", "error": {"code": 429}}]}"#, Kind::Throttled),
        (r#"{"object": "response", "status": "completed", "error": null}"#, Kind::Success),
        (r#"{"choices": [], "error": {}}"#, Kind::Success),
        (
            r#"{"choices": [{"message": {"content": "{\"error\": {\"code\": 502}}"}}]}"#,
            Kind::Success,
        ),
        (r#"{"error": {"code": 5"#, Kind::Success),
    ] {
        for provider in ALL {
            assert_eq!(kind(provider, 200, body), expected, "{body}");
        }
    }
}
