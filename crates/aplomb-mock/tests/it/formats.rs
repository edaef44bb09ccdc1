//! The format of successful answers.

use std::time::Duration;

use aplomb_mock::{Mock, answer};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{ANTHROPIC, OPENAI, ask, post, question, send, streamed};

#[tokio::test]
async fn openai_json() {
    let mock = Mock::builder().build();
    let json = ask(&mock, "hello").await.unwrap().json();
    assert_eq!(json["object"], "chat.completion");
    assert_eq!(json["model"], "m");
    assert_eq!(json["choices"][0]["message"]["content"], answer("hello", 32));
    assert_eq!(json["choices"][0]["finish_reason"], "stop");
    assert_eq!(json["usage"]["prompt_tokens"], 2);
    assert_eq!(json["usage"]["completion_tokens"], 32);
    assert_eq!(json["usage"]["total_tokens"], 34);
}

#[tokio::test]
async fn anthropic_json() {
    let mock = Mock::builder().build();
    let json = send(&mock, post(ANTHROPIC, question("hello"))).await.unwrap().json();
    assert_eq!(json["type"], "message");
    assert_eq!(json["content"], json!([{"type": "text", "text": answer("hello", 32)}]));
    assert_eq!(json["stop_reason"], "end_turn");
    assert_eq!(json["usage"]["input_tokens"], 2);
    assert_eq!(json["usage"]["output_tokens"], 32);
}

#[tokio::test]
async fn max_tokens_cuts_the_answer() {
    let mock = Mock::builder().build();
    let mut question = question("hello");
    question["max_tokens"] = 5.into();
    let json = send(&mock, post(OPENAI, &question)).await.unwrap().json();
    assert_eq!(json["choices"][0]["message"]["content"], answer("hello", 5));
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    let json = send(&mock, post(ANTHROPIC, &question)).await.unwrap().json();
    assert_eq!(json["content"][0]["text"], answer("hello", 5));
    assert_eq!(json["stop_reason"], "max_tokens");
}

#[tokio::test]
async fn openai_stream() {
    let mock = Mock::builder().build();
    let mut question = streamed("hello");
    question["stream_options"] = json!({"include_usage": true});
    let stream = send(&mock, post(OPENAI, question)).await.unwrap();
    assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let mut events = stream.events();
    assert_eq!(events.pop(), Some((None, "[DONE]")));
    let chunks: Vec<Value> = events.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect();
    let (usage, chunks) = chunks.split_last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 32);
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, answer("hello", 32));
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["usage"].is_null() && chunk["object"] == "chat.completion.chunk")
    );
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn openai_stream_without_usage_has_none() {
    let mock = Mock::builder().build();
    let stream = send(&mock, post(OPENAI, streamed("hello"))).await.unwrap();
    assert!(!stream.body.contains("usage"));
}

#[tokio::test]
async fn anthropic_stream() {
    let mock = Mock::builder().build();
    let stream = send(&mock, post(ANTHROPIC, streamed("hello"))).await.unwrap();
    let events: Vec<(&str, Value)> = stream
        .events()
        .into_iter()
        .map(|(name, data)| (name.unwrap(), serde_json::from_str(data).unwrap()))
        .collect();
    assert!(events.iter().all(|(name, data)| data["type"] == **name));
    let names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
    assert_eq!(names[..3], ["message_start", "content_block_start", "ping"]);
    assert!(names[3..35].iter().all(|name| *name == "content_block_delta"));
    assert_eq!(names[35..], ["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(events[0].1["message"]["usage"]["input_tokens"], 2);
    assert_eq!(events[36].1["usage"]["output_tokens"], 32);
    let text: String = events.iter().filter_map(|(_, data)| data["delta"]["text"].as_str()).collect();
    assert_eq!(text, answer("hello", 32));
}

#[tokio::test(start_paused = true)]
async fn latency_comes_first_and_then_a_gap_between_words() {
    let (second, gap) = (Duration::from_secs(1), Duration::from_millis(10));
    let latency = aplomb_mock::Latency::constant(second);
    let mock = Mock::builder().latency(latency).token_gap(gap).answer_words(11).build();
    let start = Instant::now();
    ask(&mock, "hello").await.unwrap();
    assert_eq!(start.elapsed(), second);
    let start = Instant::now();
    send(&mock, post(OPENAI, streamed("hello"))).await.unwrap();
    assert_eq!(start.elapsed(), second + 10 * gap);
}

#[tokio::test]
async fn stats_are_the_same_from_the_service_and_from_get_stats() {
    let mock = Mock::builder().build();
    ask(&mock, "hello").await.unwrap();
    let request = http::Request::get("/stats").body(String::new()).unwrap();
    let stats: aplomb_mock::Stats = serde_json::from_str(&send(&mock, request).await.unwrap().body).unwrap();
    assert_eq!(stats, mock.stats());
    assert_eq!((stats.seen, stats.accepted, stats.answered, stats.prompts), (1, 1, 1, 1));
    assert_eq!(stats.by_status, [(200, 1)].into());
    send(&mock, post("/reset", "")).await.unwrap();
    assert_eq!(mock.stats(), aplomb_mock::Stats::default());
}
