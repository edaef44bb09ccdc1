//! The bare services and their requests.

use std::fmt;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use aplomb_core::{Exchange, Outcome, Usage};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use tower::Service;

/// The request of all cases.
pub type Request = http::Request<Full<Bytes>>;

/// The response of all cases.
pub type Response = http::Response<Full<Bytes>>;

/// The error of a peer that is down. Some other crates need errors to be `Clone`.
#[derive(Clone, Copy, Debug)]
pub struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {}

/// Answers 200 at once.
#[derive(Clone, Copy)]
pub struct Peer;

/// Alternates between 503 and 200, at once. For sequential calls.
#[derive(Clone, Default)]
pub struct Flaky(Arc<AtomicU64>);

/// Answers 200 at once, with the record of usage that a reader of the body would leave in the response.
#[derive(Clone, Copy)]
pub struct Told;

/// The tokens in an answer of [`Told`].
pub const PRODUCED: u64 = 8;

/// Always fails at once.
#[derive(Clone, Copy)]
pub struct Down;

/// Takes a request and never answers.
#[derive(Clone, Copy)]
pub struct Silent;

/// A peer that layers can wrap.
pub trait Asked:
    Service<Request, Response = Response, Error = Failed, Future: Send> + Copy + Send + Sync + 'static
{
    /// One of them.
    const PEER: Self;
}

impl Asked for Peer {
    const PEER: Self = Self;
}

impl Asked for Down {
    const PEER: Self = Self;
}

impl Asked for Silent {
    const PEER: Self = Self;
}

fn answer(request: Request, status: StatusCode) -> Ready<Result<Response, Failed>> {
    drop(black_box(request));
    let mut response = Response::new(Full::new(Bytes::from_static(b"{\"object\": \"chat.completion\"}")));
    *response.status_mut() = status;
    ready(Ok(response))
}

fn told(request: Request) -> Ready<Result<Response, Failed>> {
    let exchange = Exchange::new(Outcome::success());
    exchange.add_usage(Usage::unknown().with_output(PRODUCED));
    ready(answer(request, StatusCode::OK).into_inner().map(|mut response| {
        response.extensions_mut().insert(exchange);
        response
    }))
}

fn fail(request: Request) -> Ready<Result<Response, Failed>> {
    drop(black_box(request));
    ready(Err(Failed))
}

macro_rules! peer {
    ($($peer:ty: $answer:expr),*) => {$(
        impl Service<Request> for $peer {
            type Response = Response;
            type Error = Failed;
            type Future = Ready<Result<Response, Failed>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: Request) -> Self::Future {
                $answer(self, request)
            }
        }
    )*};
}

peer! {
    Peer: |_, request| answer(request, StatusCode::OK),
    Told: |_, request| told(request),
    Down: |_, request| fail(request),
    Flaky: |peer: &mut Flaky, request| match peer.0.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => answer(request, StatusCode::SERVICE_UNAVAILABLE),
        _ => answer(request, StatusCode::OK),
    }
}

/// Keeps the request, as if it were still being sent.
pub struct Sending {
    _request: Request,
}

impl Future for Sending {
    type Output = Result<Response, Failed>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}

impl Service<Request> for Silent {
    type Response = Response;
    type Error = Failed;
    type Future = Sending;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Sending {
        Sending { _request: request }
    }
}

/// A kind of request.
pub trait Ask: 'static {
    /// Creates a request. Every call sends a clone of it, in the bare service too.
    fn template() -> Request;
}

/// A small request: a method, a URI, a body of a few bytes, no headers.
pub struct Plain;

/// The request of an AI call with a body of 2 KiB.
pub struct Long;

/// The request of an AI call: a method, a URI, six headers, a JSON body.
pub struct Ai;

// Parsed as a client would, so that copies count references.
fn post(uri: &str) -> http::request::Builder {
    http::Request::post(uri.to_owned())
}

fn whole(head: http::request::Builder, body: &[u8]) -> Request {
    let request = head.body(Full::new(Bytes::copy_from_slice(body))).expect("a request");
    // The first clone of a fresh `Bytes` moves its reference count to the heap.
    drop(request.clone());
    request
}

impl Ask for Plain {
    fn template() -> Request {
        whole(post("https://api.example.com/v1/chat/completions"), br#"{"model":"m"}"#)
    }
}

impl Ask for Ai {
    fn template() -> Request {
        ai(br#"{"model":"m","max_tokens":256,"messages":[{"role":"user","content":"Why is the sky blue?"}]}"#)
    }
}

impl Ask for Long {
    fn template() -> Request {
        ai(&[b' '; 2_048])
    }
}

fn ai(body: &[u8]) -> Request {
    let head = post("https://api.example.com/v1/chat/completions")
        .header("accept", "application/json")
        .header("authorization", "Bearer sk-0123456789abcdef0123456789abcdef".to_owned())
        .header("content-length", body.len().to_string())
        .header("content-type", "application/json")
        .header("user-agent", "example/1.0")
        .header("x-request-id", "0123456789abcdef".to_owned());
    whole(head, body)
}
