//! Streams of which little is known, or that hold something else than events of text.

use aplomb_core::{Kind, Usage};
use aplomb_provider::StreamEvent::{Content, Done, Other, Usage as Used};
use aplomb_provider::{StreamEnd, StreamEvent, detect};

use crate::support::{self, Response, stream};

const OPENAI: &str = "https://api.openai.com/v1";
const GENERIC: &str = "https://gateway.example.org";

fn text(text: &str) -> StreamEvent<'_> {
    Content(Some(text.into()))
}

/// To ask for it again would be to pay for it twice.
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
    // Signs of life are no answer.
    assert_eq!(stream(OPENAI, "data: {\"type\": \"keepalive\"}\n\n").1, StreamEnd::Truncated);
}

#[test]
fn a_usage_in_an_event_of_an_unknown_shape_is_told() {
    let body = "data: {\"type\": \"new.done\", \"text\": \"I\", \
        \"usage\": {\"input_tokens\": 14, \"output_tokens\": 45, \"total_tokens\": 59}}\n\ndata: [DONE]\n\n";
    let used = Used(Usage::unknown().with_input(14).with_output(45).with_total(59));
    for url in [OPENAI, GENERIC] {
        let (events, end) = stream(url, body);
        assert_eq!((events, end), (vec![Content(None), used.clone(), Done], StreamEnd::Complete), "{url}");
    }
}

/// OpenAI's streams of images have no marker at their end, and one last event for each image.
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
    // An image is longer than what is looked into.
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
        assert!(end.judgement().outcome().is_retryable(), "{url}");
    }
}

/// The chunk says at its end why it is the last, which is not seen.
#[test]
fn a_last_chunk_too_long_to_look_into_does_not_cut_an_answer() {
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
        // Within it, it is cut; and another one after it is not whole for that.
        assert_eq!(stream(url, &body[..body.len() - 40]).1, StreamEnd::Truncated, "{url}");
        let more = format!("{body}\n\ndata: {first}\n\n");
        assert_eq!(stream(url, &more).1, StreamEnd::Truncated, "{url}");
        let json = Response::new(200, &[("content-type", "application/json")]);
        let body = format!("[{first},\n{last}]");
        let read = |body: &str| support::read(detect(url).stream(&json.head()), [body.as_bytes()]);
        assert_eq!(read(&body), (content, StreamEnd::Complete), "{url}");
        assert_eq!(read(&body[..body.len() - 1]).1, StreamEnd::Truncated, "{url}");
    }
    // Who has a marker is not whole without it.
    let chat = "data: {\"choices\": [{\"delta\": {\"content\": \"Here\"}}]}\n\n";
    let long = format!("{chat}data: {{\"choices\": [{{\"delta\": {{\"content\": \"{image}\"}}}}]}}\n\n");
    assert_eq!(stream(OPENAI, &long).1, StreamEnd::Truncated);
}

/// Where the head has promised events, it is no event, and it is why there are none.
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
            assert_eq!(end.judgement().outcome().kind(), Kind::Exhausted, "{url} {body}");
            let whole = detect(url).ending(&events.head(), body.as_bytes());
            assert_eq!(whole.judgement().outcome().kind(), Kind::Exhausted, "{url} {body}");
        }
    }
    // Its first half is none, and what is no error is no answer.
    assert_eq!(stream(OPENAI, &body[..40]).1, StreamEnd::Truncated);
    assert_eq!(stream(OPENAI, "{\"id\": 1}").1, StreamEnd::Truncated);
}

/// Gemini writes one so, after some of the answer too.
#[test]
fn an_error_in_json_amid_events_is_that_error() {
    let first = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"Hi\"}]}}]}\n\n";
    let error = "{\n  \"error\": {\n    \"code\": 400,\n    \"message\": \"m\",\n    \"status\": \"INVALID_ARGUMENT\"\n  }\n}\n";
    let gemini = "https://generativelanguage.googleapis.com/v1beta";
    for url in [gemini, GENERIC] {
        let (events, end) = stream(url, &format!("{first}{error}"));
        assert_eq!(events[0], text("Hi"));
        assert_eq!(end.judgement().outcome().kind(), Kind::Permanent, "{url}");
    }
    // One that is left open hides neither the events nor the error after it.
    let open = "{\n\"id\": {\n";
    let chat = "data: {\"choices\": [{\"delta\": {\"content\": \"Hi\"}}]}\n\n";
    let done = format!("{open}{chat}data: [DONE]\n\n");
    assert_eq!(stream(OPENAI, &done), (vec![text("Hi"), Done], StreamEnd::Complete));
    let failed = stream(OPENAI, &format!("{open}{chat}{error}")).1;
    assert_eq!(failed.judgement().outcome().kind(), Kind::Permanent);
}
