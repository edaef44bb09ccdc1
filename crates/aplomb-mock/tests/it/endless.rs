//! Answers that never end: pings without content, and silence halfway.

use std::pin::pin;
use std::time::Duration;

use aplomb_mock::{Fault, Mock, Plan, Server, answer};
use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};
use tower_service::Service;

use crate::sockets::{connect_to, until};
use crate::support::{ANTHROPIC, OPENAI, post, question, streamed};

const SECOND: Duration = Duration::from_secs(1);

fn first(fault: Fault) -> Mock {
    Mock::builder().plan(Plan::default().attempt(1, fault)).build()
}

/// The frames that come within this time, each with its time. Panics if the body ends.
async fn frames(
    mock: &Mock,
    path: &str,
    body: impl std::fmt::Display,
    time: Duration,
) -> Vec<(Duration, String)> {
    let start = Instant::now();
    let response = mock.clone().call(post(path, body)).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = pin!(response.into_body());
    let mut frames = Vec::new();
    while let Ok(frame) = timeout(time.saturating_sub(start.elapsed()), body.frame()).await {
        let data = frame.expect("the body ends").expect("the body breaks").into_data().unwrap();
        frames.push((start.elapsed(), String::from_utf8(data.into()).unwrap()));
    }
    frames
}

fn ping(path: &str) -> &'static str {
    match path {
        OPENAI => ": keep-alive\n\n",
        _ => "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    }
}

fn opening(path: &str) -> usize {
    if path == OPENAI { 1 } else { 3 }
}

#[tokio::test(start_paused = true)]
async fn pings_come_for_ever_and_nothing_else() {
    for path in [OPENAI, ANTHROPIC] {
        let mock = first(Fault::OnlyPings(SECOND * 10));
        let frames = frames(&mock, path, streamed("p"), SECOND * 36_005).await;
        let (opening, pings) = frames.split_at(opening(path));
        assert!(opening.iter().all(|(at, text)| at.is_zero() && !text.contains("answer")), "{opening:?}");
        assert_eq!(pings.len(), 3_600);
        for (n, (at, text)) in (1..).zip(pings) {
            assert_eq!((*at, text.as_str()), (SECOND * 10 * n, ping(path)));
        }
        let stats = mock.stats();
        assert_eq!((stats.in_flight, stats.answered, stats.output_tokens), (0, 0, 0));
        assert_eq!(stats.faults, [("only-pings".to_owned(), 1)].into());
    }
}

#[tokio::test(start_paused = true)]
async fn pings_may_come_after_half_of_the_content() {
    for path in [OPENAI, ANTHROPIC] {
        let mock = first(Fault::LatePings(SECOND));
        let frames = frames(&mock, path, streamed("p"), SECOND * 5 + SECOND / 2).await;
        let (content, pings) = frames.split_at(opening(path) + 16);
        assert!(content.iter().all(|(at, _)| at.is_zero()) && content[opening(path)].1.contains("answer"));
        assert_eq!(pings.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), [ping(path); 5]);
        assert_eq!(mock.stats().output_tokens, 16);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_silence_after_half_of_the_content() {
    for path in [OPENAI, ANTHROPIC] {
        let mock = first(Fault::Stall);
        let frames = frames(&mock, path, streamed("p"), SECOND * 86_400).await;
        assert_eq!(frames.len(), opening(path) + 16);
        assert!(frames.iter().all(|(at, _)| at.is_zero()));
        let stats = mock.stats();
        assert_eq!((stats.in_flight, stats.answered, stats.output_tokens), (0, 0, 16));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_stream_there_are_blank_lines_or_half_a_body() {
    for path in [OPENAI, ANTHROPIC] {
        let lines = frames(&first(Fault::OnlyPings(SECOND)), path, question("p"), SECOND * 5 / 2).await;
        assert_eq!(lines.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["\n"; 2]);
        for fault in [Fault::LatePings(SECOND), Fault::Stall] {
            let frames = frames(&first(fault), path, question("p"), SECOND * 86_400).await;
            let [(_, half)] = frames.as_slice() else {
                panic!("{frames:?}");
            };
            assert!(half.starts_with('{') && !half.ends_with('}'), "{half}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pings_without_a_pause_still_let_time_pass() {
    let frames = frames(&first(Fault::OnlyPings(Duration::ZERO)), OPENAI, streamed("p"), SECOND / 100).await;
    assert!((10..=11).contains(&frames.len()), "{}", frames.len());
}

/// Everything that arrives up to `last` and including it, on a connection that then stays open.
async fn receive_to(server: &Server, path: &str, body: impl std::fmt::Display, last: &str) -> String {
    let mut stream = connect_to(server, path, body).await;
    let mut text = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&text).contains(last) {
            assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "the connection ends");
        }
    };
    let came = timeout(SECOND * 20, reading).await;
    assert!(came.is_ok(), "{last} never comes: {}", String::from_utf8_lossy(&text));
    assert_eq!(server.stats().in_flight, 1);
    drop(stream);
    until(server, |server| server.stats().in_flight == 0).await;
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn on_the_wire_too_until_the_client_leaves() {
    const EVERY: Duration = Duration::from_millis(2);
    let half = answer("p", 16);
    let last = half.rsplit(' ').next().unwrap();
    for path in [OPENAI, ANTHROPIC] {
        for (fault, content) in [(Fault::OnlyPings(EVERY), false), (Fault::LatePings(EVERY), true)] {
            let server = Mock::builder().plan(Plan::default().attempt(1, fault)).start().await.unwrap();
            // There are chunk headers between the pings: two equal ones show that they are repeated.
            let chunk = format!("{:X}\r\n{}\r\n", ping(path).len(), ping(path));
            let text = receive_to(&server, path, streamed("p"), &chunk.repeat(2)).await;
            assert_eq!(text.contains("answer"), content, "{text}");
        }
        let server = Mock::builder().plan(Plan::default().attempt(1, Fault::Stall)).start().await.unwrap();
        let text = receive_to(&server, path, streamed("p"), last).await;
        assert!(!text.contains("\r\n0\r\n\r\n"), "{text}");
    }
    let server = Mock::builder().plan(Plan::default().attempt(1, Fault::Stall)).start().await.unwrap();
    let text = receive_to(&server, OPENAI, question("p"), "\r\n\r\n{").await;
    assert!(text.contains("content-length: ") && !text.ends_with('}'), "{text}");
}
