//! A server that follows a script, step by step.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::time::Sleep;

/// One step in sending a body.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Wait(Duration),
    Cut,
}

pub(crate) fn data(text: impl Into<String>) -> Step {
    Step::Data(text.into().into())
}

/// A chunk of OpenAI's chat completions.
pub(crate) fn word(text: &str) -> Step {
    let chunk = serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    data(format!("data: {chunk}\n\n"))
}

/// The event in which OpenAI's chat completions report 42 tokens.
pub(crate) const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":40,\"completion_tokens\":2}}\n\n";

pub(crate) fn ping() -> Step {
    data(": still here\n\n")
}

pub(crate) fn done() -> Step {
    data("data: [DONE]\n\n")
}

/// The answer to one request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) head_after: Duration,
    pub(crate) steps: Vec<Step>,
}

impl Reply {
    pub(crate) fn stream(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::of("text/event-stream; charset=utf-8", steps)
    }

    pub(crate) fn of(media_type: &str, steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", media_type.to_owned())],
            head_after: Duration::ZERO,
            steps: steps.into_iter().collect(),
        }
    }

    /// An answer that says nothing.
    pub(crate) fn json(status: u16) -> Self {
        Self { status, ..Self::of("application/json", [data("{}")]) }
    }

    pub(crate) fn after(self, head_after: Duration) -> Self {
        Self { head_after, ..self }
    }
}

/// Gives each request the next reply, and the last one again and again.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    replies: Arc<Mutex<(usize, Vec<Reply>)>>,
}

impl Server {
    pub(crate) fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self { replies: Arc::new(Mutex::new((0, replies.into_iter().collect()))) }
    }

    pub(crate) fn seen(&self) -> usize {
        self.replies.lock().unwrap().0
    }
}

impl<B> tower::Service<http::Request<B>> for Server {
    type Response = http::Response<Scripted>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<B>) -> Self::Future {
        let reply = {
            let (seen, replies) = &mut *self.replies.lock().unwrap();
            *seen += 1;
            replies[(*seen - 1).min(replies.len() - 1)].clone()
        };
        Box::pin(async move {
            tokio::time::sleep(reply.head_after).await;
            let mut response = http::Response::builder().status(reply.status);
            for (name, value) in reply.headers {
                response = response.header(name, value);
            }
            Ok(response.body(Scripted { steps: reply.steps.into(), pause: None }).unwrap())
        })
    }
}

/// Gives its frames one by one, and does not know its end in advance.
pub(crate) struct Scripted {
    steps: VecDeque<Step>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            return Poll::Ready(match self.steps.pop_front() {
                None => None,
                Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::Cut) => Some(Err(io::ErrorKind::ConnectionReset.into())),
                Some(Step::Wait(pause)) => {
                    self.pause = Some(Box::pin(tokio::time::sleep(pause)));
                    continue;
                }
            });
        }
    }
}
