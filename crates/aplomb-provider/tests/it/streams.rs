//! Events of streams, and how streams end.

use aplomb_core::{Kind, Reason, Usage};
use aplomb_provider::StreamEvent::{Content, Done, Error, Other, Ping, Usage as Used};
use aplomb_provider::{Anthropic, Generic, OpenAi, Provider, StreamEnd, StreamEvent};

use crate::support::{self, Response};

const CHAT: &str = r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}

: keep-alive

data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}

data: {"choices":[{"index":0,"delta":{"content":"lo"}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}

data: [DONE]

"#;

const RESPONSES: &str = r#"event: response.created
data: {"type":"response.created","response":{"status":"in_progress","error":null}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","delta":"Hello"}

event: response.completed
data: {"type":"response.completed","response":{"error":null,"usage":{"input_tokens":9,"output_tokens":2}}}

"#;

const MESSAGES: &str = r#"event: message_start
data: {"type":"message_start","message":{"usage":{"input_tokens":4,"cache_read_input_tokens":5,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}

event: message_stop
data: {"type":"message_stop"}

"#;

fn read(provider: &dyn Provider, stream: &str) -> (Vec<StreamEvent<'static>>, StreamEnd) {
    let response = Response::new(200, &[("content-type", "text/event-stream")]);
    support::read(provider.stream(&response.head()), [stream.as_bytes()])
}

fn end(provider: &dyn Provider, stream: &str) -> StreamEnd {
    read(provider, stream).1
}

fn text(text: &str) -> StreamEvent<'_> {
    Content(Some(text.into()))
}

#[test]
fn chat() {
    let used = Used(Usage::unknown().with_input(9).with_output(2));
    let expected = vec![Other, Ping, text("Hel"), text("lo"), Other, used, Done];
    for provider in [&OpenAi as &dyn Provider, &Generic] {
        assert_eq!(read(provider, CHAT), (expected.clone(), StreamEnd::Complete));
    }
}

#[test]
fn responses() {
    let used = Used(Usage::unknown().with_input(9).with_output(2));
    let expected = vec![Other, text("Hello"), used, Done];
    for provider in [&OpenAi as &dyn Provider, &Generic] {
        assert_eq!(read(provider, RESPONSES), (expected.clone(), StreamEnd::Complete));
    }
}

#[test]
fn messages() {
    let used = Usage::unknown().with_input(9).with_cached_input(5);
    let (start, last) = (Used(used.with_output(1)), Used(used.with_output(2)));
    let expected = vec![start, Other, Ping, text("Hello"), Other, last, Done];
    for provider in [&Anthropic as &dyn Provider, &Generic] {
        assert_eq!(read(provider, MESSAGES), (expected.clone(), StreamEnd::Complete));
    }
}

#[test]
fn a_stream_that_is_cut_is_truncated_wherever_it_is_cut() {
    let known: [(&dyn Provider, &str); 3] = [(&OpenAi, CHAT), (&OpenAi, RESPONSES), (&Anthropic, MESSAGES)];
    for (provider, stream) in known {
        // The last line may lack its line end.
        let whole = stream.trim_end().len();
        for cut in 0..whole {
            assert_eq!(end(provider, &stream[..cut]), StreamEnd::Truncated, "{}", &stream[..cut]);
        }
        for cut in whole..=stream.len() {
            assert_eq!(end(provider, &stream[..cut]), StreamEnd::Complete);
        }
    }
    assert_eq!(StreamEnd::Truncated.classification().reason(), Some(Reason::Truncated));
    assert_eq!(StreamEnd::Truncated.classification().outcome().kind(), Kind::Transient);
}

#[test]
fn an_unknown_server_may_omit_the_marker() {
    let finished = CHAT.replace("data: [DONE]", "");
    assert_eq!(end(&Generic, &finished), StreamEnd::Complete);
    assert_eq!(end(&OpenAi, &finished), StreamEnd::Truncated);
    let two = CHAT.replace("data: [DONE]", r#"data: {"choices":[{"index":1,"delta":{"content":"Hey"}}]}"#);
    assert_eq!(end(&Generic, &two), StreamEnd::Truncated, "the second choice is not finished");
    for silent in [
        "",
        ": ping\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
    ] {
        assert_eq!(end(&Generic, silent), StreamEnd::Truncated, "{silent}");
    }
}

#[test]
fn errors_end_a_stream() {
    for (stream, kind) in [
        (
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
            Kind::Transient,
        ),
        ("data: {\"error\":{\"code\":429,\"message\":\"m\"}}\n\ndata: [DONE]\n\n", Kind::Throttled),
        ("data: {\"error\":\"rate_limit_exceeded\"}", Kind::Throttled),
        ("event: error\ndata: it broke\n\n", Kind::Transient),
        (
            "data: {\"type\":\"error\",\"code\":\"insufficient_quota\",\"message\":\"m\"}\n\n",
            Kind::Exhausted,
        ),
        (
            "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"slow_down\"}}}\n\n",
            Kind::Throttled,
        ),
        (
            "data: {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}],\"error\":{\"code\":502}}\n\n",
            Kind::Transient,
        ),
    ] {
        for provider in [&OpenAi as &dyn Provider, &Generic] {
            let (events, end) = read(provider, stream);
            let [Error(judged)] = &events[..] else {
                panic!("{stream} {events:?}")
            };
            assert_eq!(judged.outcome().kind(), kind, "{stream}");
            assert_eq!(end, StreamEnd::Failed(judged.clone()));
        }
    }
}

#[test]
fn errors_in_the_last_event_are_errors() {
    let (cohere, groq) = ("https://api.cohere.com/v2", "https://api.groq.com/openai/v1");
    let start =
        "data: {\"type\": \"message-start\", \"delta\": {\"message\": {\"role\": \"assistant\"}}}\n\n";
    let v2 = "data: {\"type\": \"message-end\", \"delta\": {\"finish_reason\": \"ERROR\", \"error\": \"boom\"}}\n\n";
    let v1 =
        "data: {\"is_finished\": true, \"event_type\": \"stream-end\", \"finish_reason\": \"ERROR\"}\n\n";
    let role = "data: {\"choices\": [{\"index\": 0, \"delta\": {\"role\": \"assistant\"}}]}\n\n";
    let last = |error: &str| {
        format!(
            "{role}data: {{\"choices\": [], \"x_groq\": {{\"id\": \"req_1\", \"error\": {error}}}}}\n\ndata: [DONE]\n\n"
        )
    };
    for (url, body, message) in [
        (cohere, format!("{start}{v2}"), Some("boom")),
        (cohere, format!("{start}{v1}"), None),
        (groq, last("\"over capacity\""), Some("over capacity")),
        (groq, last("{\"message\": \"over capacity\"}"), Some("over capacity")),
    ] {
        for url in [url, "https://gateway.example.org"] {
            let (_, end) = support::stream(url, &body);
            let StreamEnd::Failed(judged) = end else {
                panic!("{url} {body} {end:?}")
            };
            assert_eq!(judged.outcome().kind(), Kind::Transient, "{url} {body}");
            assert_eq!(judged.message(), message, "{url} {body}");
        }
    }
    // A last event without an error is an event.
    let fine = v2.replace("\"ERROR\", \"error\": \"boom\"", "\"COMPLETE\"");
    assert_eq!(support::stream(cohere, &fine).1, StreamEnd::Complete);
    assert_eq!(support::stream(groq, &last("null")).1, StreamEnd::Complete);
    let json = Response::new(200, &[("content-type", "application/json")]);
    let whole = br#"{"id": "x", "finish_reason": "ERROR", "message": {"role": "assistant", "content": []}}"#;
    assert_eq!(aplomb_provider::Cohere.judge(&json.head(), whole).outcome().kind(), Kind::Transient);
}

#[test]
fn a_hint_in_a_stream_is_counted_from_its_head() {
    let stream =
        "event: error\ndata: {\"error\":{\"code\":\"rate_limit_exceeded\",\"resets_at\":1696004803}}\n\n";
    let (_, end) = read(&OpenAi, stream);
    assert_eq!(end.classification().outcome().retry_after().unwrap().as_secs(), 6);
}

#[test]
fn content_need_not_be_text() {
    for delta in [
        r#"{"tool_calls":[{"index":0}]}"#,
        r#"{"content":null,"reasoning_content":"hm"}"#,
        r#"{"refusal":"no"}"#,
    ] {
        let stream = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n");
        assert_eq!(read(&OpenAi, &stream).0, [Content(None)], "{delta}");
    }
    let other = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}\n\n";
    assert_eq!(read(&OpenAi, other).0, [Content(None)]);
    let thinking = "data: {\"type\":\"content_block_delta\",\"delta\":{\"thinking\":\"hm\"}}\n\n";
    assert_eq!(read(&Anthropic, thinking).0, [Content(None)]);
}

#[test]
fn an_event_too_long_to_parse_still_has_its_name() {
    let long = "x".repeat(2 << 20);
    let completed = format!("event: response.completed\ndata: {long}\n\n");
    assert_eq!(end(&OpenAi, &completed), StreamEnd::Complete);
    assert_eq!(read(&OpenAi, &format!("data: {long}\n\n")).0, [Content(None)]);
    let failed = format!("event: error\ndata: {long}\n\n");
    assert!(matches!(end(&Anthropic, &failed), StreamEnd::Failed(_)));
}

#[test]
fn a_body_that_is_not_an_event_stream_is_trusted() {
    for media_type in ["application/json", "application/x-ndjson", "audio/mpeg"] {
        let response = Response::new(200, &[("content-type", media_type)]);
        for provider in [&OpenAi as &dyn Provider, &Anthropic, &Generic] {
            let chunks = [&b""[..], b"{\"a\":", b" 1}"];
            let read = support::read(provider.stream(&response.head()), chunks);
            assert_eq!(read, (vec![Content(None)], StreamEnd::Complete), "{media_type}");
        }
    }
}

#[test]
fn debug_leaves_the_text_out() {
    assert!(!format!("{:?}", text("secret")).contains("secret"));
    let response = Response::new(200, &[]);
    let mut reader = OpenAi.stream(&response.head());
    reader.push(b"data: {\"secret\"", &mut |_| {});
    assert!(!format!("{reader:?}").contains("secret"));
    let line = b"data: ".iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    assert!(!format!("{reader:?}").contains(&line));
}
