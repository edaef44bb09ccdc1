//! rig 0.44 through a client of reqwest-middleware: unary, streaming, and an error.

use std::time::Duration;

use aplomb::provider::OpenAi;
use aplomb::{CallOptions, DeadlinePassed, EndpointError, EndpointLayer, Policy, find};
use aplomb_mock::{Answer, Builder, Fault, Mock, Plan, Server};
use aplomb_reqwest::Middleware;
use futures_util::StreamExt;
use reqwest_middleware::ClientBuilder;
use rig_core::completion::CompletionRequest;
use rig_core::error::ProviderError;
use rig_core::http_client;
use rig_core::providers::openai::{OpenAI, OpenAIConfig, wire::Route};
use rig_reqwest::ReqwestMiddlewareClient;
use serde_json::json;
use tokio::time::Instant;

use crate::endpoint;

async fn client_of(mock: Builder, layer: EndpointLayer, route: Route) -> (Server, OpenAI) {
    let server = mock.api_key("key").start().await.unwrap();
    let http = ClientBuilder::new(reqwest::Client::new()).with(Middleware::endpoint(layer)).build();
    let config = OpenAIConfig::new("key").with_base_url(server.openai_base_url()).with_route(route);
    (server, config.connect(ReqwestMiddlewareClient::from(http)))
}

fn fails_first() -> Builder {
    Mock::builder().plan(Plan::script([Some(Fault::Unavailable), Some(Fault::Reset)]))
}

#[tokio::test]
async fn completions_are_retried_by_the_endpoint() {
    for route in [Route::Chat, Route::Responses] {
        let (server, openai) = client_of(fails_first(), endpoint(), route).await;
        let answer = openai.completion("gpt-4o-mini").call(CompletionRequest::new("hello")).await.unwrap();
        assert_eq!((answer.text(), server.stats().seen), (aplomb_mock::answer("hello", 32), 3));
    }
}

#[tokio::test]
async fn streams_pass_and_their_breaks_are_errors() {
    let plan = Plan::script([Some(Fault::StreamError), None, Some(Fault::Truncate)]);
    let (server, openai) = client_of(Mock::builder().plan(plan), endpoint(), Route::Chat).await;
    let model = openai.completion("gpt-4o-mini");
    let answer = model.stream(CompletionRequest::new("hello")).unwrap().finish().await.unwrap();
    assert_eq!((answer.text(), server.stats().seen), (aplomb_mock::answer("hello", 32), 2));
    let items: Vec<_> = model.stream(CompletionRequest::new("hello")).unwrap().collect().await;
    assert!(items.last().unwrap().is_err());
}

#[tokio::test]
async fn a_refusal_keeps_status_headers_and_body() {
    let mock = Mock::builder().answer_with(|_| {
        Answer::json(json!({"error": {"message": "no such model"}}))
            .status(404)
            .header("x-why", "unknown")
    });
    let (_server, openai) = client_of(mock, endpoint(), Route::Chat).await;
    let error = openai.completion("none").call(CompletionRequest::new("hello")).await.unwrap_err();
    assert_eq!(error.provider_response_status().map(|status| status.as_u16()), Some(404));
    assert_eq!(error.provider_response_headers().unwrap()["x-why"], "unknown");
    assert!(error.provider_response_body().unwrap().contains("no such model"), "{error}");
}

#[tokio::test]
async fn options_come_from_the_task_and_an_error_of_the_endpoint_is_inside() {
    let layer = EndpointLayer::with_policy(OpenAi, Policy::new()).unwrap();
    let (_server, openai) =
        client_of(Mock::builder().plan(Plan::script([Some(Fault::Hang)])), layer, Route::Chat).await;
    let soon = CallOptions::new().with_deadline(Instant::now() + Duration::from_millis(100));
    let call = openai.completion("gpt-4o-mini").call(CompletionRequest::new("hello"));
    // rig's own error has no source: the transport's is inside.
    let ProviderError::Http(error) = soon.scope(call).await.unwrap_err() else {
        panic!("not an error of the transport");
    };
    let http_client::Error::Instance(error) = &*error else {
        panic!("{error:?}");
    };
    assert!(find::<DeadlinePassed>(&**error).is_some(), "{error:?}");
    assert_eq!(find::<EndpointError>(&**error).unwrap().report().sent(), 1);
}
