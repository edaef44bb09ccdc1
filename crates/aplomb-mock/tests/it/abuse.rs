//! Clients that misbehave.

use std::time::Duration;

use aplomb_mock::{Fault, Latency, Mock, Plan};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::sockets::{connect, receive, until};
use crate::support::{ANTHROPIC, OPENAI, post, question, send, streamed};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_body_is_answered(body: String, anthropic: bool) {
        let path = if anthropic { ANTHROPIC } else { OPENAI };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(async { send(&Mock::builder().build(), post(path, body)).await.unwrap() });
        prop_assert_eq!(answer.status, 400);
    }
}

#[tokio::test]
async fn max_tokens_beyond_all_numbers() {
    let mock = Mock::builder().tokens_per_minute(1000).build();
    let huge = "12345678901234567890123456789012345";
    for (value, status) in [
        (huge, 400),
        ("1e400", 400),
        ("-1", 400),
        ("0.5", 400),
        ("\"9\"", 400),
        ("18446744073709551615", 429),
    ] {
        for path in [OPENAI, ANTHROPIC] {
            let body = question("p").to_string().replace(":100", &format!(":{value}"));
            assert_eq!(send(&mock, post(path, body)).await.unwrap().status, status, "{value}");
        }
    }
    let unlimited = Mock::builder().build();
    let body = question("p").to_string().replace(":100", &format!(":{}", u64::MAX));
    assert_eq!(send(&unlimited, post(OPENAI, body)).await.unwrap().status, 200);
}

#[tokio::test]
async fn rubbish_on_the_wire() {
    let server = Mock::builder().start().await.unwrap();
    for rubbish in [
        "\r\n\r\n\0\u{1}",
        "GET",
        "POST / HTTP/9.9\r\n\r\n",
        "POST /v1/messages HTTP/1.1\r\ncontent-length: 99\r\n\r\n{",
    ] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(rubbish.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let (text, _) = receive(stream).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{text}");
    }
    assert!(receive(connect(&server, question("p")).await).await.0.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn five_hundred_at_once_on_sockets() {
    let plan = Plan::seeded(1)
        .rate(Fault::Reset, 0.1)
        .rate(Fault::Truncate, 0.1)
        .rate(Fault::InternalError, 0.1);
    let latency = Latency::uniform(Duration::ZERO..Duration::from_millis(20));
    let server = Mock::builder().plan(plan.clone()).latency(latency).start().await.unwrap();
    let mut all = Vec::new();
    for n in 0..500 {
        let prompt = format!("prompt {n}");
        let stream = connect(
            &server,
            if n % 2 == 0 {
                question(&prompt)
            } else {
                streamed(&prompt)
            },
        )
        .await;
        all.push((prompt, tokio::spawn(receive(stream))));
    }
    for (prompt, received) in all {
        let (text, _) = received.await.unwrap();
        let expected = match plan.fault(&prompt, 1) {
            Some(Fault::Reset) => "",
            Some(Fault::InternalError) => "HTTP/1.1 500",
            _ => "HTTP/1.1 200",
        };
        assert!(text.starts_with(expected) && text.is_empty() == expected.is_empty(), "{prompt}: {text}");
    }
    until(&server, |server| server.stats().in_flight == 0).await;
    let stats = server.stats();
    let faults: u64 = stats.faults.values().sum();
    assert_eq!((stats.connections, stats.accepted, stats.abandoned), (500, 500, 0));
    assert_eq!(stats.answered, 500 - faults);
}

#[tokio::test]
async fn five_hundred_in_flight_at_once_and_all_leave() {
    let server = Mock::builder().plan(Plan::default().attempt(1, Fault::Hang)).start().await.unwrap();
    let mut all = Vec::new();
    for n in 0..500 {
        all.push(connect(&server, question(&n.to_string())).await);
    }
    until(&server, |server| server.stats().in_flight == 500).await;
    drop(all);
    until(&server, |server| server.stats().in_flight == 0).await;
    assert_eq!(server.stats().max_in_flight, 500);
}

#[tokio::test]
async fn a_reset_of_the_stats_in_mid_flight_does_not_upset_them() {
    let server = Mock::builder().plan(Plan::default().attempt(1, Fault::Hang)).start().await.unwrap();
    let stream = connect(&server, question("p")).await;
    until(&server, |server| server.stats().in_flight == 1).await;
    server.reset();
    assert_eq!((server.stats().in_flight, server.stats().accepted), (1, 0));
    drop(stream);
    until(&server, |server| server.stats().in_flight == 0).await;
}
