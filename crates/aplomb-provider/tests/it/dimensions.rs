//! Which limit a refusal is about.

use aplomb_core::Dimension;
use aplomb_provider::{Generic, Provider, detect};
use serde_json::{Value, json};

use crate::support::Response;

const OPENAI: &str = "https://api.openai.com/v1";
const AZURE: &str = "https://mine.openai.azure.com";
const ANTHROPIC: &str = "https://api.anthropic.com";
const GEMINI: &str = "https://generativelanguage.googleapis.com";

const REQUESTS: Option<Dimension> = Some(Dimension::REQUESTS);
const TOKENS: Option<Dimension> = Some(Dimension::TOKENS);
const INPUT: Option<Dimension> = Some(Dimension::INPUT_TOKENS);
const OUTPUT: Option<Dimension> = Some(Dimension::OUTPUT_TOKENS);

type Headers = &'static [(&'static str, &'static str)];

fn dimension(provider: &dyn Provider, status: u16, headers: Headers, body: &Value) -> Option<Dimension> {
    let response = Response::new(status, headers);
    provider.judge(&response.head(), body.to_string().as_bytes()).outcome().dimension()
}

fn message(message: &str) -> Value {
    json!({"error": {"message": message}})
}

fn quota(violations: &Value) -> Value {
    json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m",
        "details": [{"violations": violations}]}})
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_429_names_the_limit_it_is_about_where_the_provider_does() {
    for (url, headers, body, expected) in [
        (
            OPENAI,
            &[][..],
            json!({"error": {"type": "requests", "code": "rate_limit_exceeded", "message": "m"}}),
            REQUESTS,
        ),
        (
            OPENAI,
            // A refusal about requests may leave tokens, and the other way round.
            &[
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-remaining-tokens", "59499"),
            ],
            json!({"error": {"type": "tokens", "code": "rate_limit_exceeded", "message": "m"}}),
            TOKENS,
        ),
        (
            OPENAI,
            &[],
            message("Rate limit reached for gpt-4o in organization o on requests per day (RPD): Limit 200"),
            REQUESTS,
        ),
        (
            OPENAI,
            &[
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-remaining-tokens", "59499"),
            ],
            json!({}),
            REQUESTS,
        ),
        (
            OPENAI,
            &[
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-remaining-tokens", "0"),
            ],
            json!({}),
            None,
        ),
        (OPENAI, &[], message("Too many requests"), None),
        (
            AZURE,
            &[],
            message("Requests to the API have exceeded token rate limit of your tier."),
            TOKENS,
        ),
        (
            AZURE,
            &[],
            message("Requests to the API have exceeded call rate limit of your tier."),
            REQUESTS,
        ),
        (AZURE, &[("policy-id", "DeploymentRatelimit-Token")], json!({}), TOKENS),
        (
            ANTHROPIC,
            &[],
            message(
                "This request would exceed your organization's rate limit of 40,000 input tokens per minute",
            ),
            INPUT,
        ),
        (
            ANTHROPIC,
            &[
                ("anthropic-ratelimit-requests-remaining", "3"),
                ("anthropic-ratelimit-output-tokens-remaining", "0"),
                ("anthropic-priority-input-tokens-remaining", "0"),
            ],
            json!({"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}),
            OUTPUT,
        ),
        (
            GEMINI,
            &[],
            quota(&json!([{"quotaMetric":
                "generativelanguage.googleapis.com/generate_content_free_tier_input_token_count"}])),
            INPUT,
        ),
        (
            GEMINI,
            &[],
            quota(&json!([{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}])),
            REQUESTS,
        ),
        (
            GEMINI,
            &[],
            quota(&json!([{"quotaId": "GenerateContentInputTokensPerModelPerMinute-FreeTier"},
                {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}])),
            None,
        ),
        (
            GEMINI,
            &[],
            json!({"error": {"status": "RESOURCE_EXHAUSTED", "details": [{"reason": "RATE_LIMIT_EXCEEDED",
                "metadata": {"quota_limit": "GenerateRequestsPerMinutePerProject"}}]}}),
            REQUESTS,
        ),
        (
            "https://api.mistral.ai",
            &[],
            json!({"message": "Requests rate limit exceeded"}),
            REQUESTS,
        ),
        (
            "https://api.cohere.com",
            &[],
            json!({"message": "You are using a Trial key, which is limited to 40 API calls / minute."}),
            REQUESTS,
        ),
        (
            "https://api.groq.com",
            &[],
            message(
                "Rate limit reached for model m on tokens per minute (TPM): Limit 6000, Used 5, Requested 7",
            ),
            TOKENS,
        ),
        (
            "https://api.cerebras.ai",
            &[],
            json!({"message": "m", "type": "too_many_tokens_error", "code": "token_quota_exceeded"}),
            TOKENS,
        ),
        (
            "https://bedrock-runtime.us-east-1.amazonaws.com",
            &[("x-amzn-errortype", "ThrottlingException")],
            json!({"message": "Too many tokens, please wait before trying again."}),
            TOKENS,
        ),
        (
            "https://openrouter.ai/api/v1",
            &[],
            message("Rate limit exceeded: free-models-per-min."),
            REQUESTS,
        ),
        (
            "https://api.moonshot.ai",
            &[],
            message("request reached organization max RPM: 3, please try again after 1 seconds"),
            REQUESTS,
        ),
        (
            "https://litellm.example.org",
            &[("rate_limit_type", "tokens")],
            message("Rate limit exceeded."),
            TOKENS,
        ),
        (
            "https://litellm.example.org",
            &[("llm_provider-x-ratelimit-remaining-tokens", "0")],
            message("m"),
            TOKENS,
        ),
        ("https://example.org", &[("ratelimit", "\"default\";r=0;t=30")], json!({}), REQUESTS),
    ] {
        for provider in [detect(url), &Generic] {
            assert_eq!(dimension(provider, 429, headers, &body), expected, "{url} {body}");
        }
    }
}

#[test]
fn only_a_refusal_about_a_rate_or_a_quota_has_a_dimension() {
    let requests = json!({"error": {"type": "requests", "message": "on requests per min (RPM)"}});
    let zero: Headers = &[("x-ratelimit-remaining-requests", "0")];
    for status in [200, 400, 401, 500, 503] {
        assert_eq!(dimension(detect(OPENAI), status, zero, &json!({})), None, "{status}");
    }
    assert_eq!(dimension(detect(OPENAI), 503, zero, &requests), None);
    let at_once = json!({"error": {"code": "concurrency_limit_exceeded", "message": "m"}});
    assert_eq!(dimension(&Generic, 429, zero, &at_once), None);
    let day = quota(&json!([{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]));
    assert_eq!(dimension(detect(GEMINI), 429, &[], &day), REQUESTS);
}

/// In a stream there are no headers and no status.
#[test]
fn an_error_in_a_stream_names_its_limit_too() {
    let body = "data: {\"error\": {\"type\": \"tokens\", \"code\": \"rate_limit_exceeded\"}}\n\n";
    let (_, end) = crate::support::stream(OPENAI, body);
    assert_eq!(end.classification().outcome().dimension(), TOKENS);
}
