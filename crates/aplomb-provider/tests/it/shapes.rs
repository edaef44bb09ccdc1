//! Streams of other shapes than OpenAI's and Anthropic's.

use aplomb_core::{Kind, Usage};
use aplomb_provider::StreamEvent::{Content, Done, Error, Other, Usage as Used};
use aplomb_provider::{
    Bedrock, Cohere, Gemini, Generic, LlamaCpp, LlmEngine, Ollama, OpenAi, Provider, StreamEnd, StreamEvent,
    TextGenerationInference, VertexAi,
};

use crate::support::{self, Response};

const GEMINI: &str = r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true}]}}],"usageMetadata":{"promptTokenCount":9}}
{"candidates":[{"content":{"parts":[{"text":"Hello"}]},"index":0}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":1}}
{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":2,"totalTokenCount":11}}"#;

const OLLAMA: &str = r#"{"model":"m","message":{"role":"assistant","content":"Hel"},"done":false}
{"model":"m","message":{"role":"assistant","content":"lo"},"done":false}
{"model":"m","message":{"role":"assistant","content":""},"done":true,"prompt_eval_count":9,"eval_count":2}
"#;

const TGI: &str = r#"{"index":1,"token":{"id":1,"text":"Hel","special":false},"generated_text":null,"details":null}
{"index":2,"token":{"id":2,"text":"lo","special":false},"generated_text":null,"details":null}
{"index":3,"token":{"id":0,"text":"</s>","special":true},"generated_text":"Hello","details":{"generated_tokens":3}}"#;

const COHERE: &str = r#"{"type":"message-start","id":"x","delta":{"message":{"role":"assistant"}}}
{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}
{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Hello"}}}}
{"type":"content-end","index":0}
{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":1,"output_tokens":1},"tokens":{"input_tokens":9,"output_tokens":2}}}}"#;

const COHERE_1: &str = r#"{"is_finished":false,"event_type":"stream-start","generation_id":"x"}
{"is_finished":false,"event_type":"text-generation","text":"Hello"}
{"is_finished":true,"event_type":"stream-end","response":{"text":"Hello","meta":{"tokens":{"input_tokens":9,"output_tokens":2}}}}"#;

const LLM_ENGINE: &str = r#"{"request_id":"a","output":{"text":"Hel","finished":false,"num_prompt_tokens":9,"num_completion_tokens":1}}
{"request_id":"a","output":{"text":"lo","finished":true,"num_prompt_tokens":9,"num_completion_tokens":2}}"#;

fn used() -> Usage {
    Usage::unknown().with_input(9).with_output(2)
}

fn text(text: &str) -> StreamEvent<'_> {
    Content(Some(text.into()))
}

/// Lines as server-sent events.
fn events(lines: &str) -> String {
    format!("data: {}\n\n", lines.lines().collect::<Vec<_>>().join("\n\ndata: "))
}

/// Lines as one list.
fn list(lines: &str) -> String {
    format!("[{}]", lines.lines().collect::<Vec<_>>().join("\n,\r\n"))
}

fn read(provider: &dyn Provider, media_type: &str, body: &str) -> (Vec<StreamEvent<'static>>, StreamEnd) {
    let response = Response::new(200, &[("content-type", media_type)]);
    let whole = support::read(provider.stream(&response.head()), [body.as_bytes()]);
    for size in [1, 3, 100] {
        let split = support::read(provider.stream(&response.head()), body.as_bytes().chunks(size));
        assert_eq!(split, whole, "{size}");
    }
    whole
}

fn complete(provider: &dyn Provider, media_type: &str, body: &str, expected: &[StreamEvent<'static>]) {
    assert_eq!(read(provider, media_type, body), (expected.to_vec(), StreamEnd::Complete), "{body}");
    let response = Response::new(200, &[("content-type", media_type)]);
    let head = response.head();
    assert_eq!(provider.text(&head, body.as_bytes()).as_deref(), Some("Hello"), "{body}");
    assert_eq!(provider.ending(&head, body.as_bytes()), StreamEnd::Complete, "{body}");
    let usage = provider.usage(&head, body.as_bytes()).unwrap();
    assert_eq!(usage.output(), Some(2), "{body}");
}

#[test]
fn gemini_in_both_forms() {
    let first = Usage::unknown().with_input(9);
    let expected = [
        Content(None),
        Used(first),
        text("Hello"),
        Used(first.with_output(1)),
        Used(used().with_total(11)),
    ];
    for provider in [&Gemini as &dyn Provider, &VertexAi, &Generic] {
        complete(provider, "text/event-stream", &events(GEMINI), &expected);
        complete(provider, "application/json", &list(GEMINI), &expected);
        // Half a list is not an answer, nor is a list without its last chunk.
        let body = list(GEMINI);
        for cut in 0..body.len() {
            assert_eq!(read(provider, "application/json", &body[..cut]).1, StreamEnd::Truncated);
        }
        let lines = GEMINI.lines().take(2).collect::<Vec<_>>().join("\n");
        assert_eq!(read(provider, "application/json", &list(&lines)).1, StreamEnd::Truncated);
        assert_eq!(read(provider, "text/event-stream", &events(&lines)).1, StreamEnd::Truncated);
    }
    let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":9}}"#;
    assert_eq!(read(&Gemini, "text/event-stream", &events(blocked)).1, StreamEnd::Complete);
}

#[test]
fn an_error_may_be_an_element_of_a_list() {
    let error = r#"{"error":{"code":503,"status":"UNAVAILABLE","message":"The model is overloaded."}}"#;
    let first = GEMINI.lines().nth(1).unwrap();
    for (body, is_unbegun) in [(list(error), true), (list(&format!("{first}\n{error}")), false)] {
        let (events, end) = read(&VertexAi, "application/json", &body);
        let Some(Error(judged)) = events.last() else {
            panic!("{events:?}")
        };
        assert_eq!(judged.outcome().kind(), Kind::Transient);
        assert_eq!(judged.outcome().is_unprocessed(), is_unbegun);
        assert_eq!(end, StreamEnd::Failed(judged.clone()));
    }
}

#[test]
fn ollamas_lines() {
    let expected = [text("Hel"), text("lo"), Used(used())];
    for provider in [&Ollama as &dyn Provider, &Generic] {
        complete(provider, "application/x-ndjson", OLLAMA, &expected);
        let cut = OLLAMA.lines().take(2).collect::<Vec<_>>().join("\n");
        assert_eq!(read(provider, "application/x-ndjson", &cut).1, StreamEnd::Truncated);
        let failed = format!("{cut}\n{{\"error\":\"an error was encountered while running the model\"}}\n");
        let (events, end) = read(provider, "application/x-ndjson", &failed);
        assert!(matches!(events.last(), Some(Error(_))), "{events:?}");
        assert_eq!(end.classification().outcome().kind(), Kind::Transient);
        // A line that has lost its head.
        let damaged = OLLAMA.replacen("\n{\"", "\n", 1);
        assert_eq!(read(provider, "application/x-ndjson", &damaged).1, StreamEnd::Truncated, "{damaged}");
    }
}

#[test]
fn text_generation_inference() {
    let count = Usage::unknown().with_output(3);
    let expected = vec![text("Hel"), text("lo"), Used(count)];
    for provider in [&TextGenerationInference as &dyn Provider, &Generic] {
        let body = events(TGI);
        assert_eq!(read(provider, "text/event-stream", &body), (expected.clone(), StreamEnd::Complete));
        let cut = events(&TGI.lines().take(2).collect::<Vec<_>>().join("\n"));
        assert_eq!(read(provider, "text/event-stream", &cut).1, StreamEnd::Truncated);
    }
}

#[test]
fn scales_llm_engine() {
    let body = events(LLM_ENGINE);
    let first = Usage::unknown().with_input(9).with_output(1);
    let expected = [text("Hel"), Used(first), text("lo"), Used(used())];
    for provider in [&LlmEngine as &dyn Provider, &Generic] {
        complete(provider, "text/event-stream", &body, &expected);
        let cut = events(LLM_ENGINE.lines().next().unwrap());
        assert_eq!(read(provider, "text/event-stream", &cut).1, StreamEnd::Truncated);
        let whole =
            r#"{"request_id":"a","output":{"text":"Hello","num_prompt_tokens":9,"num_completion_tokens":2}}"#;
        complete(provider, "application/json", whole, &[Content(None), Used(used())]);
    }
}

#[test]
fn coheres_two_versions() {
    let expected = [Other, Other, text("Hello"), Other, Used(used()), Done];
    let first_version = [Other, text("Hello"), Used(used()), Done];
    for provider in [&Cohere as &dyn Provider, &Generic] {
        complete(provider, "text/event-stream", &events(COHERE), &expected);
        complete(provider, "application/stream+json", COHERE_1, &first_version);
        for (media_type, body) in [
            ("text/event-stream", events(&COHERE.lines().take(4).collect::<Vec<_>>().join("\n"))),
            ("application/stream+json", COHERE_1.lines().take(2).collect::<Vec<_>>().join("\n")),
        ] {
            assert_eq!(read(provider, media_type, &body).1, StreamEnd::Truncated, "{body}");
        }
    }
}

#[test]
fn without_a_media_type_the_first_byte_decides() {
    let response = Response::new(200, &[]);
    for (provider, body) in [
        (&Gemini as &dyn Provider, list(GEMINI)),
        (&Gemini, events(GEMINI)),
        (&Ollama, format!("\n\n{OLLAMA}")),
    ] {
        for size in [1, body.len()] {
            let (events, end) =
                support::read(provider.stream(&response.head()), body.as_bytes().chunks(size));
            assert!(events.iter().any(|event| matches!(event, Content(Some(_)))), "{events:?}");
            assert_eq!(end, StreamEnd::Complete);
        }
    }
    // A colon after white space does not start a comment, wherever it is split.
    let indented = b"\n  : x\n";
    let read = |size| support::read(OpenAi.stream(&response.head()), indented.chunks(size));
    assert_eq!(read(1), read(7));
    let (events, end) = support::read(OpenAi.stream(&response.head()), [&b" \n"[..]]);
    assert_eq!((events, end), (vec![], StreamEnd::Truncated));
}

#[test]
fn complete_answers_go_through_the_stream_reader() {
    for (provider, body) in [
        (
            &OpenAi as &dyn Provider,
            r#"{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
        ),
        (
            &OpenAi,
            r#"{"object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"Hello"}]}],"usage":{"input_tokens":9,"output_tokens":2}}"#,
        ),
        (
            &aplomb_provider::Anthropic,
            r#"{"type":"message","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":2}}"#,
        ),
        (
            &Gemini,
            r#"{"candidates":[{"content":{"parts":[{"text":"Hello"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":2}}"#,
        ),
        (
            &Bedrock,
            r#"{"output":{"message":{"role":"assistant","content":[{"text":"Hello"}]}},"stopReason":"end_turn","usage":{"inputTokens":9,"outputTokens":2}}"#,
        ),
        (&Ollama, r#"{"response":"Hello","done":true,"prompt_eval_count":9,"eval_count":2}"#),
    ] {
        for provider in [provider, &Generic] {
            complete(provider, "application/json", body, &[text("Hello"), Used(used())]);
            let cut = &body[..body.len() - 1];
            assert_eq!(read(provider, "application/json", cut).1, StreamEnd::Truncated);
        }
    }
    let cohere = r#"{"message":{"content":[{"type":"text","text":"Hello"}]},"usage":{"tokens":{"input_tokens":9,"output_tokens":2}}}"#;
    let json = Response::new(200, &[("content-type", "application/json")]);
    assert_eq!(Cohere.text(&json.head(), cohere.as_bytes()).as_deref(), Some("Hello"));
    assert_eq!(Cohere.usage(&json.head(), cohere.as_bytes()), Some(used()));
    // Embeddings and images are content too.
    let embeddings =
        r#"{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":9,"total_tokens":9}}"#;
    assert_eq!(read(&OpenAi, "application/json", embeddings).0.first(), Some(&Content(None)));
}

/// Titan reports its input at the top level, and its output in a list of results.
#[test]
fn bedrocks_headers_complete_the_usage_in_the_body() {
    let headers = [
        ("content-type", "application/json"),
        ("x-amzn-bedrock-input-token-count", "7"),
        ("x-amzn-bedrock-output-token-count", "2"),
    ];
    let response = Response::new(200, &headers);
    let body = br#"{"inputTextTokenCount": 9, "results": [{"tokenCount": 2, "outputText": "hi"}]}"#;
    for provider in [&Bedrock as &dyn Provider, &Generic] {
        assert_eq!(provider.usage(&response.head(), body), Some(used()));
        let (events, end) = support::read(provider.stream(&response.head()), [&body[..]]);
        let told = events.into_iter().rev().find(|event| matches!(event, Used(_)));
        assert_eq!((told, end), (Some(Used(used())), StreamEnd::Complete));
        // The body takes precedence, and the usage is reported once.
        let body = br#"{"usage": {"input_tokens": 9, "output_tokens": 2}}"#;
        assert_eq!(provider.usage(&response.head(), body), Some(used()));
        let (events, _) = support::read(provider.stream(&response.head()), [&body[..]]);
        assert_eq!(events, [Content(None), Used(used())]);
    }
}

/// llama.cpp's own completions end with `stop` and without a marker.
#[test]
fn an_unknown_shape_of_a_lenient_provider_ends_with_its_body() {
    let body = "data: {\"content\":\"Hello\",\"stop\":false}\n\ndata: {\"content\":\"\",\"stop\":true}\n\n";
    assert_eq!(read(&LlamaCpp, "text/event-stream", body).1, StreamEnd::Complete);
}
