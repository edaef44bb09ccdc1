//! Errors of each provider, beyond the samples.

mod settings;

use aplomb_core::{Kind, Reason, Scope};
use aplomb_provider::{Generic, OpenAi, Provider, detect};
use serde_json::{Value, json};

use crate::support::Response;

struct Case {
    url: &'static str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: Value,
}

fn case(url: &'static str, status: u16, body: Value) -> Case {
    Case { url, status, headers: &[], body }
}

impl Case {
    fn with(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }

    /// Judges it as the provider at the URL, and checks that the generic one agrees.
    fn judge(&self) -> (Reason, Kind, Scope, Option<f64>) {
        let judged = self.by(detect(self.url));
        let generic = self.by(&Generic);
        assert_eq!((judged.1, judged.3), (generic.1, generic.3), "{} {}", self.url, self.body);
        judged
    }

    fn by(&self, provider: &dyn Provider) -> (Reason, Kind, Scope, Option<f64>) {
        let response = Response::new(self.status, self.headers);
        let judged = provider.judge(&response.head(), self.body.to_string().as_bytes());
        let outcome = judged.outcome();
        let delay = outcome.retry_after().map(|delay| delay.as_secs_f64());
        (judged.reason().unwrap(), outcome.kind(), outcome.scope(), delay)
    }
}

const OPENAI: &str = "https://api.openai.com/v1";

const AZURE: &str = "https://mine.openai.azure.com";

const ANTHROPIC: &str = "https://api.anthropic.com";

const GEMINI: &str = "https://generativelanguage.googleapis.com";

const VERTEX: &str = "https://us-central1-aiplatform.googleapis.com";

const BEDROCK: &str = "https://bedrock-runtime.us-east-1.amazonaws.com";

const OPENROUTER: &str = "https://openrouter.ai/api/v1";

fn error(code: &str, message: &str) -> Value {
    json!({"error": {"code": code, "message": message}})
}

