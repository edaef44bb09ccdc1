//! Requests, and answers read to their end.

use std::fmt::Display;
use std::io;

use aplomb_mock::{Body, Mock};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower_service::Service;

/// An answer read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The events of a stream: the name, if there is one, and the data.
    pub(crate) fn events(&self) -> Vec<(Option<&str>, &str)> {
        self.body
            .split("\n\n")
            .filter(|event| !event.is_empty())
            .map(|event| match event.split_once("\ndata: ") {
                Some((name, data)) => (name.strip_prefix("event: "), data),
                None => (None, event.strip_prefix("data: ").unwrap()),
            })
            .collect()
    }
}

pub(crate) const OPENAI: &str = "/v1/chat/completions";
pub(crate) const ANTHROPIC: &str = "/v1/messages";

pub(crate) fn question(prompt: &str) -> Value {
    json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": prompt}]})
}

pub(crate) fn streamed(prompt: &str) -> Value {
    let mut question = question(prompt);
    question["stream"] = true.into();
    question
}

pub(crate) fn post(path: &str, body: impl Display) -> Request<String> {
    Request::post(path).body(format!("{body}")).unwrap()
}

pub(crate) async fn send(mock: &Mock, request: Request<String>) -> io::Result<Answer> {
    let response = mock.clone().call(request).await?;
    read(response).await
}

pub(crate) async fn read(response: http::Response<Body>) -> io::Result<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    let body = String::from_utf8(body.into()).unwrap();
    Ok(Answer { status: head.status, headers: head.headers, body })
}

/// Asks with OpenAI's API.
pub(crate) async fn ask(mock: &Mock, prompt: &str) -> io::Result<Answer> {
    send(mock, post(OPENAI, question(prompt))).await
}
