//! Connections that fail before the server has begun with a request.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use aplomb::core::{BoxError, Copied};
use aplomb::provider::OpenAi;
use aplomb::retry::RetryLayer;
use aplomb::{EndpointLayer, Event, EventKind, Policy};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

use crate::chat;

/// The server's treatment of the first stream that is opened.
#[derive(Clone, Copy, Debug)]
enum First {
    Refused,
    GoAway,
    Cancelled,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An HTTP/2 server that answers `ok` to all streams but the first. Returns its address and the number of streams.
async fn http2(first: First) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let streams = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&streams);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve_http2(connection, first, Arc::clone(&seen)));
        }
    });
    (format!("http://{address}/v1/chat/completions"), streams)
}

async fn serve_http2(mut connection: TcpStream, first: First, streams: Arc<AtomicU32>) -> io::Result<()> {
    let mut preface = [0; 24];
    connection.read_exact(&mut preface).await?;
    connection.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        connection.read_exact(&mut payload).await?;
        if kind == SETTINGS && flags == 0 {
            connection.write_all(&frame(SETTINGS, 1, 0, &[])).await?;
        }
        if kind != HEADERS {
            continue;
        }
        let stream = u32::from_be_bytes(stream);
        let answer = if streams.fetch_add(1, SeqCst) > 0 {
            // `:status: 200` is the eighth entry of HPACK's static table.
            [
                frame(HEADERS, END_HEADERS, stream, &[0x88]),
                frame(DATA, END_STREAM, stream, b"ok"),
            ]
            .concat()
        } else {
            match first {
                First::Refused => frame(RST_STREAM, 0, stream, &7_u32.to_be_bytes()),
                First::Cancelled => frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
                First::GoAway => frame(GOAWAY, 0, 0, &[0; 8]),
            }
        };
        connection.write_all(&answer).await?;
    }
}

#[tokio::test]
async fn a_stream_that_the_server_did_not_begin_is_sent_again_though_it_is_a_post() {
    for (first, seen) in [(First::Refused, 2), (First::GoAway, 2), (First::Cancelled, 1)] {
        let (url, streams) = http2(first).await;
        let client: Client<HttpConnector, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let retry = RetryLayer::new().backoff(Duration::from_millis(10)).idempotent_only().replay(Copied);
        let request = http::Request::post(url).body(Full::from(chat("hello", false))).unwrap();
        // The errors of a client are examined behind a box, or with the feature for the client.
        let response = retry.layer(client.map_err(BoxError::from)).oneshot(request).await;
        assert_eq!(streams.load(SeqCst), seen, "{first:?}");
        assert_eq!(response.is_ok(), seen > 1, "{first:?}");
        if let Ok(response) = response {
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
        }
    }
}

/// An HTTP/1.1 server that keeps connections open.
#[derive(Clone, Default)]
struct Http1 {
    /// Connections with a lower number are closed by the next request on them.
    closed_below: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Http1 {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(connection));
            }
        });
        format!("http://{address}/v1/chat/completions")
    }

    async fn serve(self, mut connection: TcpStream) -> io::Result<()> {
        let number = self.connections.fetch_add(1, SeqCst);
        let mut received = Vec::new();
        loop {
            let mut some = [0; 1024];
            let length = connection.read(&mut some).await?;
            if length == 0 {
                return Ok(());
            }
            received.extend_from_slice(&some[..length]);
            // The end of the request, which is JSON.
            if !received.ends_with(b"}") {
                continue;
            }
            if number < self.closed_below.load(SeqCst) {
                return Ok(());
            }
            received.clear();
            self.requests.fetch_add(1, SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            let body = r#"{"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}"#;
            let head = format!("content-type: application/json\r\ncontent-length: {}", body.len());
            connection
                .write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes())
                .await?;
        }
    }
}

#[tokio::test]
async fn twenty_dead_connections_of_a_pool_are_no_outage() {
    let server = Http1::default();
    let url = server.start().await;
    let troubles = Arc::new(AtomicUsize::new(0));
    let layer = EndpointLayer::with_policy(OpenAi, Policy::new().max_retries(1)).unwrap().observer({
        let troubles = Arc::clone(&troubles);
        move |event: &Event| {
            let is_trouble = matches!(
                event.kind(),
                EventKind::CircuitChanged { .. }
                    | EventKind::Paused { .. }
                    | EventKind::ConcurrencyChanged { .. }
            );
            troubles.fetch_add(usize::from(is_trouble), SeqCst);
        }
    });
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let endpoint = layer.layer(client);
    let ask_together = |calls: usize| {
        let mut together = JoinSet::new();
        for _ in 0..calls {
            let request = http::Request::post(&url).body(Full::<Bytes>::from(chat("hello", false))).unwrap();
            let call = endpoint.clone().oneshot(request);
            together
                .spawn(async move { Ok::<_, BoxError>(call.await?.into_body().collect().await?.to_bytes()) });
        }
        together.join_all()
    };
    // Slow start opens the connections one after the other.
    while server.connections.load(SeqCst) < 20 {
        for answer in ask_together(20).await {
            answer.unwrap();
        }
    }
    let (before, open) = (server.requests.load(SeqCst), server.connections.load(SeqCst));
    server.closed_below.store(open, SeqCst);
    // Servers close connections that nobody uses.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    // One call meets all of them, one after the other, and may be sent again only once.
    for calls in [1, 20] {
        for answer in ask_together(calls).await {
            assert!(answer.unwrap().starts_with(b"{\"choices\""));
        }
    }
    assert_eq!(server.requests.load(SeqCst) - before, 21);
    assert_eq!(troubles.load(SeqCst), 0);
}
