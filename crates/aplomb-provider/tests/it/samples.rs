//! Responses that were seen, documented or found in source code, with the expected judgement.

use std::time::{Duration, SystemTime};

use aplomb_core::{Outcome, Scope, WallClock};
use aplomb_provider::{
    Anthropic, AzureOpenAi, Bedrock, Cerebras, Cohere, DeepSeek, Fireworks, Gemini, Generic, Groq,
    HuggingFace, LiteLlm, LlamaCpp, LlmEngine, Mistral, Ollama, OpenAi, OpenRouter, Provider, StreamEnd,
    StreamEvent, Together, VertexAi, Vllm, XAi, detect,
};
use serde_json::Value;

use crate::support::{self, Response};

/// The longest delay that the samples count as retryable.
const CAP: Duration = Duration::from_secs(120);

/// Samples that only their own provider judges right: the scope of a 409 at OpenAI, and a 412 at Fireworks.
const OF_ITS_OWN: &[&str] = &["openai: lock timeout 409", "fireworks: 412 suspended"];

/// The providers, with a URL of each.
const PROVIDERS: &[(&str, &dyn Provider, &str)] = &[
    ("openai", &OpenAi, "https://api.openai.com/v1"),
    ("azure-openai", &AzureOpenAi, "https://mine.openai.azure.com/openai"),
    ("anthropic", &Anthropic, "https://api.anthropic.com"),
    ("gemini", &Gemini, "https://generativelanguage.googleapis.com/v1beta"),
    ("vertex-ai", &VertexAi, "https://europe-west4-aiplatform.googleapis.com"),
    ("bedrock", &Bedrock, "https://bedrock-runtime.us-east-1.amazonaws.com"),
    ("mistral", &Mistral, "https://api.mistral.ai/v1"),
    ("cohere", &Cohere, "https://api.cohere.com/v2"),
    ("groq", &Groq, "https://api.groq.com/openai/v1"),
    ("together", &Together, "https://api.together.xyz/v1"),
    ("fireworks", &Fireworks, "https://api.fireworks.ai/inference/v1"),
    ("openrouter", &OpenRouter, "https://openrouter.ai/api/v1"),
    ("deepseek", &DeepSeek, "https://api.deepseek.com"),
    ("xai", &XAi, "https://api.x.ai/v1"),
    ("huggingface", &HuggingFace, "https://router.huggingface.co/v1"),
    ("scale-llm-engine", &LlmEngine, "https://llm-engine.scale.com"),
    ("ollama", &Ollama, "http://localhost:11434"),
    ("llama.cpp", &LlamaCpp, "http://localhost:8080"),
    ("vllm", &Vllm, "http://localhost:8000"),
    ("cerebras", &Cerebras, "https://api.cerebras.ai/v1"),
    ("moonshot", &Generic, "https://api.moonshot.ai/v1"),
    ("meta-llama-api", &Generic, "https://api.llama.com/v1"),
    ("ietf", &Generic, "https://example.org"),
    ("gateway", &Generic, "https://gateway.example.org"),
];

fn samples() -> Vec<Value> {
    serde_json::from_str(include_str!("../data/provider-samples.json")).unwrap()
}

/// The bodies of all samples.
pub(crate) fn bodies() -> Vec<String> {
    samples().iter().map(body).collect()
}

