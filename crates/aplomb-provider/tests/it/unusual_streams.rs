//! Streams of unknown shapes, and streams of other content than text.

use aplomb_core::{Kind, Reason, Usage};
use aplomb_provider::StreamEvent::{Content, Done, Other, Usage as Used};
use aplomb_provider::{StreamEnd, StreamEvent, detect};

use crate::support::{self, Response, stream};

const OPENAI: &str = "https://api.openai.com/v1";
const GENERIC: &str = "https://gateway.example.org";

fn text(text: &str) -> StreamEvent<'_> {
    Content(Some(text.into()))
}

/// Asking again might mean paying twice.
#[test]
fn an_event_of_an_unknown_shape_is_content_at_every_provider() {
    let body = "data: {\"type\": \"new.delta\", \"piece\": 1}\n\ndata: {\"type\": \"new.done\"}\n\n";
    for url in [
        OPENAI,
        GENERIC,
        "https://api.anthropic.com",
        "https://api.mistral.ai/v1",
    ] {
        assert_eq!(stream(url, body), (vec![Content(None), Content(None)], StreamEnd::Complete), "{url}");
    }
}

#[test]
fn a_stream_of_an_unknown_shape_that_ends_within_an_event_is_truncated() {
    let body = "data: {\"type\": \"new.delta\", \"piece\": 1}\n\ndata: {\"type\": \"new.delta\", \"pie";
    for url in [OPENAI, GENERIC] {
        assert_eq!(stream(url, body), (vec![Content(None), Other], StreamEnd::Truncated), "{url}");
    }
    // Signs of life are not an answer.
    assert_eq!(stream(OPENAI, "data: {\"type\": \"keepalive\"}\n\n").1, StreamEnd::Truncated);
}

#[test]
fn usage_in_an_event_of_an_unknown_shape_is_reported() {
    let body = "data: {\"type\": \"new.done\", \"text\": \"I\", \
        \"usage\": {\"input_tokens\": 14, \"output_tokens\": 45, \"total_tokens\": 59}}\n\ndata: [DONE]\n\n";
    let used = Used(Usage::unknown().with_input(14).with_output(45).with_total(59));
    for url in [OPENAI, GENERIC] {
        let (events, end) = stream(url, body);
        assert_eq!((events, end), (vec![Content(None), used.clone(), Done], StreamEnd::Complete), "{url}");
    }
}

/// They have no end marker, and one `completed` event for each image.
#[test]
fn a_stream_of_openais_images_ends_with_its_completed_event() {
    for of in ["image_generation", "image_edit"] {
        let partial = format!(
            "event: {of}.partial_image\ndata: {{\"type\": \"{of}.partial_image\", \"b64_json\": \"aGk=\", \
             \"partial_image_index\": 0}}\n\n"
        );
        let completed = format!(
            "event: {of}.completed\ndata: {{\"type\": \"{of}.completed\", \"b64_json\": \"aGk=\", \
             \"usage\": {{\"input_tokens\": 50, \"output_tokens\": 50, \"total_tokens\": 100}}}}\n\n"
        );
        let used = Used(Usage::unknown().with_input(50).with_output(50).with_total(100));
        for url in [OPENAI, GENERIC] {
            let (events, end) = stream(url, &format!("{partial}{completed}"));
            assert_eq!(events, [Content(None), Content(None), used.clone()], "{url}");
            assert_eq!(end, StreamEnd::Complete, "{url}");
            assert_eq!(stream(url, &partial).1, StreamEnd::Truncated, "{url}");
            let second = format!("{partial}{completed}{partial}");
            assert_eq!(stream(url, &second).1, StreamEnd::Truncated, "{url}");
        }
    }
    // An image is too long to be parsed.
    let long = "A".repeat(2 << 20);
    let event = |name: &str| format!("event: {name}\ndata: {{\"b64_json\": \"{long}\"}}\n\n");
    let (partial, completed) = (event("image_generation.partial_image"), event("image_generation.completed"));
    assert_eq!(stream(OPENAI, &partial).1, StreamEnd::Truncated);
    let both = stream(OPENAI, &format!("{partial}{completed}"));
    assert_eq!(both, (vec![Content(None), Content(None)], StreamEnd::Complete));
}

