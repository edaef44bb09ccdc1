//! Errors that say several things: which one decides.

use aplomb_core::{Kind, Reason, Scope};

use crate::support::{judged, stream};

const GENERIC: &str = "https://gateway.example.org";
const OPENROUTER: &str = "https://openrouter.ai/api/v1";

/// `error_type` repeats the status; the fields beside it say that this 402 passes.
#[test]
fn openrouters_in_flight_budget_is_retryable_beside_the_error_type_of_its_402() {
    for metadata in [
        r#"{"error_type": "payment_required", "limit_source": "openrouter_in_flight_budget",
            "reason": "in_flight_budget_exhausted"}"#,
        r#"{"error_type": "payment_required", "limit_source": "openrouter_in_flight_budget"}"#,
        r#"{"error_type": "payment_required", "reason": "in_flight_budget_exhausted"}"#,
    ] {
        let body = format!(r#"{{"error": {{"code": 402, "message": "m", "metadata": {metadata}}}}}"#);
        for url in [OPENROUTER, GENERIC] {
            let found = judged(url, 402, &[("retry-after", "3")], &body);
            assert_eq!(found, (Reason::TooManyAtOnce, Kind::Throttled, Scope::Account, Some(3)), "{body}");
        }
    }
    for source in ["openrouter_credits", "openrouter_key_limit"] {
        let body = format!(
            r#"{{"error": {{"code": 402, "message": "m", "metadata": {{"error_type": "payment_required",
                "limit_source": "{source}"}}}}}}"#
        );
        assert_eq!(judged(OPENROUTER, 402, &[], &body).1, Kind::Exhausted, "{source}");
    }
}

/// In a stream or a 200 there is no status, and the type is too broad to decide.
#[test]
fn mistrals_capacity_without_a_status_is_not_an_invalid_request() {
    for url in ["https://api.mistral.ai/v1", GENERIC] {
        for code in ["null", "3505", "\"3505\""] {
            let body = format!(
                "{{\"object\": \"error\", \"message\": \"Service tier capacity exceeded for this model.\", \
                 \"type\": \"invalid_request_error\", \"param\": null, \"code\": {code}}}"
            );
            let (_, end) = stream(url, &format!("data: {body}\n\n"));
            assert_eq!(end.classification().reason(), Some(Reason::Overloaded), "{url} {code}");
            let json = [("content-type", "application/json")];
            assert_eq!(judged(url, 200, &json, &body).0, Reason::Overloaded, "{url} {code}");
        }
        // A prompt that is repeated in a message decides nothing.
        let body =
            r#"{"message": "unknown role: service tier capacity exceeded", "type": "invalid_request_error"}"#;
        assert_eq!(judged(url, 400, &[], body).1, Kind::Permanent, "{url}");
    }
}

#[test]
fn a_numeric_code_counts_as_much_as_a_string() {
    for (code, reason) in [
        (1_300, Reason::RateLimited),
        (3_505, Reason::Overloaded),
        (1_308, Reason::QuotaExhausted),
    ] {
        for code in [code.to_string(), format!("\"{code}\"")] {
            let error = format!("{{\"error\": {{\"message\": \"m\", \"code\": {code}}}}}");
            let (_, end) = stream(GENERIC, &format!("data: {error}\n\n"));
            assert_eq!(end.classification().reason(), Some(reason), "{code}");
            assert_eq!(judged(GENERIC, 429, &[], &error).0, reason, "{code}");
        }
    }
}

