//! Buffered answers and the same answers as streams are read alike.

use aplomb_core::Usage;
use aplomb_provider::{
    Anthropic, Bedrock, Cohere, Gemini, Generic, Ollama, OpenAi, Provider, StreamEnd, StreamEvent,
};
use proptest::prelude::*;

use crate::samples::bodies;
use crate::support::{self, Response};

const PROVIDERS: [&dyn Provider; 7] = [&OpenAi, &Anthropic, &Gemini, &Bedrock, &Cohere, &Ollama, &Generic];

/// Complete answers in all shapes.
const ANSWERS: [&str; 12] = [
    r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hi \"you\"\n"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}"#,
    r#"{"object":"response","error":null,"output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]}],"usage":{"input_tokens":9,"output_tokens":2}}"#,
    r#"{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"cache_read_input_tokens":5,"output_tokens":2}}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":2}}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}],"usageMetadata":{"promptTokenCount":9}}"#,
    r#"{"embeddings":[{"values":[0.5,-1e-3]}],"usageMetadata":{"promptTokenCount":9}}"#,
    r#"{"object":"list","data":[{"embedding":[0.1,2]}],"usage":{"prompt_tokens":9,"total_tokens":9}}"#,
    r#"{"model":"m","message":{"role":"assistant","content":"Hi"},"done":true,"prompt_eval_count":9,"eval_count":2}"#,
    r#"{"output":{"message":{"content":[{"text":"Hi"}]}},"stopReason":"end_turn","usage":{"inputTokens":9,"outputTokens":2}}"#,
    r#"{"message":{"role":"assistant","content":[{"type":"text","text":"Hi"}]},"usage":{"tokens":{"input_tokens":9.0,"output_tokens":2}}}"#,
    r#"{"error":{"code":"rate_limit_exceeded","message":"Please try again in 5s."}}"#,
    r#"{"choices":[{"finish_reason":"error","error":{"code":502,"message":"m"}}]}"#,
];

/// Checks that a buffered body and its pieces read alike.
fn agree(body: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let mut cuts = cuts.iter().map(|&cut| cut.min(body.len())).collect::<Vec<_>>();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    for headers in [
        &[("content-type", "application/json")][..],
        &[
            ("content-type", "application/json; charset=utf-8"),
            ("x-amzn-bedrock-input-token-count", "7"),
        ],
    ] {
        let response = Response::new(200, headers);
        let head = response.head();
        for provider in PROVIDERS {
            let chunks = cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]);
            let (events, end) = support::read(provider.stream(&head), chunks);
            prop_assert_eq!(&end, &provider.ending(&head, body), "{}", provider.name());
            let failed = matches!(end, StreamEnd::Failed(_));
            prop_assert_eq!(failed, !provider.judge(&head, body).outcome().is_success());
            if failed {
                // Of a failed answer only the failure counts.
                continue;
            }
            let used = events.iter().filter_map(|event| match event {
                StreamEvent::Usage(usage) => Some(*usage),
                _ => None,
            });
            prop_assert_eq!(used.reduce(Usage::updated_by), provider.usage(&head, body));
            prop_assert!(end == StreamEnd::Truncated || !events.is_empty());
        }
    }
    Ok(())
}

#[test]
fn answers_and_samples() {
    let samples = bodies();
    let bodies = ANSWERS.iter().map(|&body| body.to_owned()).chain(samples);
    let mut read = 0;
    for body in bodies.filter(|body| body.trim_start().starts_with('{')) {
        for cuts in [
            vec![],
            vec![1],
            vec![body.len() / 2, body.len() / 3],
            (0..body.len()).collect(),
        ] {
            agree(body.as_bytes(), &cuts).unwrap();
        }
        read += 1;
    }
    assert!(read > 50, "{read}");
}

proptest! {
    #[test]
    fn truncated_and_spoilt_answers(
        which in any::<prop::sample::Index>(),
        end in any::<prop::sample::Index>(),
        spoilt in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cuts in prop::collection::vec(0_usize..300, 0..5),
    ) {
        let mut body = which.get(&ANSWERS).as_bytes().to_vec();
        if let Some((at, byte)) = spoilt {
            let at = at.index(body.len() - 1) + 1;
            body[at] = byte;
        } else {
            body.truncate(end.index(body.len()) + 1);
        }
        agree(&body, &cuts)?;
    }
}