#[test]
fn streams_of_openais_speech_and_transcriptions_end_with_their_done_event() {
    let used = Used(Usage::unknown().with_input(4).with_output(1).with_total(5));
    let usage = "\"usage\": {\"input_tokens\": 4, \"output_tokens\": 1, \"total_tokens\": 5}";
    for (delta, done, events) in [
        (
            "{\"type\": \"speech.audio.delta\", \"audio\": \"aGk=\"}",
            "speech.audio.done",
            vec![Content(None), used.clone(), Done],
        ),
        (
            "{\"type\": \"transcript.text.delta\", \"delta\": \"Hi\"}",
            "transcript.text.done",
            vec![text("Hi"), Content(None), used.clone(), Done],
        ),
    ] {
        let body = format!("data: {delta}\n\n");
        assert_eq!(stream(OPENAI, &body), (vec![events[0].clone()], StreamEnd::Truncated), "{body}");
        let body = format!("{body}data: {{\"type\": \"{done}\", {usage}}}\n\n");
        assert_eq!(stream(OPENAI, &body), (events, StreamEnd::Complete), "{body}");
    }
}

#[test]
fn mistrals_conversations() {
    let started =
        "event: conversation.response.started\ndata: {\"type\": \"conversation.response.started\"}\n\n";
    let tool = "event: tool.execution.started\ndata: {\"type\": \"tool.execution.started\"}\n\n";
    let delta =
        "event: message.output.delta\ndata: {\"type\": \"message.output.delta\", \"content\": \"Hi\"}\n\n";
    let chunk =
        "data: {\"type\": \"message.output.delta\", \"content\": {\"type\": \"text\", \"text\": \"!\"}}\n\n";
    let done = "event: conversation.response.done\ndata: {\"type\": \"conversation.response.done\", \
        \"usage\": {\"prompt_tokens\": 4, \"completion_tokens\": 1, \"total_tokens\": 5}}\n\n";
    let used = Used(Usage::unknown().with_input(4).with_output(1).with_total(5));
    for url in ["https://api.mistral.ai/v1", GENERIC] {
        let (events, end) = stream(url, &format!("{started}{tool}{delta}{chunk}{done}"));
        assert_eq!(events, [Other, Content(None), text("Hi"), text("!"), used.clone(), Done], "{url}");
        assert_eq!(end, StreamEnd::Complete);
        assert_eq!(stream(url, &format!("{started}{delta}")).1, StreamEnd::Truncated, "{url}");
        let failed =
            "data: {\"type\": \"conversation.response.error\", \"message\": \"m\", \"code\": 503}\n\n";
        let (events, end) = stream(url, &format!("{started}{failed}"));
        assert!(!events.iter().any(StreamEvent::is_content), "{url}");
        assert!(end.classification().outcome().is_retryable(), "{url}");
    }
}

/// The chunk says that it is the last at its end, which is not parsed.
#[test]
fn a_last_chunk_too_long_to_parse_does_not_truncate_an_answer() {
    let image = "A".repeat(1 << 20);
    let first = "{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"Here\"}]}}]}";
    let last = format!(
        "{{\"candidates\": [{{\"content\": {{\"parts\": [{{\"inlineData\": {{\"mimeType\": \"image/png\", \
         \"data\": \"{image}\"}}}}]}}, \"finishReason\": \"STOP\"}}]}}"
    );
    let gemini = "https://generativelanguage.googleapis.com/v1beta";
    for url in [gemini, GENERIC] {
        let body = format!("data: {first}\n\ndata: {last}");
        let content = vec![text("Here"), Content(None)];
        assert_eq!(stream(url, &format!("{body}\n\n")), (content.clone(), StreamEnd::Complete), "{url}");
        assert_eq!(stream(url, &body).1, StreamEnd::Complete, "{url}");
        // Inside the chunk the answer is truncated; so is one with another chunk after it.
        assert_eq!(stream(url, &body[..body.len() - 40]).1, StreamEnd::Truncated, "{url}");
        let more = format!("{body}\n\ndata: {first}\n\n");
        assert_eq!(stream(url, &more).1, StreamEnd::Truncated, "{url}");
        let json = Response::new(200, &[("content-type", "application/json")]);
        let body = format!("[{first},\n{last}]");
        let read = |body: &str| support::read(detect(url).stream(&json.head()), [body.as_bytes()]);
        assert_eq!(read(&body), (content, StreamEnd::Complete), "{url}");
        assert_eq!(read(&body[..body.len() - 1]).1, StreamEnd::Truncated, "{url}");
    }
    // A shape with a marker is incomplete without it.
    let chat = "data: {\"choices\": [{\"delta\": {\"content\": \"Here\"}}]}\n\n";
    let long = format!("{chat}data: {{\"choices\": [{{\"delta\": {{\"content\": \"{image}\"}}}}]}}\n\n");
    assert_eq!(stream(OPENAI, &long).1, StreamEnd::Truncated);
}

