//! Answers that stream by, as they should and not.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aplomb::core::Reason;
use aplomb::provider::{Anthropic, Bedrock, OpenAi, Provider};
use aplomb::{BrokenAnswer, EndpointLayer, Kind, Policy, find};
use aplomb_mock::{Fault, Mock, Plan, answer};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::calls::{ask, chat, read, send, under};
use crate::script::{Reply, Server, Step, data, done, ping, word};

const S: Duration = Duration::from_secs(1);

fn messages() -> http::Request<Full<Bytes>> {
    let body = serde_json::json!({
        "model": "mock",
        "max_tokens": 16,
        "stream": true,
        "messages": [{ "role": "user", "content": "hello" }],
    });
    http::Request::post("/v1/messages").body(Full::from(body.to_string())).unwrap()
}

fn script(fault: Fault) -> Mock {
    Mock::builder().plan(Plan::script([Some(fault)])).build()
}

#[tokio::test(start_paused = true)]
async fn an_error_that_a_stream_begins_with_is_retried_before_anybody_sees_it() {
    let last = answer("hello", 16).rsplit(' ').next().unwrap().to_owned();
    for (provider, request) in [
        (Box::new(OpenAi) as Box<dyn Provider>, chat("hello", true)),
        (Box::new(Anthropic), messages()),
    ] {
        let mock = script(Fault::StreamError);
        let (parts, body) = ask(EndpointLayer::new(provider).layer(mock.clone()), request).await.unwrap();
        assert!(parts.status.is_success());
        assert!(body.contains(&last) && !body.contains("error"), "{body}");
        assert_eq!(mock.stats().seen, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_after_pings_and_the_beginning_of_a_message_is_too() {
    let start = r#"event: message_start
data: {"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}

event: ping
data: {"type": "ping"}

"#;
    let failed = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let well = r#"event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}

event: message_stop
data: {"type":"message_stop"}

"#;
    let server = Server::new([
        Reply::stream([
            data(start),
            Step::Wait(S),
            ping(),
            Step::Wait(S),
            data(failed),
            Step::Wait(99 * S),
        ]),
        Reply::stream([data(start), ping(), data(well)]),
    ]);
    let began = Instant::now();
    let (text, error) = send(EndpointLayer::new(Anthropic), &server).await;
    assert!(error.is_none());
    assert!(began.elapsed() < 9 * S, "nothing is waited for after an error");
    assert_eq!(text, format!("{start}: still here\n\n{well}"));
    assert_eq!(server.seen(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_without_a_word_is_retried() {
    for broken in [
        vec![],
        vec![ping()],
        vec![Step::Cut],
        vec![word("half"), Step::Data(Bytes::new())],
    ] {
        let reads_all = broken.len() == 2;
        let server = Server::new([Reply::stream(broken), Reply::stream([word("all"), done()])]);
        let policy = if reads_all {
            Policy::new().whole_answers(1 << 20)
        } else {
            Policy::new()
        };
        let (text, error) = send(under(policy), &server).await;
        assert!(error.is_none() && text.contains("all") && !text.contains("half"), "{text}");
        assert_eq!(server.seen(), 2);
    }
}

/// Bedrock's, in binary frames.
#[tokio::test(start_paused = true)]
async fn an_exception_in_an_aws_event_stream_is_sent_again() {
    const THROTTLED: &[u8] =
        b"\0\0\0_\0\0\0@\xa9\xbd\xc6\xe3\x0f:exception-type\x07\0\x13throttlingException\
        \x0d:message-type\x07\0\x09exception{\"message\":\"m\"}[\xb3\x1a\x0c";
    const STOPPED: &[u8] = b"\0\0\0Y\0\0\0\x30v\xf8B\x7f\x0b:event-type\x07\0\x0bmessageStop\
        \x0d:message-type\x07\0\x05event{\"stopReason\":\"end_turn\"}F\xf7I\xbc";
    let reply = |frame: &'static [u8]| {
        Reply::of("application/vnd.amazon.eventstream", [Step::Data(Bytes::from_static(frame))])
    };
    let server = Server::new([reply(THROTTLED), reply(STOPPED)]);
    let layer = EndpointLayer::new(Bedrock);
    let response = layer.layer(server.clone()).oneshot(chat("hello", true)).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!((&body[..], server.seen()), (STOPPED, 2));
}

#[tokio::test(start_paused = true)]
async fn what_would_fail_again_is_told_and_not_sent_again() {
    let error = r#"data: {"error":{"message":"secret","type":"invalid_request_error","code":"context_length_exceeded"}}"#;
    let server = Server::new([Reply::stream([data(format!("{error}\n\n"))])]);
    let call = EndpointLayer::new(OpenAi)
        .layer(server.clone())
        .oneshot(http::Request::new(String::new()));
    let error = call.await.unwrap_err();
    let judged = find::<BrokenAnswer>(&error).unwrap().classification().unwrap();
    assert_eq!(judged.reason(), Some(Reason::ContextTooLong));
    assert_eq!(server.seen(), 1);
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn what_breaks_after_content_ends_with_an_error_and_is_never_sent_again() {
    let first = answer("hello", 16).split(' ').next().unwrap().to_owned();
    for fault in [Fault::LateStreamError, Fault::Unfinished, Fault::Truncate] {
        let mock = script(fault);
        let layer = EndpointLayer::new(OpenAi);
        let handle = layer.handle();
        let response = layer.layer(mock.clone()).oneshot(chat("hello", true)).await.unwrap();
        assert!(response.status().is_success());
        let (text, error) = read(response.into_body()).await;
        let error = error.unwrap();
        assert!(text.contains(&first), "what there is of the answer is handed on: {text}");
        let broken = find::<BrokenAnswer>(&*error);
        match fault {
            Fault::Truncate => assert!(find::<io::Error>(&*error).is_some(), "{error}"),
            Fault::Unfinished => {
                assert_eq!(broken.unwrap().classification().unwrap().reason(), Some(Reason::Truncated));
            }
            _ => {
                assert!(text.contains("server_error"), "so is what the server said: {text}");
                assert_eq!(broken.unwrap().outcome().kind(), Kind::Transient);
            }
        }
        assert_eq!(mock.stats().seen, 1, "{fault:?}");
        assert_eq!((handle.in_flight(), handle.circuit().unwrap().window().failures()), (0, 1), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_is_kept_from_the_caller_within_bounds_of_bytes_and_time() {
    let pings = |wait: Duration| std::iter::repeat_n([ping(), Step::Wait(wait)], 100).flatten();
    let fast = Server::new([Reply::stream(pings(Duration::ZERO))]);
    let slow = Server::new([Reply::stream(pings(S))]);
    let layer = under(Policy::new().look_ahead(100, 10 * S));
    for (server, expected) in [(fast, Duration::ZERO), (slow, 7 * S)] {
        let start = Instant::now();
        let response = layer.layer(server.clone()).oneshot(http::Request::new(String::new())).await.unwrap();
        // Each of the pings has 14 bytes, and it is the eighth that is above the bound.
        assert!(start.elapsed() >= expected && start.elapsed() <= expected + S / 10);
        let (text, error) = read(response.into_body()).await;
        assert_eq!(text.matches("here").count(), 100);
        assert!(find::<BrokenAnswer>(&*error.unwrap()).is_some());
        assert_eq!(server.seen(), 1, "the caller had it already");
    }
    let silent = Server::new([Reply::stream([
        ping(),
        Step::Wait(60 * S),
        word("at last"),
        done(),
    ])]);
    let start = Instant::now();
    let response = layer.layer(silent).oneshot(http::Request::new(String::new())).await.unwrap();
    assert!(start.elapsed() >= 10 * S && start.elapsed() <= 11 * S);
    let (text, error) = read(response.into_body()).await;
    assert!(text.contains("at last") && error.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_error_in_a_json_answer_is_found_before_or_at_its_end() {
    let error = r#"{"error":{"message":"Overloaded","type":"server_error","code":null}}"#;
    let well = r#"{"choices":[{"message":{"content":"hi"}}]}"#;
    // Announced with its size, as a whole.
    let attempts = Arc::new(AtomicU32::new(0));
    let sized = tower::service_fn({
        let attempts = Arc::clone(&attempts);
        move |_: http::Request<String>| {
            let first = attempts.fetch_add(1, Ordering::Relaxed) == 0;
            let body = Full::<Bytes>::from(if first { error } else { well });
            let response = http::Response::builder().header("content-type", "application/json");
            std::future::ready(Ok::<_, io::Error>(response.body(body).unwrap()))
        }
    });
    let endpoint = EndpointLayer::new(OpenAi).layer(sized);
    let response = endpoint.oneshot(http::Request::new(String::new())).await.unwrap();
    assert_eq!(read(response.into_body()).await.0, well);
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
    let server = Server::new([Reply::of("application/json", [data(error)])]);
    let (text, broken) = send(EndpointLayer::new(OpenAi), &server).await;
    assert_eq!(text, error);
    assert_eq!(find::<BrokenAnswer>(&*broken.unwrap()).unwrap().outcome().kind(), Kind::Transient);
    let server = Server::new([Reply::of("application/json", [data(well.split_at(20).0)])]);
    let (_, broken) = send(EndpointLayer::new(OpenAi), &server).await;
    let judged = find::<BrokenAnswer>(&*broken.unwrap()).unwrap().classification().unwrap();
    assert_eq!(judged.reason(), Some(Reason::Truncated));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_believed() {
    let mut compressed = Reply::stream([data("\u{1f}\u{8b}"), data("\u{7f}")]);
    compressed.headers.push(("content-encoding", "gzip".to_owned()));
    let audio = Reply::of("audio/mpeg", [data("\u{1}"), data("\u{2}")]);
    let mut empty = Reply::of("application/json", []);
    empty.status = 204;
    for reply in [compressed, audio, empty] {
        let server = Server::new([reply]);
        let (_, error) = send(EndpointLayer::new(OpenAi), &server).await;
        assert!(error.is_none());
    }
    // Nothing is missing where there is nothing to come.
    let server = Server::new([Reply::of("application/json", [])]);
    let head = http::Request::head("/").body(String::new()).unwrap();
    let response = EndpointLayer::new(OpenAi).layer(server).oneshot(head).await.unwrap();
    assert!(read(response.into_body()).await.1.is_none());
}

// Some proxies leave the header without a value.
#[tokio::test(start_paused = true)]
async fn an_empty_content_encoding_compresses_nothing() {
    let failed = "data: {\"error\":{\"message\":\"Overloaded\",\"type\":\"server_error\"}}\n\n";
    for encoding in ["", " ", "identity", "identity, "] {
        let with = |mut reply: Reply| {
            reply.headers.push(("content-encoding", encoding.to_owned()));
            reply
        };
        let server = Server::new([
            with(Reply::stream([data(failed)])),
            with(Reply::stream([word("well"), done()])),
        ]);
        let (text, error) = send(EndpointLayer::new(OpenAi), &server).await;
        assert!(text.contains("well") && error.is_none(), "{encoding:?}: {text}");
        assert_eq!(server.seen(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_long_to_be_kept_is_believed() {
    let half = "x".repeat(700_000);
    let server = Server::new([Reply::of("application/json", [data(&*half), data(&*half)])]);
    let (text, error) = send(EndpointLayer::new(OpenAi), &server).await;
    assert_eq!(text.len(), 1_400_000);
    assert!(error.is_none());
}

/// Streams of images end without a marker, and are no text.
#[tokio::test(start_paused = true)]
async fn a_stream_of_images_reaches_the_caller_whole() {
    let events = [
        "event: image_generation.partial_image\n\
         data: {\"type\": \"image_generation.partial_image\", \"b64_json\": \"aGk=\", \"partial_image_index\": 0}\n\n",
        "event: image_generation.completed\n\
         data: {\"type\": \"image_generation.completed\", \"b64_json\": \"aGk=\", \
         \"usage\": {\"input_tokens\": 50, \"output_tokens\": 50, \"total_tokens\": 100}}\n\n",
    ];
    let server = Server::new([Reply::stream(events.map(|event| Step::Data(event.into())))]);
    let request = http::Request::post("https://api.openai.com/v1/images/generations")
        .body(Full::<Bytes>::from(r#"{"model": "gpt-image-1", "prompt": "p", "stream": true}"#))
        .unwrap();
    let response = under(Policy::new()).layer(server.clone()).oneshot(request).await.unwrap();
    let whole = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!((whole, server.seen()), (Bytes::from(events.concat()), 1));
}
