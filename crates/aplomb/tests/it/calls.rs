//! The requests of the tests.

use std::pin::pin;
use std::sync::Arc;

use aplomb::provider::OpenAi;
use aplomb::{BoxError, Endpoint, EndpointLayer, Policy};
use aplomb_mock::Mock;
use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

use crate::script::Server;

/// An endpoint of OpenAI's dialect under this policy.
pub(crate) fn under(policy: Policy) -> EndpointLayer {
    EndpointLayer::with_policy(OpenAi, policy).unwrap()
}

pub(crate) fn prompt(number: usize) -> String {
    format!("prompt number {number}")
}

pub(crate) fn chat(prompt: &str, stream: bool) -> http::Request<Full<Bytes>> {
    let body = serde_json::json!({
        "model": "mock",
        "max_tokens": 16,
        "stream": stream,
        "messages": [{ "role": "user", "content": prompt }],
    });
    http::Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .unwrap()
}

pub(crate) type Answer = Result<(http::response::Parts, String), BoxError>;

/// Sends a request and reads the answer's body.
pub(crate) async fn ask(endpoint: Endpoint<Mock>, request: http::Request<Full<Bytes>>) -> Answer {
    let (parts, body) = endpoint.oneshot(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok((parts, String::from_utf8_lossy(&body).into_owned()))
}

/// Sends prompts with this many workers; returns the answers in no particular order.
pub(crate) async fn batch(
    endpoint: &Endpoint<Mock>,
    prompts: usize,
    workers: usize,
    stream: bool,
) -> Vec<Answer> {
    let workers = Arc::new(Semaphore::new(workers));
    let mut calls = JoinSet::new();
    for number in 0..prompts {
        let permit = Arc::clone(&workers).acquire_owned().await.unwrap();
        let call = ask(endpoint.clone(), chat(&prompt(number), stream));
        calls.spawn(async move {
            let answer = call.await;
            drop(permit);
            answer
        });
    }
    calls.join_all().await
}

pub(crate) fn answered(answers: &[Answer]) -> usize {
    answers
        .iter()
        .filter(|answer| answer.as_ref().is_ok_and(|(parts, _)| parts.status.is_success()))
        .count()
}

/// The data of a body, and the error that it ends with.
pub(crate) async fn read<B>(body: B) -> (String, Option<BoxError>)
where
    B: Body<Data = Bytes, Error = BoxError>,
{
    let mut body = pin!(body);
    let mut text = String::new();
    loop {
        match body.frame().await {
            None => return (text, None),
            Some(Err(error)) => {
                assert!(body.frame().await.is_none(), "an error is told once");
                return (text, Some(error));
            }
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                text.push_str(std::str::from_utf8(&data).unwrap());
            }
        }
    }
}

/// Sends a request, and reads the response.
pub(crate) async fn send(layer: EndpointLayer, server: &Server) -> (String, Option<BoxError>) {
    let response = layer.layer(server.clone()).oneshot(http::Request::new(String::new())).await.unwrap();
    read(response.into_body()).await
}