fn body(sample: &Value) -> String {
    match &sample["body"] {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn name(sample: &Value) -> String {
    format!("{}: {}", text(&sample["provider"]), text(&sample["case"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn response_of(sample: &Value) -> Response {
    let headers = sample["headers"].as_object().unwrap();
    let headers = headers.iter().map(|(name, value)| (name.as_str(), text(value)));
    let status = u16::try_from(sample["status"].as_u64().unwrap()).unwrap();
    let mut response = Response::new(status, &headers.collect::<Vec<_>>());
    if let Some(now) = sample["now_unix"].as_u64() {
        response.clock = WallClock::from_fn(move || SystemTime::UNIX_EPOCH + Duration::from_secs(now));
    }
    response
}

/// Judges a sample as a caller would: whether to retry, its scope and its delay.
fn judge(provider: &dyn Provider, sample: &Value) -> (bool, &'static str, Option<f64>) {
    let response = response_of(sample);
    let head = response.head();
    let body = body(sample);
    let is_stream = response
        .headers
        .get("content-type")
        .is_some_and(|value| value.to_str().unwrap().starts_with("text/event-stream"));

    let (outcome, had_content): (Outcome, bool) = if is_stream {
        let (events, end) = support::read(provider.stream(&head), [body.as_bytes()]);
        (end.classification().outcome(), events.iter().any(StreamEvent::is_content))
    } else {
        let outcome = match provider.ending(&head, body.as_bytes()) {
            // A complete answer may still ask the account to slow down.
            StreamEnd::Complete => provider.judge(&head, body.as_bytes()).outcome(),
            end => end.classification().outcome(),
        };
        (outcome, false)
    };
    let delay = outcome.retry_after();
    let retryable = outcome.is_retryable() && !had_content && delay.is_none_or(|delay| delay <= CAP);
    let scope = match outcome.scope() {
        Scope::Request => "request",
        Scope::Account => "account",
        Scope::Server => "server",
        _ => "?",
    };
    (retryable, scope, delay.map(|delay| delay.as_secs_f64()))
}

fn expected(sample: &Value) -> (bool, &str, Option<f64>) {
    let expected = &sample["expected"];
    (
        expected["retryable"].as_bool().unwrap(),
        text(&expected["scope"]),
        expected["delay_s"].as_f64(),
    )
}

/// The provider of a sample, and its URL.
fn provider_of(sample: &Value) -> (&'static dyn Provider, &'static str) {
    let name = text(&sample["provider"]);
    let known = PROVIDERS.iter().find(|(known, ..)| *known == name);
    known.map(|&(_, provider, url)| (provider, url)).unwrap()
}

#[test]
fn every_sample_is_judged_right_by_its_own_provider() {
    let samples = samples();
    assert_eq!(samples.len(), 94);
    for sample in samples {
        let (provider, _) = provider_of(&sample);
        assert_eq!(judge(provider, &sample), expected(&sample), "{}", name(&sample));
    }
}

#[test]
fn every_sample_is_judged_right_by_the_provider_at_its_host() {
    for sample in samples() {
        let (_, url) = provider_of(&sample);
        assert_eq!(judge(detect(url), &sample), expected(&sample), "{}", name(&sample));
    }
}

/// In both directions: the listed samples must be judged wrong.
#[test]
fn generic_providers_judge_all_other_samples_right() {
    for gateway in [&Generic as &dyn Provider, &LiteLlm] {
        let wrong = samples()
            .iter()
            .filter(|sample| judge(gateway, sample) != expected(sample))
            .map(name)
            .collect::<Vec<_>>();
        assert_eq!(wrong, OF_ITS_OWN, "{}", gateway.name());
    }
}

#[test]
fn headers_that_a_gateway_forwards_are_read() {
    for mut sample in samples() {
        let headers = sample["headers"].as_object().unwrap();
        let passed_on = headers.iter().map(|(name, value)| {
            // These are the gateway's own.
            let own = [
                "content-type",
                "date",
                "x-should-retry",
                "x-amzn-errortype",
                "x-ratelimit-over-limit",
                "anthropic-ratelimit-unified-status",
            ];
            let is_own = own.contains(&name.to_ascii_lowercase().as_str());
            let name = if is_own {
                name.clone()
            } else {
                format!("llm_provider-{name}")
            };
            (name, value.clone())
        });
        sample["headers"] = passed_on.collect();
        let (provider, _) = provider_of(&sample);
        assert_eq!(judge(provider, &sample), expected(&sample), "{}", name(&sample));
    }
}

#[test]
fn limits_are_read_as_the_samples_say() {
    let mut told = 0;
    for sample in samples() {
        let Some(parsed) = sample["parsed"].as_object() else {
            continue;
        };
        let (provider, _) = provider_of(&sample);
        let response = response_of(&sample);
        let limits = provider.limits(&response.head());
        let said = parsed.iter().filter(|(_, limit)| !limit.is_null());
        assert_eq!(limits.len(), said.clone().count(), "{}", name(&sample));
        for (dimension, limit) in said {
            let reading = limits.iter().find(|reading| reading.dimension().name() == dimension).unwrap();
            assert_eq!(reading.limit(), limit["limit"].as_u64());
            assert_eq!(reading.remaining(), limit["remaining"].as_u64());
            assert_eq!(reading.reset().map(|reset| reset.as_secs_f64()), limit["reset_s"].as_f64());
            told += 1;
        }
    }
    assert!(told > 0);
}
