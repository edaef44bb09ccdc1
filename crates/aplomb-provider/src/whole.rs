//! Judging and reading an answer that is there as a whole.

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::{Head, Provider, StreamEnd, StreamEvent, shape};

/// How a buffered response ended.
pub(crate) fn end<P: Provider + ?Sized>(provider: &P, head: &Head<'_>, body: &[u8]) -> StreamEnd {
    if head.status().is_success() && form(head, body) == Form::Events {
        return events(provider, head, body, &mut |_| {});
    }
    let judgement = provider.judge(head, body);
    if !judgement.outcome().is_success() {
        StreamEnd::Failed(judgement)
    } else if form(head, body) == Form::Json && !is_whole_json(body) {
        StreamEnd::Truncated
    } else {
        StreamEnd::Complete
    }
}

/// The text of a buffered answer.
pub(crate) fn text<P: Provider + ?Sized>(provider: &P, head: &Head<'_>, body: &[u8]) -> Option<String> {
    match form(head, body) {
        Form::Json => shape::text(&serde_json::from_slice(body).ok()?),
        Form::Events => {
            let mut text = None;
            events(provider, head, body, &mut |event| {
                if let StreamEvent::Content(Some(piece)) = event {
                    text.get_or_insert_with(String::new).push_str(&piece);
                }
            });
            text
        }
        Form::Other => None,
    }
}

/// What a buffered answer says it consumed: `of` reads the `usage` object of a JSON answer.
pub(crate) fn usage<P: Provider + ?Sized>(
    provider: &P,
    head: &Head<'_>,
    body: &[u8],
    of: impl Fn(&Value) -> Option<aplomb_core::Usage>,
) -> Option<aplomb_core::Usage> {
    match form(head, body) {
        Form::Json => of(&serde_json::from_slice::<Value>(body).ok()?["usage"]),
        Form::Events => {
            let mut usage: Option<aplomb_core::Usage> = None;
            events(provider, head, body, &mut |event| {
                if let StreamEvent::Usage(later) = event {
                    usage = Some(usage.unwrap_or_default().updated_by(later));
                }
            });
            usage
        }
        Form::Other => None,
    }
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
    } else if media_type.ends_with("/json") || media_type.ends_with("+json") || media_type.ends_with("ndjson")
    {
        Form::Json
    } else {
        Form::Other
    }
}

/// One value or several, the last of them whole. Space before and after is no harm: servers send
/// blank lines to keep a connection alive.
fn is_whole_json(body: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<IgnoredAny>();
    let first = values.next();
    first.is_some_and(|value| value.is_ok()) && values.all(|value| value.is_ok())
}
