//! The first bytes of a body outrank its declared media type.

use aplomb_core::{Kind, Reason, Scope};
use aplomb_provider::StreamEvent::{Content, Done};
use aplomb_provider::{StreamEnd, StreamEvent, Text, detect};

use crate::support::{self, Response};

const URLS: [&str; 3] = [
    "https://api.openai.com/v1",
    "https://api.anthropic.com",
    "https://gateway.example.org",
];

/// Reads a body whole, in pieces and buffered, which must agree.
fn read(url: &str, headers: &[(&str, &str)], body: &[u8]) -> (Vec<StreamEvent<'static>>, StreamEnd) {
    let (response, provider) = (Response::new(200, headers), detect(url));
    let whole = support::read(provider.stream(&response.head()), [body]);
    assert_eq!(
        whole,
        support::read(provider.stream(&response.head()), body.chunks(1)),
        "{url} {headers:?}"
    );
    let ending = provider.ending(&response.head(), body);
    assert_eq!(ending.classification().outcome(), whole.1.classification().outcome(), "{url} {headers:?}");
    whole
}

fn typed(media_type: &str) -> [(&str, &str); 1] {
    [("content-type", media_type)]
}

#[test]
fn events_under_json_or_text_are_events() {
    let events = "data: {\"choices\": [{\"delta\": {\"content\": \"Hi\"}}]}\n\ndata: [DONE]\n\n";
    for media_type in [
        "application/json",
        "application/x-ndjson",
        "text/plain",
        "text/html",
    ] {
        let expected = (vec![Content(Some(Text::from("Hi"))), Done], StreamEnd::Complete);
        assert_eq!(read(URLS[0], &typed(media_type), events.as_bytes()), expected, "{media_type}");
    }
}

#[test]
fn an_answer_in_json_where_events_were_promised_is_that_answer() {
    let pretty = "{\n  \"choices\": [\n    {\n      \"message\": {\"content\": \"Hi\"},\n      \"finish_reason\": \"stop\"\n    }\n  ]\n}\n";
    let compact = pretty.replace(['\n', ' '], "");
    let message =
        r#"{"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}"#;
    for url in URLS {
        for body in [pretty, &compact, message] {
            let (events, end) = read(url, &typed("text/event-stream"), body.as_bytes());
            assert_eq!(end, StreamEnd::Complete, "{url} {body}");
            assert_eq!(events.first(), Some(&Content(Some(Text::from("Hi")))), "{url} {body}");
        }
        let cut = read(url, &typed("text/event-stream"), &pretty.as_bytes()[..60]);
        assert_eq!(cut.1, StreamEnd::Truncated, "{url}");
    }
}

#[test]
fn a_web_page_is_no_answer_under_any_type() {
    let page = b"\n<!DOCTYPE html><html><head><title>Sign in</title></head></html>";
    let types = [
        "application/json",
        "text/event-stream",
        "text/html; charset=utf-8",
        "text/plain",
    ];
    for url in URLS {
        for headers in types.iter().map(|media_type| typed(media_type).to_vec()).chain([vec![]]) {
            let (_, end) = read(url, &headers, page);
            let judged = end.classification();
            let (kind, scope) = (judged.outcome().kind(), judged.outcome().scope());
            assert_eq!((kind, scope), (Kind::Transient, Scope::Server), "{url} {headers:?}");
            assert_eq!(judged.cause(), Some("a web page came in place of an answer"));
            let buffered = detect(url).judge(&Response::new(200, &headers).head(), page);
            assert_eq!(buffered.reason(), Some(Reason::Unknown), "{url} {headers:?}");
        }
        // XML and text that begins with a tag may be what was asked for.
        for body in ["<?xml version=\"1.0\"?><speak/>", "<b>Hi</b>", "<", "<htm"] {
            assert_eq!(
                read(url, &typed("text/plain"), body.as_bytes()).1,
                StreamEnd::Complete,
                "{url} {body}"
            );
        }
    }
}

#[test]
fn a_compressed_body_is_passed_on_whether_it_says_so_or_not() {
    let gzip = b"\x1F\x8B\x08\0\0\0\0\0\x02\x03";
    let zstd = b"\x28\xB5\x2F\xFD\x04\0";
    for url in URLS {
        for body in [&gzip[..], zstd] {
            for media_type in ["application/json", "application/octet-stream"] {
                let (events, end) = read(url, &typed(media_type), body);
                assert_eq!((events, end), (vec![Content(None)], StreamEnd::Complete), "{url} {media_type}");
            }
        }
        let declared = [("content-type", "text/event-stream"), ("content-encoding", "br")];
        assert_eq!(read(url, &declared, b"\x0b\x02").1, StreamEnd::Complete, "{url}");
        let identity = [
            ("content-type", "application/json"),
            ("content-encoding", "identity"),
        ];
        assert_eq!(read(url, &identity, b"{").1, StreamEnd::Truncated, "{url}");
    }
}

#[test]
fn an_empty_finish_reason_is_none() {
    let piece = |text: &str, reason: &str| {
        format!(
            "data: {{\"choices\": [{{\"delta\": {{\"content\": \"{text}\"}}, \"finish_reason\": {reason}}}]}}\n\n"
        )
    };
    let generic = URLS[2];
    let cut = [piece("He", "\"\""), piece("llo", "\"\"")].concat();
    assert_eq!(support::stream(generic, &cut).1, StreamEnd::Truncated);
    let whole = [piece("He", "\"\""), piece("llo", "\"stop\"")].concat();
    assert_eq!(support::stream(generic, &whole).1, StreamEnd::Complete);
}
