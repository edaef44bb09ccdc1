//! async-openai 0.43 through its HTTP service: chat, streams, responses, embeddings, uploads, errors.

use std::time::Duration;

use aplomb::rate_limit::{RateLimitReason, RateLimited};
use aplomb::{CallOptions, DeadlinePassed, EndpointLayer, find, provider::OpenAi};
use aplomb_async_openai::{OpenAiService, broken_stream, endpoint_error};
use aplomb_mock::{Answer, Builder, Fault, Mock, Plan, Server};
use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::types::InputSource;
use async_openai::types::audio::{AudioInput, CreateTranscriptionRequest};
use async_openai::types::chat::CreateChatCompletionRequest;
use async_openai::types::embeddings::CreateEmbeddingRequest;
use async_openai::types::responses::{CreateResponse, ResponseStreamEvent};
use futures_util::StreamExt;
use serde_json::{Value, from_value, json};
use tokio::time::Instant;

use crate::{endpoint, quick};

async fn client_of(mock: Builder, layer: EndpointLayer) -> (Server, Client<OpenAIConfig>) {
    let server = mock.api_key("key").start().await.unwrap();
    let config = OpenAIConfig::new().with_api_key("key").with_api_base(server.openai_base_url());
    let service = OpenAiService::new(layer, reqwest::Client::new());
    (server, Client::with_config(config).with_http_service(service))
}

fn chat(prompt: &str) -> CreateChatCompletionRequest {
    let messages = json!([{"role": "user", "content": prompt}]);
    from_value(json!({"model": "mock", "max_tokens": 16, "messages": messages})).unwrap()
}

fn fails_first() -> Builder {
    Mock::builder().plan(Plan::script([Some(Fault::Unavailable), Some(Fault::Reset)]))
}

#[tokio::test]
async fn chats_are_retried_by_the_endpoint_alone() {
    let (server, client) = client_of(fails_first(), endpoint()).await;
    let answer = client.chat().create(chat("hello")).await.unwrap();
    let said = answer.choices[0].message.content.as_deref();
    assert_eq!(said, Some(&*aplomb_mock::answer("hello", 16)));
    assert_eq!((answer.usage.unwrap().completion_tokens, server.stats().seen), (16, 3));
}

#[tokio::test]
async fn embeddings_and_responses_pass() {
    let (server, client) = client_of(fails_first(), endpoint()).await;
    let request: CreateEmbeddingRequest =
        from_value(json!({"model": "mock", "input": ["one", "two"], "dimensions": 4})).unwrap();
    let vectors = client.embeddings().create(request).await.unwrap();
    assert_eq!((vectors.data.len(), vectors.data[1].embedding.len(), server.stats().seen), (2, 4, 3));

    let request: CreateResponse = from_value(json!({"model": "mock", "input": "hello"})).unwrap();
    let response = client.responses().create(request.clone()).await.unwrap();
    let said = aplomb_mock::answer("hello", 32);
    assert_eq!(response.output_text(), Some(said.clone()));
    let mut events = client.responses().create_stream(request).await.unwrap();
    let mut streamed = String::new();
    while let Some(event) = events.next().await {
        if let ResponseStreamEvent::ResponseOutputTextDelta(delta) = event.unwrap() {
            streamed += &delta.delta;
        }
    }
    assert_eq!(streamed, said);
}

#[tokio::test]
async fn a_stream_that_fails_before_its_content_is_retried_and_one_that_breaks_later_says_why() {
    let plan = Plan::script([
        Some(Fault::StreamError),
        None,
        Some(Fault::LateStreamError),
        Some(Fault::Truncate),
    ]);
    let (server, client) = client_of(Mock::builder().plan(plan), endpoint()).await;
    let mut stream = client.chat().create_stream(chat("hello")).await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.extend(chunk.unwrap().choices.into_iter().filter_map(|choice| choice.delta.content));
    }
    assert_eq!((text, server.stats().seen), (aplomb_mock::answer("hello", 16), 2));

    for expected in ["the response contains an error", "unexpected EOF"] {
        let stream = client.chat().create_stream(chat("hello")).await.unwrap();
        let items: Vec<_> = stream.collect().await;
        let errors: Vec<_> = items.iter().filter_map(|item| item.as_ref().err()).collect();
        let why = errors.iter().find_map(|error| broken_stream(error)).unwrap();
        assert!(why.contains(expected), "{why}");
        assert!(matches!(errors.last().unwrap(), OpenAIError::StreamError(_)), "{errors:?}");
    }
}

