//! Judging and reading an answer that is there as a whole.

use aplomb_core::Usage;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::stream::{is_json, whole_text};
use crate::{Head, Provider, StreamEnd, StreamEvent, usage};

/// How a buffered response ended.
pub(crate) fn end<P: Provider + ?Sized>(provider: &P, head: &Head<'_>, body: &[u8]) -> StreamEnd {
    if head.status().is_success() && form(head, body) == Form::Events {
        return events(provider, head, body, &mut |_| {});
    }
    let judgement = provider.judge(head, body);
    if !judgement.outcome().is_success() {
        return StreamEnd::Failed(judgement);
    }
    match form(head, body) {
        Form::Json if !is_whole_json(body) => StreamEnd::Truncated,
        // One value to a line: whether the last of them has come is for the reader of streams to say.
        Form::Lines => events(provider, head, body, &mut |_| {}),
        _ => StreamEnd::Complete,
    }
}

/// The text of a buffered answer.
pub(crate) fn text<P: Provider + ?Sized>(provider: &P, head: &Head<'_>, body: &[u8]) -> Option<String> {
    match form(head, body) {
        Form::Json if is_list(body) => streamed_text(provider, head, body),
        Form::Json => whole_text(&serde_json::from_slice(body).ok()?),
        Form::Lines | Form::Events => streamed_text(provider, head, body),
        Form::Other => None,
    }
}

fn streamed_text<P: Provider + ?Sized>(provider: &P, head: &Head<'_>, body: &[u8]) -> Option<String> {
    let mut text = None;
    events(provider, head, body, &mut |event| {
        if let StreamEvent::Content(Some(piece)) = event {
            text.get_or_insert_with(String::new).push_str(&piece);
        }
    });
    text
}

/// What a buffered answer says it consumed: in its body, or where it has none to say it in, in its
/// headers.
pub(crate) fn usage<P: Provider + ?Sized>(provider: &P, head: &Head<'_>, body: &[u8]) -> Option<Usage> {
    let in_body = match form(head, body) {
        Form::Json if !is_list(body) => {
            serde_json::from_slice::<Value>(body).ok().and_then(|answer| usage::of(&answer))
        }
        Form::Json | Form::Lines | Form::Events => {
            let mut usage: Option<Usage> = None;
            events(provider, head, body, &mut |event| {
                if let StreamEvent::Usage(later) = event {
                    usage = Some(usage.unwrap_or_default().updated_by(later));
                }
            });
            usage
        }
        Form::Other => None,
    };
    in_body.or_else(|| in_headers(head))
}

/// Bedrock tells what a model consumed that says nothing of it itself.
fn in_headers(head: &Head<'_>) -> Option<Usage> {
    let count = |name: &str| head.header(name)?.parse::<u64>().ok();
    let input = count("x-amzn-bedrock-input-token-count");
    let output = count("x-amzn-bedrock-output-token-count");
    let usage = input.map_or(Usage::unknown(), |tokens| Usage::unknown().with_input(tokens));
    let usage = output.map_or(usage, |tokens| usage.with_output(tokens));
    (usage != Usage::unknown()).then_some(usage)
}

fn events<P: Provider + ?Sized>(
    provider: &P,
    head: &Head<'_>,
    body: &[u8],
    tell: &mut dyn FnMut(StreamEvent),
) -> StreamEnd {
    let mut reader = provider.stream(head);
    reader.push(body, tell);
    reader.finish(tell)
}

#[derive(PartialEq, Eq)]
enum Form {
    Json,
    Lines,
    Events,
    Other,
}

/// The form of a body: by its media type, or by its first bytes where it has none.
fn form(head: &Head<'_>, body: &[u8]) -> Form {
    let Some(media_type) = head.media_type().map(str::to_ascii_lowercase) else {
        let start = body.trim_ascii_start();
        let is_events = [&b"data:"[..], b"event:", b":"].iter().any(|field| start.starts_with(field));
        return match start.first() {
            _ if is_events => Form::Events,
            Some(b'{' | b'[') => Form::Json,
            _ => Form::Other,
        };
    };
    if media_type == "text/event-stream" {
        Form::Events
    } else if ["ndjson", "jsonl", "stream+json"].iter().any(|lines| media_type.contains(lines)) {
        Form::Lines
    } else if is_json(&media_type) {
        Form::Json
    } else {
        Form::Other
    }
}

/// Chunks of what would have been a stream.
fn is_list(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"[")
}

/// One value or several, the last of them whole. Space before and after is no harm: servers send
/// blank lines to keep a connection alive.
fn is_whole_json(body: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<IgnoredAny>();
    let first = values.next();
    first.is_some_and(|value| value.is_ok()) && values.all(|value| value.is_ok())
}
