//! The mock on a socket, as a client sees it.

use std::fmt::Display;
use std::io::ErrorKind;
use std::time::Duration;

use aplomb_mock::{Fault, Mock, Outage, Plan, Server, answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{OPENAI, question, streamed};

/// Long enough to be sure, not waited for unless something fails.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

async fn first(fault: Fault) -> Server {
    Mock::builder().plan(Plan::default().attempt(1, fault)).start().await.unwrap()
}

pub(crate) async fn connect(server: &Server, body: impl Display) -> TcpStream {
    connect_to(server, OPENAI, body).await
}

pub(crate) async fn connect_to(server: &Server, path: &str, body: impl Display) -> TcpStream {
    let body = format!("{body}");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: mock\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream
}

/// Everything that arrives until the connection ends, and how it ends.
pub(crate) async fn receive(mut stream: TcpStream) -> (String, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let end = timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("the connection stays open");
    (String::from_utf8(bytes).unwrap(), end.err().map(|error| error.kind()))
}

#[tokio::test]
async fn an_answer_arrives() {
    let server = Mock::builder().start().await.unwrap();
    let (text, end) = receive(connect(&server, question("hello")).await).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains(&answer("hello", 32)), "{text}");
    assert_eq!(text.matches("date: ").count(), 1);
    assert_eq!((end, server.stats().connections), (None, 1));
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let server = first(Fault::Reset).await;
    assert_eq!(
        receive(connect(&server, question("p")).await).await,
        (String::new(), Some(ErrorKind::ConnectionReset))
    );
}

#[tokio::test]
async fn a_truncated_body_ends_before_its_length() {
    let server = first(Fault::Truncate).await;
    let (text, end) = receive(connect(&server, question("p")).await).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!((body.len(), end), (length.parse::<usize>().unwrap() / 2, None));
}

#[tokio::test]
async fn a_truncated_stream_ends_without_its_last_chunk() {
    let server = first(Fault::Truncate).await;
    let (text, _) = receive(connect(&server, streamed("p")).await).await;
    assert!(text.contains("transfer-encoding: chunked") && text.contains("data: {"), "{text}");
    assert!(!text.contains("\r\n0\r\n\r\n") && !text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn an_unfinished_stream_ends_with_its_last_chunk() {
    let server = first(Fault::Unfinished).await;
    let (text, _) = receive(connect(&server, streamed("p")).await).await;
    assert!(text.ends_with("\r\n0\r\n\r\n") && !text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn a_client_that_leaves_a_hang_is_noticed() {
    let server = first(Fault::Hang).await;
    let mut stream = connect(&server, question("p")).await;
    assert!(timeout(SHORT, stream.read_u8()).await.is_err());
    assert_eq!(server.stats().in_flight, 1);
    drop(stream);
    until(&server, |server| server.stats().in_flight == 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_is_counted() {
    let server = Mock::builder().token_gap(SHORT).answer_words(10_000).start().await.unwrap();
    let mut question = streamed("p");
    question["max_tokens"] = 10_000.into();
    let mut stream = connect(&server, question).await;
    stream.read_u8().await.unwrap();
    drop(stream);
    until(&server, |server| server.stats().abandoned == 1).await;
    assert_eq!((server.stats().in_flight, server.stats().answered), (0, 0));
}

#[tokio::test]
async fn an_outage_can_reset_too() {
    let server = Mock::builder().outage(Duration::ZERO..LONG, Outage::Reset).start().await.unwrap();
    assert_eq!(receive(connect(&server, question("p")).await).await.1, Some(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_dropped_server_closes_its_connections() {
    let server = first(Fault::Hang).await;
    let stream = connect(&server, question("p")).await;
    until(&server, |server| server.stats().in_flight == 1).await;
    let (mock, address) = (server.mock().clone(), server.address());
    drop(server);
    assert_eq!(receive(stream).await.0, "");
    assert_eq!(mock.stats().in_flight, 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_outage_can_refuse_connections_and_close_those_that_are_open() {
    let second = Duration::from_secs(1);
    let server = Mock::builder().outage(second..2 * second, Outage::Refuse).start().await.unwrap();
    let mut open = TcpStream::connect(server.address()).await.unwrap();
    tokio::time::advance(second).await;
    // Connections that are open or under way are reset.
    let refusal = async || TcpStream::connect(server.address()).await.err().map(|error| error.kind());
    while refusal().await != Some(ErrorKind::ConnectionRefused) {
        tokio::task::yield_now().await;
    }
    assert_eq!(open.read(&mut [0]).await.unwrap_or(0), 0);
    tokio::time::advance(second).await;
    while TcpStream::connect(server.address()).await.is_err() {
        tokio::task::yield_now().await;
    }
    let (answer, _) = receive(connect(&server, question("p")).await).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Waits until this is true.
pub(crate) async fn until(server: &Server, so: impl Fn(&Server) -> bool) {
    let reached = async {
        while !so(server) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, reached).await.expect("it never came to that");
}