fn google(status: u16, name: &str, message: &str, details: &Value) -> Value {
    json!({"error": {"code": status, "status": name, "message": message, "details": details}})
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn errors_of_each_provider() {
    use Kind::{Busy, Exhausted, Permanent, Throttled, Transient, Unauthorized};
    use Reason::{
        Conflict, ContentFiltered, ContextTooLong, InvalidRequest, Overloaded, QuotaExhausted, RateLimited,
        RequestTooLarge, ServerError, Timeout,
    };
    use Scope::{Account, Request, Server};
    let day = json!([{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]);
    let reset = json!({"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-min", "metadata":
        {"headers": {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1696004810000"}}}});
    let z_ai = json!({"error": {"code": "1308",
        "message": "Usage limit reached for 5 hour. Your limit will reset at 2026-01-01 10:00:00"}});
    for (case, expected) in [
        (
            case(OPENAI, 429, error("organization_spend_limit_exceeded", "m")),
            (QuotaExhausted, Exhausted, Account, None),
        ),
        (case(OPENAI, 429, error("slow_down", "m")), (RateLimited, Throttled, Account, None)),
        (case(OPENAI, 503, error("slow_down", "m")), (Overloaded, Transient, Server, None)),
        (case(OPENAI, 429, error("flex_unavailable", "m")), (Overloaded, Transient, Server, None)),
        (
            case(OPENAI, 429, json!({"error": {"type": "usage_limit_reached", "resets_at": 1_696_004_803}})),
            (QuotaExhausted, Exhausted, Account, Some(6.0)),
        ),
        (
            case(
                AZURE,
                429,
                error(
                    "429",
                    "Requests to the ChatCompletions_Create Operation have exceeded token rate \
            limit of your current OpenAI S0 pricing tier. Please retry after 86400 seconds.",
                ),
            ),
            (RateLimited, Throttled, Account, Some(86_400.0)),
        ),
        (
            case(AZURE, 429, error("RateLimitReached", "Try again in 2 seconds.")).with(&[
                ("x-ratelimit-remaining-requests", "7"),
                ("x-ratelimit-remaining-tokens", "1014"),
            ]),
            (RateLimited, Throttled, Account, Some(2.0)),
        ),
        (
            case(
                AZURE,
                400,
                json!({"error": {"code": null, "message": "filtered",
            "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
            ),
            (ContentFiltered, Permanent, Request, None),
        ),
        (
            case(
                ANTHROPIC,
                400,
                json!({"type": "error", "error": {"type": "invalid_request_error",
            "message": "You have reached your specified API usage limits. You will regain access on 2026-12-01."}}),
            ),
            (QuotaExhausted, Exhausted, Account, None),
        ),
        (
            case(
                ANTHROPIC,
                400,
                json!({"type": "error", "error": {"type": "invalid_request_error",
            "message": "prompt is too long: 208310 tokens > 200000 maximum"}}),
            ),
            (ContextTooLong, Permanent, Request, None),
        ),
        (
            case(
                ANTHROPIC,
                429,
                json!({"type": "error", "error": {"type": "rate_limit_error",
            "details": {"error_code": "ramp_limit_exceeded"}}}),
            )
            .with(&[("retry-after", "30")]),
            (RateLimited, Throttled, Account, Some(30.0)),
        ),
        (
            case(GEMINI, 429, google(429, "RESOURCE_EXHAUSTED", "m", &day)),
            (QuotaExhausted, Exhausted, Account, None),
        ),
        (
            case(
                GEMINI,
                400,
                google(
                    400,
                    "INVALID_ARGUMENT",
                    "API key not valid.",
                    &json!([{"reason": "API_KEY_INVALID"}]),
                ),
            ),
            (Reason::Unauthorized, Unauthorized, Account, None),
        ),
        (
            case(
                GEMINI,
                429,
                google(
                    429,
                    "RESOURCE_EXHAUSTED",
                    "m",
                    &json!([{"reason": "INSUFFICIENT_G1_CREDITS_BALANCE"}]),
                ),
            ),
            (QuotaExhausted, Exhausted, Account, None),
        ),
        (
            case(
                GEMINI,
                429,
                google(
                    429,
                    "RESOURCE_EXHAUSTED",
                    "m",
                    &json!([{"reason": "MODEL_CAPACITY_EXHAUSTED"}, {"retryDelay": "9s"}]),
                ),
            ),
            (Overloaded, Transient, Server, Some(9.0)),
        ),
        (
            case(GEMINI, 504, google(504, "DEADLINE_EXCEEDED", "m", &json!([]))),
            (Timeout, Transient, Server, None),
        ),
        (
            case(
                VERTEX,
                429,
                json!([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message":
            "Resource exhausted. Please try again later.", "errors": [{"reason": "rateLimitExceeded"}]}}]),
            ),
            (Overloaded, Throttled, Server, None),
        ),
        (
            case(
                VERTEX,
                429,
                google(
                    429,
                    "RESOURCE_EXHAUSTED",
                    "Quota exceeded for aiplatform.googleapis.com/x with base model: m.",
                    &json!([]),
                ),
            ),
            (RateLimited, Throttled, Account, None),
        ),
        (
            case(
                BEDROCK,
                429,
                json!({"message": "Too many tokens per day, please wait before trying again."}),
            )
            .with(&[("x-amzn-errortype", "ThrottlingException")]),
            (QuotaExhausted, Exhausted, Account, None),
        ),
        (
            case(BEDROCK, 400, json!({"message": "Input is too long for requested model."}))
                .with(&[("x-amzn-errortype", "ValidationException:http://x/")]),
            (ContextTooLong, Permanent, Request, None),
        ),
        (
            case(BEDROCK, 500, json!({"__type": "com.amazon.coral.service#InternalServerException"})),
            (ServerError, Transient, Server, None),
        ),
        (
            case(BEDROCK, 400, json!({"message": "m"})).with(&[("x-amzn-errortype", "ConflictException")]),
            (InvalidRequest, Permanent, Request, None),
        ),
        (
            case(
                "https://api.mistral.ai",
                429,
                json!({"object": "error", "message": "Service tier capacity exceeded for this model.",
            "type": "invalid_request_error", "code": null}),
            ),
            (Overloaded, Transient, Server, None),
        ),
        (
            case("https://api.cohere.com", 429, json!({"message": "limited to 20 API calls / minute"})),
            (RateLimited, Throttled, Account, None),
        ),
        (
            case("https://api.cohere.com", 429, json!({"message": "m"}))
                .with(&[("x-ratelimit-reset", "1696004810")]),
            (RateLimited, Throttled, Account, Some(13.0)),
        ),
        (
            case("https://api.groq.com", 413, error("rate_limit_exceeded", "Limit 6000, Requested 6294")),
            (RequestTooLarge, Permanent, Request, None),
        ),
        (
            case(
                OPENROUTER,
                402,
                json!({"error": {"code": 402, "metadata": {"limit_source": "openrouter_credits"}}}),
            ),
            (QuotaExhausted, Exhausted, Account, None),
        ),
        (
            case(OPENROUTER, 429, error("429", "Rate limit exceeded: free-models-per-day")),
            (QuotaExhausted, Exhausted, Account, None),
        ),
        (case(OPENROUTER, 429, reset), (RateLimited, Throttled, Account, Some(13.0))),
        (
            case(
                "https://api.x.ai",
                429,
                json!({"code": "m", "error":
            "Your team has either used all available credits or reached its monthly spending limit."}),
            ),
            (QuotaExhausted, Exhausted, Account, None),
        ),
        (
            case(
                "https://api.cerebras.ai",
                429,
                json!({"message": "We're experiencing high traffic right now!",
            "type": "too_many_requests_error", "param": "queue", "code": "queue_exceeded"}),
            ),
            (Overloaded, Transient, Server, None),
        ),
        (
            case(
                "https://api.cerebras.ai",
                429,
                json!({"message": "Tokens per day limit exceeded - too many tokens processed.",
            "type": "too_many_tokens_error", "code": "token_quota_exceeded"}),
            ),
            (QuotaExhausted, Exhausted, Account, None),
        ),
        (
            case("https://api.cerebras.ai", 429, json!({"message": "m"})).with(&[
                ("x-ratelimit-remaining-tokens-minute", "0"),
                ("x-ratelimit-reset-tokens-minute", "11.5"),
            ]),
            (RateLimited, Throttled, Account, Some(11.5)),
        ),
        (
            case(
                "http://localhost:3000",
                429,
                json!({"error": "Model is overloaded", "error_type": "overloaded"}),
            ),
            (Overloaded, Transient, Server, None),
        ),
        (
            case(
                "https://llm.example.org",
                429,
                json!({"error": {"message": "No deployments available for selected model, \
            Try again in 5 seconds. Passed model=m", "type": "None", "code": "429"}}),
            ),
            (RateLimited, Throttled, Account, Some(5.0)),
        ),
        (
            case(
                "https://llm.example.org",
                400,
                json!({"error": {"message": "Budget has been exceeded!",
            "type": "budget_exceeded", "code": "400"}}),
            ),
            (QuotaExhausted, Exhausted, Account, None),
        ),
        (case("https://api.z.ai", 429, z_ai), (QuotaExhausted, Exhausted, Account, None)),
        (
            case(
                "https://example.org",
                503,
                json!({"type": "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"}),
            ),
            (Overloaded, Transient, Server, None),
        ),
        (case("https://example.org", 409, error("aborted", "m")), (Conflict, Busy, Request, None)),
    ] {
        assert_eq!(case.judge(), expected, "{} {} {}", case.url, case.status, case.body);
    }
}

/// A prompt that is repeated in an error message decides nothing.
#[test]
fn words_only_refine_what_the_status_says() {
    let words = "used all available credits, capacity exceeded, api calls / month, experiencing high demand, \
        too many tokens per day, free-models-per-day, credit balance is too low";
    for (status, kind) in [
        (404, Kind::Permanent),
        (413, Kind::Permanent),
        (500, Kind::Transient),
        (408, Kind::Transient),
    ] {
        let case = case(OPENAI, status, json!({"error": {"message": words}}));
        assert_eq!(case.judge().1, kind, "{status}");
    }
}

/// A server whose queue is full has not started on the request; other failures may come later.
#[test]
fn an_overloaded_server_has_not_processed_the_request() {
    let is_unprocessed = |status: u16, body: &str| {
        let outcome = OpenAi.judge(&Response::new(status, &[]).head(), body.as_bytes()).outcome();
        outcome.is_unprocessed()
    };
    for (status, body, expected) in [
        (503, "", true),
        (529, "", true),
        (429, "", true),
        (500, r#"{"error": {"type": "overloaded_error"}}"#, true),
        (200, r#"{"error": {"code": 503}}"#, true),
        (500, "", false),
        (502, "", false),
        (504, "", false),
        (408, "", false),
        (409, "", false),
        (503, r#"{"error": {"code": "timeout"}}"#, false),
    ] {
        assert_eq!(is_unprocessed(status, body), expected, "{status} {body}");
    }
}

/// The gateway refuses; forwarded headers count where it says nothing itself.
#[test]
fn a_gateways_own_headers_take_precedence() {
    let both = &[("retry-after", "5"), ("llm_provider-retry-after", "60")];
    let behind = &[("llm_provider-retry-after", "60")];
    for url in [OPENAI, "https://litellm.example.org"] {
        let asked = error("rate_limit_exceeded", "Try again in 9s.");
        assert_eq!(case(url, 429, asked.clone()).with(both).judge().3, Some(5.0));
        assert_eq!(case(url, 429, asked).with(behind).judge().3, Some(60.0));
    }
}
