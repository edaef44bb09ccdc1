//! No bytes cause a panic, and where they are split makes no difference.

use aplomb_provider::{
    Anthropic, AzureOpenAi, Bedrock, Cerebras, Cohere, DeepSeek, Fireworks, Gemini, Generic, Groq,
    HuggingFace, LiteLlm, LlamaCpp, LlmEngine, Mistral, Ollama, OpenAi, OpenRouter, Provider,
    TextGenerationInference, Together, VertexAi, Vllm, XAi,
};
use proptest::prelude::*;

use crate::support::{self, Response};

const ALL: &[&dyn Provider] = &[
    &OpenAi,
    &Anthropic,
    &AzureOpenAi,
    &Bedrock,
    &Cerebras,
    &Cohere,
    &DeepSeek,
    &Fireworks,
    &Gemini,
    &Groq,
    &HuggingFace,
    &LiteLlm,
    &LlamaCpp,
    &LlmEngine,
    &Mistral,
    &Ollama,
    &OpenRouter,
    &TextGenerationInference,
    &Together,
    &VertexAi,
    &Vllm,
    &XAi,
    &Generic,
];

/// The most lenient and the strictest ones.
const FEW: &[&dyn Provider] = &[&OpenAi, &Anthropic, &Gemini, &Generic];

/// Bytes that look like a stream, and some that do not.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => "(data: |event: |: ping| |\n|\n\n|\r|\r\n\r\n|\\[DONE\\]|error|response\\.completed|message_stop)"
            .prop_map(String::into_bytes),
        4 => json().prop_map(|json| format!("data: {json}\n\n").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// JSON of known words in all the wrong places.
fn json() -> impl Strategy<Value = String> {
    let words = [
        "error",
        "code",
        "type",
        "message",
        "details",
        "error_code",
        "choices",
        "delta",
        "content",
        "index",
        "finish_reason",
        "usage",
        "input_tokens",
        "prompt_tokens",
        "response",
        "status",
        "failed",
        "text",
        "message_start",
        "content_block_delta",
        "response.output_text.delta",
        "resets_at",
        "retry_after",
        "resets_in_seconds",
        "rate_limit_exceeded",
        "Limit 5, Requested 9. Try again in 9s",
        "detail",
        "output",
        "max_tokens",
        "messages",
        "n",
        "metadata",
        "errors",
        "retryDelay",
        "RESOURCE_EXHAUSTED",
        "violations",
        "quotaId",
        "quotaValue",
        "PerDay",
        "PerMinute",
        "reason",
        "headers",
        "x-ratelimit-reset",
        "Quota exceeded for metric, limit: 0",
        "candidates",
        "parts",
        "finishReason",
        "usageMetadata",
        "promptTokenCount",
        "thoughtsTokenCount",
        "totalTokenCount",
        "done",
        "token",
        "generated_text",
        "event_type",
        "stream-end",
        "content-delta",
        "contents",
        "inlineData",
        "mimeType",
        "data",
        "image_url",
        "url",
        "data:image/png;base64,",
        "source",
        "tools",
        "input",
    ];
    let word = prop::sample::select(words.to_vec());
    let leaf = prop_oneof![
        3 => word.clone().prop_map(|word| format!("{word:?}")),
        1 => any::<f64>().prop_map(|number| format!("{number:e}")),
        1 => "-?[1-9][0-9]{0,40}",
        1 => prop::sample::select(vec!["null", "true", "1e400", "429", "\"ß\""]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let field = (word.clone(), inner.clone()).prop_map(|(name, value)| format!("{name:?}: {value}"));
        prop_oneof![
            4 => prop::collection::vec(field, 0..6).prop_map(|fields| format!("{{{}}}", fields.join(", "))),
            1 => prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
        ]
    })
}

fn ask_everything(status: u16, content_type: &str, body: &[u8]) {
    let response = Response::new(status, &[("content-type", content_type)]);
    let head = response.head();
    for provider in FEW {
        let judged = provider.judge(&head, body);
        assert!(judged.message().is_none_or(|message| message.chars().count() <= 300));
        let _ = provider.usage(&head, body);
        let _ = provider.text(&head, body);
        let estimate = provider.estimate("/v1/chat/completions", body, None);
        let reserved = provider.accounting().reserved(&estimate);
        assert!(reserved.total() >= estimate.input());
        let end = provider.ending(&head, body);
        assert_eq!(end, provider.ending(&head, body));
    }
}

proptest! {
    #[test]
    fn any_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200), status in 200_u16..=599) {
        ask_everything(status, "application/json", &body);
        ask_everything(status, "text/event-stream", &body);
    }

    #[test]
    fn any_json_never_panics(body in json(), status in prop::sample::select(vec![200_u16, 400, 429, 503])) {
        ask_everything(status, "application/json", body.as_bytes());
    }

    #[test]
    fn where_a_stream_is_split_changes_nothing(
        bytes in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        split_anywhere(&[], &bytes, &cuts)?;
        split_anywhere(&[("content-type", "text/event-stream")], &bytes, &cuts)?;
    }

    #[test]
    fn where_a_list_or_lines_are_split_changes_nothing(
        values in prop::collection::vec(json(), 0..8),
        joint in prop::sample::select(vec![",", "\n", " , ", "", "]"]),
        brackets in prop::sample::select(vec![("", ""), ("[", "]"), ("[", ""), ("\n[", "]\n")]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let body = format!("{}{}{}", brackets.0, values.join(joint), brackets.1);
        split_anywhere(&[("content-type", "application/json")], body.as_bytes(), &cuts)?;
        split_anywhere(&[], body.as_bytes(), &cuts)?;
    }

    #[test]
    fn any_headers_never_panic(headers in prop::collection::vec((name(), value()), 0..12)) {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>();
        for status in [200, 429, 503] {
            let response = Response::new(status, &headers);
            for provider in ALL {
                prop_assert!(provider.limits(&response.head()).len() <= 100);
                let _ = provider.judge(&response.head(), b"{}");
            }
        }
    }
}