#[tokio::test]
async fn uploads_are_read_again_for_each_attempt() {
    let mock = fails_first().answer_with(|asked| {
        let body = asked.body();
        // The boundary of this attempt's form ends its body.
        let ends = body.ends_with(b"--\r\n");
        let usage = json!({"type": "duration", "seconds": 1});
        Answer::json(json!({"text": format!("{} {ends}", body.len() > 300_000), "usage": usage}))
    });
    let (server, client) = client_of(mock, endpoint()).await;
    let file = std::env::temp_dir().join(format!("aplomb-upload-{}.mp3", std::process::id()));
    std::fs::write(&file, vec![7; 300_000]).unwrap();
    let request = CreateTranscriptionRequest {
        file: AudioInput { source: InputSource::Path { path: file.clone() } },
        model: "whisper-1".to_owned(),
        ..Default::default()
    };
    let transcript = client.audio().transcription().create(request.clone()).await;
    assert_eq!((transcript.unwrap().text, server.stats().seen), ("true true".to_owned(), 3));

    // The client's own error, where it cannot make the request.
    std::fs::remove_file(&file).unwrap();
    let error = client.audio().transcription().create(request).await.unwrap_err();
    assert!(matches!(error, OpenAIError::FileReadError(_)), "{error:?}");
    assert_eq!(server.stats().seen, 3);
}

#[tokio::test]
async fn errors_are_the_clients_own_or_can_be_taken_apart() {
    let refusal = json!({"error": {"message": "no such model", "type": "invalid_request_error", "param": null, "code": null}});
    let mock = Mock::builder()
        .plan(Plan::script([None, Some(Fault::Hang)]))
        .answer_with(move |_| Answer::json(refusal.clone()).status(404));
    let layer = EndpointLayer::with_policy(OpenAi, quick().tokens_per_minute(5_000)).unwrap();
    let (_server, client) = client_of(mock, layer).await;
    match client.chat().create(chat("hello")).await.unwrap_err() {
        OpenAIError::ApiError(error) => assert_eq!(error.api_error.message, "no such model"),
        error => panic!("{error:?}"),
    }

    let soon = CallOptions::new().with_deadline(Instant::now() + Duration::from_millis(100));
    let error = soon.scope(client.chat().create(chat("hello"))).await.unwrap_err();
    let error = endpoint_error(&error).unwrap();
    assert!(find::<DeadlinePassed>(error).is_some());
    assert_eq!(error.report().sent(), 1);

    // Tokens count, not only requests.
    let large = chat(&"word ".repeat(10_000));
    let error = client.chat().create(large).await.unwrap_err();
    let limited = find::<RateLimited>(endpoint_error(&error).unwrap()).unwrap();
    assert!(matches!(limited.reason(), Some(RateLimitReason::AboveCapacity { .. })), "{limited}");
}

#[tokio::test]
async fn clients_of_one_service_share_the_quotas() {
    let layer = EndpointLayer::with_policy(OpenAi, quick().requests_per_minute(600)).unwrap();
    let handle = layer.handle();
    let server = Mock::builder().start().await.unwrap();
    let service = OpenAiService::new(layer, reqwest::Client::new());
    for key in ["one", "two"] {
        let config = OpenAIConfig::new().with_api_key(key).with_api_base(server.openai_base_url());
        let client = Client::with_config(config).with_http_service(service.clone());
        let answer: Result<_, OpenAIError> = client.chat().create(chat("hello")).await;
        assert!(answer.is_ok());
    }
    handle.drained().await;
    let _: Value = json!(server.stats().seen);
    assert_eq!(server.stats().seen, 2);
}
