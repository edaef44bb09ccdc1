//! Reading a response whose body has been buffered.

use aplomb_core::{Classification, Usage};

use crate::body_format::BodyFormat;
use crate::json::{Document, Nodes};
use crate::stream::answer_text;
use crate::{Head, StreamEnd, StreamEvent, StreamReader, usage};

/// How a response ended: with an error if it is judged as one, otherwise as its stream reader says.
pub(crate) fn ending(
    head: &Head<'_>,
    body: &[u8],
    judges_success: bool,
    judge: impl Fn() -> Classification,
    reader: impl FnOnce() -> Box<dyn StreamReader>,
) -> StreamEnd {
    let format = format(head, body);
    // The reader finds the error in a success, and judging tells more about it.
    let is_found_by_reader = match format {
        BodyFormat::Events | BodyFormat::AwsEvents => true,
        BodyFormat::Json | BodyFormat::JsonLines => !judges_success,
        BodyFormat::Page | BodyFormat::Opaque => false,
    };
    if !head.status().is_success() || !is_found_by_reader {
        let judged = judge();
        if !judged.outcome().is_success() {
            return StreamEnd::Failed(judged);
        }
    }
    let end = match format {
        BodyFormat::Opaque => StreamEnd::Complete,
        _ => replay(reader(), body, &mut |_| {}),
    };
    match end {
        StreamEnd::Failed(error) if matches!(format, BodyFormat::Json | BodyFormat::JsonLines) => {
            let judged = judge();
            StreamEnd::Failed(if judged.outcome().is_success() {
                error
            } else {
                judged
            })
        }
        end => end,
    }
}

/// The text of an answer.
pub(crate) fn text(
    head: &Head<'_>,
    body: &[u8],
    reader: impl FnOnce() -> Box<dyn StreamReader>,
) -> Option<String> {
    match format(head, body) {
        BodyFormat::Json if !is_list(body) => {
            let mut nodes = Nodes::new();
            let text = answer_text(Document::read(body, &mut nodes)?.view())?;
            Some(text.read().into_owned())
        }
        BodyFormat::Json | BodyFormat::JsonLines | BodyFormat::Events | BodyFormat::AwsEvents => {
            let mut text = None;
            replay(reader(), body, &mut |event| {
                if let StreamEvent::Content(Some(piece)) = event {
                    text.get_or_insert_with(String::new).push_str(&piece.read());
                }
            });
            text
        }
        BodyFormat::Page | BodyFormat::Opaque => None,
    }
}

/// The usage of an answer, by its body and, for what the body does not say, its headers.
pub(crate) fn usage(
    head: &Head<'_>,
    body: &[u8],
    reader: impl FnOnce() -> Box<dyn StreamReader>,
) -> Option<Usage> {
    let in_body = match format(head, body) {
        BodyFormat::Json if !is_list(body) => {
            let known = Document::read(body, &mut Nodes::new()).and_then(usage::of);
            both(known, head.settings().own_usage(body))
        }

        BodyFormat::Json | BodyFormat::JsonLines | BodyFormat::Events | BodyFormat::AwsEvents => {
            let mut usage: Option<Usage> = None;
            replay(reader(), body, &mut |event| {
                if let StreamEvent::Usage(later) = event {
                    usage = Some(usage.unwrap_or_default().updated_by(later));
                }
            });
            usage
        }
        BodyFormat::Page | BodyFormat::Opaque => None,
    };
    both(usage::in_headers(head), in_body)
}

/// The usage by two sources, of which the later takes precedence.
pub(crate) fn both(usage: Option<Usage>, later: Option<Usage>) -> Option<Usage> {
    match (usage, later) {
        (Some(usage), Some(later)) => Some(usage.updated_by(later)),
        (usage, later) => later.or(usage),
    }
}

/// Reads a body as if it were streamed.
fn replay(
    mut reader: Box<dyn StreamReader>,
    body: &[u8],
    emit: &mut dyn FnMut(StreamEvent<'_>),
) -> StreamEnd {
    reader.push(body, emit);
    reader.finish(emit)
}

/// The format of a body: by its media type, unless its first bytes show that it is another.
pub(crate) fn format(head: &Head<'_>, body: &[u8]) -> BodyFormat {
    let start = body.trim_ascii_start();
    // A body that starts like this is not compressed, and headers are not looked up for nothing.
    let declared = match start.first() {
        Some(b'{' | b'[') => BodyFormat::of_media_type(head),
        _ => BodyFormat::declared(head),
    };
    match declared {
        None => BodyFormat::starting_with(start).unwrap_or(BodyFormat::Opaque),
        Some(format) if format.is_uncertain(head) => format.seen(start).unwrap_or(format),
        Some(format) => format,
    }
}

/// Returns whether the body is a list of what would have been the chunks of a stream.
fn is_list(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"[")
}