fn split_anywhere(
    headers: &[(&str, &str)],
    bytes: &[u8],
    cuts: &[prop::sample::Index],
) -> Result<(), TestCaseError> {
    let mut cuts = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect::<Vec<_>>();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let response = Response::new(200, headers);
    for provider in FEW {
        let chunks = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        let split = support::read(provider.stream(&response.head()), chunks);
        let whole = support::read(provider.stream(&response.head()), [bytes]);
        prop_assert_eq!(split, whole);
    }
    Ok(())
}

/// Names of known headers.
fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "retry-after",
        "retry-after-ms",
        "date",
        "ratelimit",
        "ratelimit-policy",
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
        "x-ratelimit-remaining-tokens-minute",
        "x-ratelimit-reset-tokens-minute",
        "x-rate-limit-reset-tokens",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
        "llm_provider-retry-after",
        "llm_provider-x-ratelimit-remaining-requests",
        "llm_provider-",
        "x-amzn-errortype",
        "x-amz-retry-after",
        "x-amzn-bedrock-input-token-count",
        "x-should-retry",
    ])
}

/// Meaningful and meaningless values.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[0-9]{0,40}(\\.[0-9]{0,10})?(ms|s|m|h)?",
        "\"[a-z]\";(r|q|w|t)=[0-9]{0,12}(, ?\"[a-z]\";(r|q|w|t)=-?[0-9]{0,12})*",
        "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](Z|[+-][0-9]{2}:[0-9]{2})",
        "[ -~]{0,20}",
    ]
}

#[test]
fn deep_nesting_is_an_error_like_any_other() {
    for open in ["[", "{\"error\":"] {
        let deep = open.repeat(200_000);
        ask_everything(200, "application/json", deep.as_bytes());
        ask_everything(429, "application/json", deep.as_bytes());
        ask_everything(200, "text/event-stream", format!("data: {deep}\n\n").as_bytes());
    }
}
