//! Judging and reading an answer that is there as a whole.

use aplomb_core::Usage;

use crate::json::{Document, Nodes};
use crate::media::Media;
use crate::stream::whole_text;
use crate::{Head, Provider, StreamEnd, StreamEvent, usage};

/// How a buffered response ended: what the reader of streams says of it, unless it is judged a failure.
pub(crate) fn end<P: Provider + ?Sized>(provider: &P, head: &Head<'_>, body: &[u8]) -> StreamEnd {
    let media = media(head, body);
    if media != Media::Events || !head.status().is_success() {
        let judgement = provider.judge(head, body);
        if !judgement.outcome().is_success() {
            return StreamEnd::Failed(judgement);
        }
    }
    match media {
        Media::Events | Media::Json | Media::Lines => events(provider, head, body, &mut |_| {}),
        Media::Other => StreamEnd::Complete,
    }
}

/// The text of a buffered answer.
pub(crate) fn text<P: Provider + ?Sized>(provider: &P, head: &Head<'_>, body: &[u8]) -> Option<String> {
    match media(head, body) {
        Media::Json if !is_list(body) => {
            whole_text(Document::read(body, &mut Nodes::new())?.view()).map(|text| text.read().into_owned())
        }
        Media::Json | Media::Lines | Media::Events => {
            let mut text = None;
            events(provider, head, body, &mut |event| {
                if let StreamEvent::Content(Some(piece)) = event {
                    text.get_or_insert_with(String::new).push_str(&piece.read());
                }
            });
            text
        }
        Media::Other => None,
    }
}

/// What a buffered answer says it consumed: in its body, and what that does not say, in its headers.
pub(crate) fn usage<P: Provider + ?Sized>(provider: &P, head: &Head<'_>, body: &[u8]) -> Option<Usage> {
    let in_body = match media(head, body) {
        Media::Json if !is_list(body) => {
            Document::read(body, &mut Nodes::new()).and_then(|answer| usage::of(answer))
        }
        Media::Json | Media::Lines | Media::Events => {
            let mut usage: Option<Usage> = None;
            events(provider, head, body, &mut |event| {
                if let StreamEvent::Usage(later) = event {
                    usage = Some(usage.unwrap_or_default().updated_by(later));
                }
            });
            usage
        }
        Media::Other => None,
    };
    match (usage::in_headers(head), in_body) {
        (Some(headers), Some(body)) => Some(headers.updated_by(body)),
        (headers, body) => body.or(headers),
    }
}

fn events<P: Provider + ?Sized>(
    provider: &P,
    head: &Head<'_>,
    body: &[u8],
    tell: &mut dyn FnMut(StreamEvent<'_>),
) -> StreamEnd {
    let mut reader = provider.stream(head);
    reader.push(body, tell);
    reader.finish(tell)
}

/// What a body is made of: by its media type, or by its first bytes where it has none.
fn media(head: &Head<'_>, body: &[u8]) -> Media {
    let starting = || Media::starting(body.trim_ascii_start());
    Media::of(head).or_else(starting).unwrap_or(Media::Other)
}

/// Chunks of what would have been a stream.
fn is_list(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"[")
}