#[test]
fn an_error_in_json_where_events_were_promised_is_that_error() {
    let body = r#"{"error": {"message": "m", "code": "insufficient_quota"}}"#;
    let events = Response::new(200, &[("content-type", "text/event-stream")]);
    for url in ["https://openrouter.ai/api/v1", OPENAI, GENERIC] {
        for body in [
            body.to_owned(),
            format!("\n\n{body}\n"),
            format!(": ping\n\n{body}"),
            format!("[{body}]"),
        ] {
            let (_, end) = stream(url, &body);
            assert_eq!(end.classification().outcome().kind(), Kind::Exhausted, "{url} {body}");
            let whole = detect(url).ending(&events.head(), body.as_bytes());
            assert_eq!(whole.classification().outcome().kind(), Kind::Exhausted, "{url} {body}");
        }
    }
    // Half an error is not one, and JSON that is not an error is not an answer.
    assert_eq!(stream(OPENAI, &body[..40]).1, StreamEnd::Truncated);
    assert_eq!(stream(OPENAI, "{\"id\": 1}").1, StreamEnd::Truncated);
}

/// Gemini sends one, even after some of the answer.
#[test]
fn an_error_in_json_amid_events_is_that_error() {
    let first = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"Hi\"}]}}]}\n\n";
    let error = "{\n  \"error\": {\n    \"code\": 400,\n    \"message\": \"m\",\n    \"status\": \"INVALID_ARGUMENT\"\n  }\n}\n";
    let gemini = "https://generativelanguage.googleapis.com/v1beta";
    for url in [gemini, GENERIC] {
        let (events, end) = stream(url, &format!("{first}{error}"));
        assert_eq!(events[0], text("Hi"));
        assert_eq!(end.classification().outcome().kind(), Kind::Permanent, "{url}");
    }
    // An unfinished value hides neither events nor errors after it.
    let open = "{\n\"id\": {\n";
    let chat = "data: {\"choices\": [{\"delta\": {\"content\": \"Hi\"}}]}\n\n";
    let done = format!("{open}{chat}data: [DONE]\n\n");
    assert_eq!(stream(OPENAI, &done), (vec![text("Hi"), Done], StreamEnd::Complete));
    let failed = stream(OPENAI, &format!("{open}{chat}{error}")).1;
    assert_eq!(failed.classification().outcome().kind(), Kind::Permanent);
}

#[test]
fn a_damaged_event_breaks_a_stream_of_json_and_no_other() {
    let word =
        |word: &str| format!("data: {{\"choices\": [{{\"delta\": {{\"content\": \"{word}\"}}}}]}}\n\n");
    let cut_off = "data: {\"choices\": [{\"delta\": {\"content\": \"tw\n\n";
    let head_lost = "data: ices\": [{\"delta\": {\"content\": \"two\"}}]}\n\n";
    let page = "data: <html><body>502 Bad Gateway</body></html>\n\n";
    let with = |event: &str| format!("{}{event}{}data: [DONE]\n\n", word("one"), word("three"));
    for url in [OPENAI, GENERIC] {
        for damaged in [cut_off, head_lost, page] {
            let (events, end) = stream(url, &with(damaged));
            assert_eq!(events[0], text("one"), "{url} {damaged}");
            let reason = end.classification().reason();
            assert_eq!((events.len(), reason), (2, Some(Reason::Truncated)), "{url} {damaged}");
        }
        // The end of the body cuts an event off: that is no damage.
        let cut = format!("{}{}", word("one"), cut_off.trim_end());
        assert_eq!(stream(url, &cut).1, StreamEnd::Truncated, "{url}");
        // Nor is a keep-alive.
        assert_eq!(stream(url, &with("data: keep-alive\n\n")).1, StreamEnd::Complete, "{url}");
    }
    // An unknown server may stream source code.
    let code = "data: fn main()\n\ndata: {\n\ndata: }\n\n";
    assert_eq!(stream(GENERIC, code).1, StreamEnd::Complete);
}