/// Google's own client treats a 499 like a 429.
#[test]
fn a_quota_per_day_is_terminal_with_a_499_too() {
    let body = |quota: &str| {
        format!(
            r#"{{"error": {{"code": 499, "status": "RESOURCE_EXHAUSTED", "message": "m", "details": [
            {{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{{"quotaId": "{quota}"}}]}},
            {{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"}}]}}}}"#
        )
    };
    for url in ["https://generativelanguage.googleapis.com/v1beta", GENERIC] {
        let day = body("GenerateRequestsPerDayPerProjectPerModel-FreeTier");
        let minute = body("GenerateRequestsPerMinutePerProjectPerModel-FreeTier");
        for status in [499, 429] {
            let found = judged(url, status, &[], &day);
            assert_eq!(found, (Reason::QuotaExhausted, Kind::Exhausted, Scope::Account, Some(36)), "{url}");
            let found = judged(url, status, &[], &minute);
            assert_eq!(found, (Reason::RateLimited, Kind::Throttled, Scope::Account, Some(36)), "{url}");
        }
        // A cancelled request is not about a quota.
        let cancelled = r#"{"error": {"code": 499, "status": "CANCELLED", "message": "m"}}"#;
        assert_ne!(judged(url, 499, &[], cancelled).1, Kind::Throttled, "{url}");
    }
}

#[test]
fn an_exhausted_month_at_mistral_is_final() {
    let body =
        r#"{"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"}"#;
    for url in ["https://api.mistral.ai/v1", GENERIC] {
        for name in [
            "x-ratelimit-remaining-tokens-month",
            "x-ratelimitbysize-remaining-month",
        ] {
            for (left, kind) in [
                ("0", Kind::Exhausted),
                ("10", Kind::Throttled),
                ("", Kind::Throttled),
            ] {
                let headers = [(name, left), ("x-ratelimit-remaining-tokens-minute", "0")];
                assert_eq!(judged(url, 429, &headers, body).1, kind, "{url} {name} {left}");
            }
        }
        // It says nothing about other failures.
        let headers = [("x-ratelimit-remaining-tokens-month", "0")];
        assert_eq!(judged(url, 500, &headers, "{}").1, Kind::Transient, "{url}");
    }
}

#[test]
fn headers_that_a_gateway_forwards_decide_too() {
    let body = r#"{"error": {"message": "m", "type": "rate_limit_error", "code": "429"}}"#;
    let rejected = [("llm_provider-anthropic-ratelimit-unified-status", "rejected")];
    let month = [("llm_provider-x-ratelimit-remaining-tokens-month", "0")];
    let aws = [("llm_provider-x-amzn-errortype", "ThrottlingException:http://internal.amazon.com/")];
    for url in [GENERIC, "https://api.openai.com/v1"] {
        assert_eq!(judged(url, 429, &rejected, body).1, Kind::Exhausted, "{url}");
        assert_eq!(judged(url, 429, &month, body).1, Kind::Exhausted, "{url}");
        assert_eq!(judged(url, 400, &aws, "{}").1, Kind::Throttled, "{url}");
        // The gateway's own header takes precedence.
        let both = [aws[0], ("x-amzn-errortype", "ValidationException")];
        assert_eq!(judged(url, 400, &both, "{}").1, Kind::Permanent, "{url}");
    }
}

#[test]
fn an_error_whose_members_are_all_null_is_none() {
    let job =
        |error: &str| format!(r#"{{"object": "fine_tuning.job", "status": "running", "error": {error}}}"#);
    for url in ["https://api.openai.com/v1", GENERIC] {
        let none = job(r#"{"code": null, "message": null, "param": null}"#);
        assert_eq!(judged(url, 200, &[], &none).1, Kind::Success, "{url}");
        assert_eq!(judged(url, 200, &[], &job("{}")).1, Kind::Success, "{url}");
        for some in [
            r#"{"code": "x", "message": null}"#,
            r#"{"param": 7}"#,
            r#"{"x": {}}"#,
            "\"m\"",
        ] {
            assert_ne!(judged(url, 200, &[], &job(some)).1, Kind::Success, "{url} {some}");
        }
    }
}

#[test]
fn an_exhausted_day_keeps_the_reset_that_the_server_names() {
    let exhausted = |seconds| (Reason::QuotaExhausted, Kind::Exhausted, Scope::Account, Some(seconds));
    let headers = [
        ("x-ratelimit-limit", "50"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "1696032000000"),
    ];
    let body = r#"{"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-day"}}"#;
    assert_eq!(judged(OPENROUTER, 429, &headers, body), exhausted(27_203));
    // Cerebras names the window in its headers.
    let headers = [
        ("x-ratelimit-remaining-tokens-day", "0"),
        ("x-ratelimit-reset-tokens-day", "33011.5"),
    ];
    let body = r#"{"message": "Tokens per day limit exceeded - too many tokens processed."}"#;
    assert_eq!(judged("https://api.cerebras.ai/v1", 429, &headers, body), exhausted(33_011));
}

/// Spring sends one too.
#[test]
fn a_status_in_capitals_alone_is_not_googles_form() {
    let plain = r#"{"status": "TOO_MANY_REQUESTS", "message": "Too many requests"}"#;
    let found = judged(GENERIC, 429, &[], plain);
    assert_eq!(found, (Reason::RateLimited, Kind::Throttled, Scope::Account, None));
    let above = r#"{"error": {"status": "TOO_MANY_REQUESTS", "code": "rate_limit_exceeded",
        "message": "Limit 7000, Used 0, Requested 12903."}}"#;
    assert_eq!(judged(GENERIC, 429, &[], above).0, Reason::RequestTooLarge);
}

/// A proxy in front of the provider says nothing about the credential.
#[test]
fn a_401_or_403_of_an_edge_is_not_about_the_key() {
    for url in ["https://api.openai.com/v1", GENERIC] {
        for status in [401, 403] {
            let page = [("content-type", "text/html; charset=UTF-8")];
            assert_eq!(judged(url, status, &page, "<html>").1, Kind::Transient, "{url} {status}");
            let challenge = [page[0], ("www-authenticate", "Basic")];
            assert_eq!(judged(url, status, &challenge, "<html>").1, Kind::Unauthorized, "{url} {status}");
            assert_eq!(judged(url, status, &[], "").1, Kind::Unauthorized, "{url} {status}");
            // Some servers send JSON under this type.
            let body = r#"{"error": {"message": "no such key"}}"#;
            assert_eq!(judged(url, status, &page, body).1, Kind::Unauthorized, "{url} {status}");
        }
    }
}

#[test]
fn an_envelope_of_a_vendor_is_an_error_unless_it_says_otherwise() {
    for (code, kind) in [
        (0, Kind::Success),
        (1002, Kind::Throttled),
        (1004, Kind::Unauthorized),
        (1008, Kind::Exhausted),
        (1026, Kind::Permanent),
        (2013, Kind::Permanent),
        (1000, Kind::Transient),
    ] {
        let body =
            format!(r#"{{"choices": null, "base_resp": {{"status_code": {code}, "status_msg": "m"}}}}"#);
        assert_eq!(judged(GENERIC, 200, &[], &body).1, kind, "{code}");
    }
}

#[test]
fn a_limit_on_parallel_requests_names_no_delay() {
    let body =
        r#"{"error": {"message": "Rate limit exceeded. Limit type: max_parallel_requests.", "code": "429"}}"#;
    let at_once = (Reason::TooManyAtOnce, Kind::Throttled, Scope::Account, None);
    assert_eq!(judged(GENERIC, 429, &[("retry-after", "60")], body), at_once);
    let headers = [
        ("retry-after", "60"),
        ("rate_limit_type", "max_parallel_requests"),
    ];
    assert_eq!(judged("https://api.openai.com/v1", 429, &headers, "{}"), at_once);
    let rate = [("retry-after", "60"), ("rate_limit_type", "requests")];
    assert_eq!(judged(GENERIC, 429, &rate, "{}").3, Some(60));
}
