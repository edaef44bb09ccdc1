//! An event that is understood without being parsed means what it means parsed.

use aplomb_core::WallClock;
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use super::StreamEvent;
use super::interpreter::Interpreter;
use crate::Head;
use crate::dialect::Dialect;

static GENERIC: Dialect = Dialect::GENERIC;

/// Names and data of events, with `@` for a text, `#` for a number and `%` for a text that decides nothing.
const EVENTS: &[(&str, &str)] = &[
    (
        "",
        r#"{"id":"c","choices":[{"index":0,"delta":{"content":"@"},"finish_reason":null}],"obfuscation":"%"}"#,
    ),
    (
        "",
        r#"{"choices":[{"index":0,"delta":{"content":"@"},"finish_reason":null}],"usage":null}"#,
    ),
    ("", r#"{"choices":[{"index":1,"delta":{"content":"@"},"finish_reason":null}]}"#),
    ("", r#"{"choices":[{"index":0,"delta":{"content":"@","reasoning":"%"}}]}"#),
    ("", r#"{"choices":[{"delta":{"content":"@"},"finish_reason":"stop"}]}"#),
    ("", r#"{"choices":[{"delta":{"content":"@"}}],"usage":{"completion_tokens":#}}"#),
    ("", r#"{"choices":[{"delta":{"content":"@"}},{"delta":{"content":"%"}}]}"#),
    ("", r#"{"error":{"message":"@"}}"#),
    (
        "response.output_text.delta",
        r#"{"type":"response.output_text.delta","sequence_number":#,"delta":"@","obfuscation":"%"}"#,
    ),
    ("", r#"{"type":"response.output_text.delta","delta":"@","sequence_number":#}"#),
    (
        "content_block_delta",
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"@"}}"#,
    ),
    (
        "content_block_delta",
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"@"}}"#,
    ),
    ("converse.contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"@"},"p":"%"}"#),
    ("", r#"{"candidates":[{"content":{"parts":[{"text":"@"}]}}]}"#),
    ("", r#"{"event_type":"text-generation","text":"@"}"#),
    ("", r#"{"message":{"content":"@"},"done":false}"#),
    ("", r#"{"token":{"text":"@","special":false},"generated_text":null}"#),
    ("", r#"{"delta":{"content":"@"},"delta":{"finish_reason":"ERROR"}}"#),
    ("strange", r#"{"text":"@"}"#),
];

/// An event of this kind.
fn event((name, data): (&'static str, &'static str)) -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let text = || {
        prop_oneof![
            4 => "[a-z ]{0,6}",
            2 => "(\\\\n|\\\\\"|\\\\u00e4|ß|\\\\ud83d\\\\ude00|x){0,4}",
            1 => "(\"|\\\\|\n|\\\\x|\"\\},\\{\"|\u{1}|abort){0,2}",
        ]
    };
    let number = prop_oneof![3 => "[1-9][0-9]{0,3}", 1 => "(0|00|1e5|-1|1\\.5|[0-9]{16,20}|)"];
    let damage = prop::option::weighted(0.1, (any::<prop::sample::Index>(), any::<u8>()));
    (text(), text(), number, damage).prop_map(move |(text, other, number, damage)| {
        let data = data.replace('@', &text).replace('%', &other).replace('#', &number);
        let mut data = data.into_bytes();
        if let Some((at, byte)) = damage {
            let at = at.index(data.len());
            data[at] = byte;
        }
        (name, data)
    })
}

/// Events of a few kinds, several of each in a row.
fn stream() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let kind = prop::sample::select(EVENTS);
    let several = kind.prop_flat_map(|kind| prop::collection::vec(event(kind), 1..6));
    prop::collection::vec(several, 1..5).prop_map(|events| events.concat())
}

fn read(interpreter: &mut Interpreter, name: &str, data: &[u8]) -> Vec<StreamEvent<'static>> {
    let mut events = Vec::new();
    interpreter.event(name, Some(data), true, &mut |event| events.push(event.into_owned()));
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_not_parsed_means_what_it_means_parsed(events in stream()) {
        let (headers, clock) = (HeaderMap::new(), WallClock::system());
        let head = Head::new(StatusCode::OK, &headers, &clock);
        let (mut usual, mut parsing) = (Interpreter::new(&GENERIC, &head), Interpreter::new(&GENERIC, &head));
        for (name, data) in events {
            parsing.forget();
            let expected = read(&mut parsing, name, &data);
            prop_assert_eq!(read(&mut usual, name, &data), expected, "{}", String::from_utf8_lossy(&data));
            prop_assert_eq!(usual.may_end_here(), parsing.may_end_here());
            prop_assert_eq!(usual.lacks_last_chunk(), parsing.lacks_last_chunk());
            prop_assert_eq!(usual.usage(), parsing.usage());
        }
    }
}