#[test]
fn events_without_blank_lines_between_them_are_read_one_by_one() {
    let word = |word: &str| format!("data: {{\"choices\": [{{\"delta\": {{\"content\": \"{word}\"}}}}]}}\n");
    for url in [OPENAI, GENERIC] {
        let body = format!("{}{}data: [DONE]\n\n", word("He"), word("llo"));
        assert_eq!(stream(url, &body), (vec![text("He"), text("llo"), Done], StreamEnd::Complete), "{url}");
        // A value may span lines.
        let lines = "data: {\"choices\": [\ndata: {\"delta\": {\"content\": \"Hi\"}}]}\n\ndata: [DONE]\n\n";
        assert_eq!(stream(url, lines), (vec![text("Hi"), Done], StreamEnd::Complete), "{url}");
    }
}

#[test]
fn the_first_bytes_outrank_a_media_type_of_json_or_text() {
    let events = "data: {\"choices\": [{\"delta\": {\"content\": \"Hi\"}}]}\n\ndata: [DONE]\n\n";
    let read = |media_type: &str, body: &str| {
        let response = Response::new(200, &[("content-type", media_type)]);
        let whole = support::read(detect(OPENAI).stream(&response.head()), [body.as_bytes()]);
        let split = support::read(detect(OPENAI).stream(&response.head()), body.as_bytes().chunks(1));
        assert_eq!(whole, split, "{media_type} {body}");
        assert_eq!(detect(OPENAI).ending(&response.head(), body.as_bytes()), whole.1, "{media_type} {body}");
        whole
    };
    for media_type in ["application/json", "text/plain"] {
        assert_eq!(read(media_type, events), (vec![text("Hi"), Done], StreamEnd::Complete), "{media_type}");
    }
    let ping = format!(": ping\n\n{events}");
    assert_eq!(read("application/json", &ping).1, StreamEnd::Complete);
    // Text may start with a colon, and other formats with anything.
    assert_eq!(read("text/plain", ":) Hi"), (vec![Content(None)], StreamEnd::Complete));
    assert_eq!(read("text/plain", "dat"), (vec![Content(None)], StreamEnd::Complete));
    assert_eq!(read("audio/mpeg", "data: x"), (vec![Content(None)], StreamEnd::Complete));
    assert_eq!(read("application/json", "\"data:\""), (vec![Content(None)], StreamEnd::Complete));
    assert_eq!(read("application/json", "").1, StreamEnd::Truncated);
}

#[test]
fn finish_reasons_of_broken_answers_are_errors() {
    let last = |reasons: &str, content: &str| {
        let choice = format!("{{\"delta\": {{\"content\": \"{content}\"}}, {reasons}}}");
        stream(OPENAI, &format!("data: {{\"choices\": [{choice}]}}\n\ndata: [DONE]\n\n")).1
    };
    for reason in ["stop", "length", "tool_calls", "content_filter", "eos"] {
        assert_eq!(last(&format!("\"finish_reason\": \"{reason}\""), "Hi"), StreamEnd::Complete, "{reason}");
    }
    let reason = |end: StreamEnd| end.classification().reason();
    assert_eq!(reason(last("\"finish_reason\": \"abort\"", "Hi")), Some(Reason::ServerError));
    let overloaded = last("\"finish_reason\": \"insufficient_system_resource\"", "");
    assert_eq!(reason(overloaded), Some(Reason::Overloaded));
    // The reason behind a gateway counts if there is no content.
    let native = "\"finish_reason\": \"stop\", \"native_finish_reason\": \"network_error\"";
    assert_eq!(reason(last(native, "")), Some(Reason::ServerError));
    assert_eq!(last(native, "Hi"), StreamEnd::Complete);
    let first = "data: {\"choices\": [{\"delta\": {\"content\": \"Hi\"}}]}\n\n";
    let last = format!("data: {{\"choices\": [{{\"delta\": {{}}, {native}}}]}}\n\ndata: [DONE]\n\n");
    assert_eq!(stream(OPENAI, &format!("{first}{last}")).1, StreamEnd::Complete);
}
