//! Buffered answers: their ending, text and usage.

use aplomb_core::{Kind, Reason, Usage};
use aplomb_provider::{Anthropic, Generic, OpenAi, Provider, StreamEnd};

use crate::support::Response;

const ALL: [&dyn Provider; 3] = [&OpenAi, &Anthropic, &Generic];

const CHAT: &str = r#"{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2}}"#;
const RESPONSE: &str = r#"{"object": "response", "error": null, "output": [{"type": "reasoning", "summary": []},
    {"type": "message", "content": [{"type": "output_text", "text": "Hel"}, {"type": "output_text", "text": "lo"}]}],
    "usage": {"input_tokens": 9, "output_tokens": 2}}"#;
const MESSAGE: &str = r#"{"type": "message", "content": [{"type": "thinking", "thinking": "hm"},
    {"type": "text", "text": "Hello"}], "usage": {"input_tokens": 9, "output_tokens": 2}}"#;
const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";

fn json() -> Response {
    Response::new(200, &[("content-type", "application/json; charset=utf-8")])
}

#[test]
fn text_and_usage_of_every_shape() {
    let stream = Response::new(200, &[("content-type", "text/event-stream")]);
    let bare = Response::new(200, &[]);
    let cases: [(&dyn Provider, &Response, &str); 8] = [
        (&OpenAi, &json(), CHAT),
        (&OpenAi, &json(), RESPONSE),
        (&OpenAi, &stream, STREAM),
        (&Anthropic, &json(), MESSAGE),
        (&Generic, &json(), CHAT),
        (&Generic, &json(), RESPONSE),
        (&Generic, &bare, MESSAGE),
        (&Generic, &bare, STREAM),
    ];
    for (provider, response, body) in cases {
        let head = response.head();
        assert_eq!(provider.text(&head, body.as_bytes()).as_deref(), Some("Hello"), "{body}");
        let usage = Usage::unknown().with_input(9).with_output(2);
        assert_eq!(provider.usage(&head, body.as_bytes()), Some(usage), "{body}");
        assert_eq!(provider.ending(&head, body.as_bytes()), StreamEnd::Complete, "{body}");
    }
}

#[test]
fn json_that_is_cut_is_truncated_wherever_it_is_cut() {
    for provider in ALL {
        for cut in 0..CHAT.len() {
            let end = provider.ending(&json().head(), &CHAT.as_bytes()[..cut]);
            assert_eq!(end, StreamEnd::Truncated, "{}", &CHAT[..cut]);
        }
    }
}

#[test]
fn bodies_that_are_not_json_are_trusted() {
    let audio = Response::new(200, &[("content-type", "audio/mpeg")]);
    let empty = Response::new(204, &[]);
    for provider in ALL {
        assert_eq!(provider.ending(&audio.head(), b"\xFF\xFB"), StreamEnd::Complete);
        assert_eq!(provider.text(&audio.head(), b"\xFF\xFB"), None);
        assert_eq!(provider.ending(&empty.head(), b""), StreamEnd::Complete);
        assert_eq!(provider.ending(&json().head(), b"\n\n {} \n"), StreamEnd::Complete);
        assert_eq!(provider.ending(&json().head(), b"{\"a\": 1}\n{\"done\": true}\n"), StreamEnd::Complete);
        assert_eq!(provider.ending(&json().head(), b"{\"a\": 1}\n{\"done\""), StreamEnd::Truncated);
    }
}

#[test]
fn an_error_is_not_an_answer() {
    for provider in ALL {
        let error = br#"{"error": {"code": "insufficient_quota", "message": "m"}}"#;
        for status in [200, 429] {
            let response = Response::new(status, &[("content-type", "application/json")]);
            let StreamEnd::Failed(judged) = provider.ending(&response.head(), error) else {
                panic!("{status}")
            };
            assert_eq!(judged.outcome().kind(), Kind::Exhausted);
            assert_eq!(provider.text(&response.head(), error), None);
        }
        // An error status counts, whatever the body looks like.
        let page = Response::new(502, &[("content-type", "text/event-stream")]);
        let end = provider.ending(&page.head(), b"data: [DONE]\n\n");
        assert_eq!(end.classification().reason(), Some(Reason::ServerError));
    }
}
