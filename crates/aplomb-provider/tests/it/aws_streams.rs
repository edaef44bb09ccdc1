//! AWS event streams, as Bedrock sends them.

use aplomb_core::{Kind, Reason, Usage};
use aplomb_provider::StreamEvent::{Content, Done, Other, Usage as Used};
use aplomb_provider::{Bedrock, Generic, Provider, StreamEnd, StreamEvent};

use crate::support::{self, Response};

fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| {
        if crc & 1 == 1 {
            0xEDB8_8320 ^ (crc >> 1)
        } else {
            crc >> 1
        }
    };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
}

fn frame(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let header = |(name, value): &(&str, &str)| {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [
            &[u8::try_from(name.len()).unwrap()],
            name.as_bytes(),
            &[7],
            &length,
            value.as_bytes(),
        ]
        .concat()
    };
    let headers = headers.iter().flat_map(header).collect::<Vec<_>>();
    let length = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
    let mut frame = [length(16 + headers.len() + payload.len()), length(headers.len())].concat();
    frame.extend(crc32(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend(payload.bytes());
    frame.extend(crc32(&frame).to_be_bytes());
    frame
}

fn event(name: &str, payload: &str) -> Vec<u8> {
    let headers = [
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    frame(&headers, payload)
}

pub(crate) fn exception(name: &str) -> Vec<u8> {
    frame(&[(":exception-type", name), (":message-type", "exception")], r#"{"message": "m"}"#)
}

pub(crate) fn converse() -> [Vec<u8>; 6] {
    [
        event("messageStart", r#"{"role":"assistant","p":"abc"}"#),
        event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hel"},"p":"ab"}"#),
        event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"lo"},"p":"a"}"#),
        event("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        event("messageStop", r#"{"stopReason":"end_turn"}"#),
        event(
            "metadata",
            r#"{"usage":{"inputTokens":9,"outputTokens":2,"totalTokens":11},"metrics":{}}"#,
        ),
    ]
}

pub(crate) fn read(body: &[u8]) -> (Vec<StreamEvent<'static>>, StreamEnd) {
    let response = Response::new(200, &[("content-type", "application/vnd.amazon.eventstream")]);
    let whole = support::read(Bedrock.stream(&response.head()), [body]);
    let split = support::read(Bedrock.stream(&response.head()), body.chunks(7));
    assert_eq!(whole, split);
    let generic = support::read(Generic.stream(&response.head()), [body]);
    assert_eq!(whole.0.len(), generic.0.len());
    assert_eq!(Bedrock.ending(&response.head(), body), whole.1);
    whole
}

#[test]
fn converse_streams_end_with_message_stop() {
    let usage = Usage::unknown().with_input(9).with_output(2).with_total(11);
    let text = |text: &'static str| Content(Some(text.into()));
    let (events, end) = read(&converse().concat());
    assert_eq!(events, [Other, text("Hel"), text("lo"), Other, Other, Used(usage)]);
    assert_eq!(end, StreamEnd::Complete);
    let response = Response::new(200, &[("content-type", "application/vnd.amazon.eventstream")]);
    let body = converse().concat();
    assert_eq!(Bedrock.text(&response.head(), &body).as_deref(), Some("Hello"));
    assert_eq!(Bedrock.usage(&response.head(), &body), Some(usage));
}

#[test]
fn a_stream_that_is_cut_between_or_inside_frames_is_truncated() {
    let frames = converse();
    for count in 0..4 {
        assert_eq!(read(&frames[..=count].concat()).1, StreamEnd::Truncated, "{count}");
    }
    let all = frames.concat();
    for length in [1, 11, 12, 40, all.len() - 1] {
        assert_eq!(read(&all[..length]).1, StreamEnd::Truncated, "{length}");
    }
}

#[test]
fn a_damaged_frame_fails_the_stream() {
    let mut body = converse().concat();
    let middle = body.len() / 2;
    body[middle] ^= 1;
    let (events, end) = read(&body);
    assert!(matches!(events.last(), Some(StreamEvent::Error(_))));
    assert_eq!(end.classification().reason(), Some(Reason::Truncated));
}

#[test]
fn exceptions_are_judged_by_their_type() {
    for (name, kind) in [
        ("throttlingException", Kind::Throttled),
        ("modelStreamErrorException", Kind::Transient),
        ("serviceUnavailableException", Kind::Transient),
        ("internalServerException", Kind::Transient),
        ("validationException", Kind::Permanent),
    ] {
        let (events, end) = read(&exception(name));
        assert_eq!((events.len(), end.classification().outcome().kind()), (1, kind), "{name}");
        assert_eq!(end.classification().message(), Some("m"));
        // After some of the answer it is an error too.
        let [start, delta, ..] = converse();
        let (events, end) = read(&[start, delta, exception(name)].concat());
        assert!(events.iter().any(StreamEvent::is_content));
        assert_eq!(end.classification().outcome().kind(), kind, "{name}");
    }
    let error = frame(
        &[
            (":message-type", "error"),
            (":error-code", "x"),
            (":error-message", "why"),
        ],
        "",
    );
    assert_eq!(read(&error).1.classification().message(), Some("why"));
}

/// A chunk of a model, as `InvokeModelWithResponseStream` sends it.
fn chunk(json: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut base64 = String::new();
    for group in json.as_bytes().chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            base64.push(if digit <= group.len() {
                char::from(DIGITS[index as usize])
            } else {
                '='
            });
        }
    }
    event("chunk", &format!(r#"{{"bytes":"{base64}","p":"abcd"}}"#))
}

/// Chunks of each family that Bedrock serves, and the number of chunks after which the answer is complete.
const FAMILIES: &[(&str, &[&str], usize)] = &[
    (
        "anthropic",
        &[
            r#"{"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#,
            r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":2}}"#,
        ],
        4,
    ),
    (
        "llama",
        &[
            r#"{"generation":"","prompt_token_count":9,"generation_token_count":0,"stop_reason":null}"#,
            r#"{"generation":"Hi","prompt_token_count":null,"generation_token_count":1,"stop_reason":null}"#,
            r#"{"generation":"","generation_token_count":2,"stop_reason":"stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":2}}"#,
        ],
        3,
    ),
    (
        "titan",
        &[
            r#"{"outputText":"Hi","index":0,"totalOutputTextTokenCount":null,"completionReason":null,"inputTextTokenCount":9}"#,
            r#"{"outputText":"","index":0,"totalOutputTextTokenCount":2,"completionReason":"FINISH","amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":2}}"#,
        ],
        2,
    ),
    (
        "nova",
        &[
            r#"{"messageStart":{"role":"assistant"}}"#,
            r#"{"contentBlockDelta":{"delta":{"text":"Hi"},"contentBlockIndex":0}}"#,
            r#"{"contentBlockStop":{"contentBlockIndex":0}}"#,
            r#"{"messageStop":{"stopReason":"end_turn"}}"#,
            r#"{"metadata":{"usage":{"inputTokens":9,"outputTokens":2}},"amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":2}}"#,
        ],
        4,
    ),
    (
        "mistral",
        &[
            r#"{"outputs":[{"text":"Hi","stop_reason":null}]}"#,
            r#"{"outputs":[{"text":"","stop_reason":"stop"}],"amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":2}}"#,
        ],
        2,
    ),
    (
        "cohere",
        &[
            r#"{"text":"Hi","is_finished":false}"#,
            r#"{"is_finished":true,"finish_reason":"COMPLETE","amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":2}}"#,
        ],
        2,
    ),
    (
        "openai",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":2}}"#,
        ],
        2,
    ),
];

#[test]
fn every_family_of_models_ends_where_it_says_so_and_reports_its_usage() {
    for (family, chunks, complete) in FAMILIES {
        let frames: Vec<Vec<u8>> = chunks.iter().map(|json| chunk(json)).collect();
        for count in 1..=frames.len() {
            let (events, end) = read(&frames[..count].concat());
            let expected = if count >= *complete {
                StreamEnd::Complete
            } else {
                StreamEnd::Truncated
            };
            assert_eq!(end, expected, "{family} {count}");
            if count == frames.len() {
                let texts: Vec<_> = events.iter().filter(|event| event.is_content()).collect();
                assert_eq!(texts, [&Content(Some("Hi".into()))], "{family}");
            }
        }
        let response = Response::new(200, &[("content-type", "application/vnd.amazon.eventstream")]);
        let usage = Bedrock.usage(&response.head(), &frames.concat()).unwrap();
        assert_eq!((usage.input(), usage.output()), (Some(9), Some(2)), "{family}");
        // An exception before the end.
        let failed = [
            frames[..frames.len() - 1].concat(),
            exception("modelStreamErrorException"),
        ]
        .concat();
        let kind = read(&failed).1.classification().outcome().kind();
        assert_eq!(kind, Kind::Transient, "{family}");
    }
}

#[test]
fn chunks_of_models_are_unwrapped() {
    // {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}
    let delta = "eyJ0eXBlIjoiY29udGVudF9ibG9ja19kZWx0YSIsImluZGV4IjowLCJkZWx0YSI6eyJ0eXBlIjoidGV4dF9kZWx0YSIsInRleHQiOiJIaSJ9fQ==";
    // {"type":"message_stop"}
    let stop = "eyJ0eXBlIjoibWVzc2FnZV9zdG9wIn0=";
    let chunk = |bytes: &str| event("chunk", &format!(r#"{{"bytes":"{bytes}","p":"abc"}}"#));
    let (events, end) = read(&[chunk(delta), chunk(stop)].concat());
    assert_eq!((events, end), (vec![Content(Some("Hi".into())), Done], StreamEnd::Complete));
    assert_eq!(read(&chunk(delta)).1, StreamEnd::Truncated);
}
