//! Splitting a body into events or JSON values.

use std::mem;
use std::sync::{Mutex, PoisonError};

use aplomb_core::{Classification, Usage};
use smallvec::SmallVec;

use super::aws::{AwsItem, AwsParser};
use super::interpreter::Interpreter;
use super::json_values::{JsonValue, JsonValues};
use super::sse::{SseItem, SseParser};
use super::{StreamEnd, StreamEvent, StreamReader};
use crate::Head;
use crate::body_format::BodyFormat;
use crate::dialect::Dialect;
use crate::usage;

/// Creates a reader for the format that the media type declares, unless the first bytes show that it is another. A body that is neither an event stream nor JSON is trusted.
pub(crate) fn reader(head: &Head<'_>, dialect: &'static Dialect) -> AnyReader {
    let parser = match BodyFormat::declared(head) {
        Some(format) if !format.is_uncertain(head) => Parser::of(format),
        declared => Parser::Undetermined { sse: SseParser::default(), start: Start::new(), declared },
    };
    if let Parser::Opaque(opaque) = parser {
        return AnyReader(Kind::Opaque(opaque));
    }
    let usage = usage::in_headers(head).map(Box::new);
    AnyReader(Kind::Parsed(Reader {
        parser,
        interpreter: Interpreter::new(dialect, head),
        inline: InlineJson::default(),
        usage,
        end: None,
    }))
}

/// A reader that is not in a box, unless it is not one of this crate: for an owner that keeps it in place.
#[derive(Debug)]
pub struct AnyReader(Kind);

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every body is parsed")]
enum Kind {
    Parsed(Reader),
    Opaque(Opaque),
    /// Never locked. A reader need not be `Sync`, but a body is `Sync` where its client's is.
    Other(Mutex<Box<dyn StreamReader>>),
}

impl AnyReader {
    /// A reader of a body that is not parsed.
    #[doc(hidden)]
    #[must_use]
    pub fn opaque() -> Self {
        Self(Kind::Opaque(Opaque::default()))
    }
}

/// For endpoints.
impl AnyReader {
    /// Returns whether nothing has come where an answer belongs.
    #[doc(hidden)]
    pub fn lacks_content(&self) -> bool {
        matches!(&self.0, Kind::Parsed(reader) if reader.interpreter.lacks_content())
    }

    /// Returns whether nothing has come where an answer belongs, and nothing that says why.
    #[doc(hidden)]
    pub fn lacks_everything(&self) -> bool {
        matches!(&self.0, Kind::Parsed(reader) if reader.interpreter.lacks_content() && !reader.interpreter.said_why())
    }
}

impl From<Box<dyn StreamReader>> for AnyReader {
    fn from(reader: Box<dyn StreamReader>) -> Self {
        Self(Kind::Other(Mutex::new(reader)))
    }
}

fn unlocked(reader: &mut Mutex<Box<dyn StreamReader>>) -> &mut dyn StreamReader {
    &mut **reader.get_mut().unwrap_or_else(PoisonError::into_inner)
}

impl StreamReader for AnyReader {
    fn push(&mut self, bytes: &[u8], emit: &mut dyn FnMut(StreamEvent<'_>)) {
        match &mut self.0 {
            Kind::Parsed(reader) => reader.push(bytes, emit),
            Kind::Opaque(reader) => reader.push(bytes, emit),
            Kind::Other(reader) => unlocked(reader).push(bytes, emit),
        }
    }

    fn finish(&mut self, emit: &mut dyn FnMut(StreamEvent<'_>)) -> StreamEnd {
        match &mut self.0 {
            Kind::Parsed(reader) => reader.finish(emit),
            Kind::Opaque(reader) => reader.finish(emit),
            Kind::Other(reader) => unlocked(reader).finish(emit),
        }
    }
}

/// A body that is not parsed.
#[derive(Debug, Default)]
struct Opaque {
    has_begun: bool,
}

impl StreamReader for Opaque {
    fn push(&mut self, bytes: &[u8], emit: &mut dyn FnMut(StreamEvent<'_>)) {
        if !bytes.is_empty() && !mem::replace(&mut self.has_begun, true) {
            emit(StreamEvent::Content(None));
        }
    }

    fn finish(&mut self, _: &mut dyn FnMut(StreamEvent<'_>)) -> StreamEnd {
        StreamEnd::Complete
    }
}

/// A body that is parsed.
#[derive(Debug)]
struct Reader {
    parser: Parser,
    interpreter: Interpreter,
    inline: InlineJson,
    /// Usage reported by the head, which counts where the body does not report it. Few heads do.
    usage: Option<Box<Usage>>,
    end: Option<End>,
}

/// An event that ended the stream.
#[derive(Debug)]
enum End {
    Done,
    Error(Box<Classification>),
}

impl End {
    fn as_stream_end(&self) -> StreamEnd {
        match self {
            Self::Done => StreamEnd::Complete,
            Self::Error(error) => StreamEnd::Failed((**error).clone()),
        }
    }
}

/// The first bytes of a body, up to those that show its format.
type Start = SmallVec<[u8; 2 * BodyFormat::MAX_START]>;

/// A parser for the format of a body.
#[derive(Debug)]
enum Parser {
    /// The format is not certain yet. So far there was white space, which an event stream may start with, and
    /// the beginning of a field.
    Undetermined {
        sse: SseParser,
        start: Start,
        declared: Option<BodyFormat>,
    },
    Events(SseParser),
    /// A list of chunks, or a single answer.
    Json(JsonValues),
    /// One chunk per line.
    JsonLines(JsonValues),
    AwsEvents(AwsParser),
    /// A web page, which is no answer.
    Page,
    Opaque(Opaque),
}

impl Parser {
    fn of(format: BodyFormat) -> Self {
        match format {
            BodyFormat::Events => Self::Events(SseParser::default()),
            BodyFormat::Json => Self::Json(JsonValues::default()),
            BodyFormat::JsonLines => Self::JsonLines(JsonValues::default()),
            BodyFormat::AwsEvents => Self::AwsEvents(AwsParser::default()),
            BodyFormat::Page => Self::Page,
            BodyFormat::Opaque => Self::Opaque(Opaque::default()),
        }
    }
}

impl Reader {
    /// Determines the format by the first bytes. Once it is known, returns how many of `bytes` are white space
    /// before it, and the bytes that came earlier.
    fn determine(&mut self, bytes: &[u8]) -> Option<(usize, Start)> {
        let Parser::Undetermined { sse, start, declared } = &mut self.parser else {
            return Some((0, Start::new()));
        };
        let format = |start: &[u8]| match *declared {
            None => BodyFormat::starting_with(start),
            Some(declared) => declared.seen(start),
        };
        let mut space = 0;
        if start.is_empty() {
            let rest = bytes.trim_ascii_start();
            // Nearly every body shows its format at once.
            if let Some(format) = format(rest).filter(|format| *format != BodyFormat::Events) {
                self.parser = Parser::of(format);
                return Some((bytes.len() - rest.len(), Start::new()));
            }
            space = bytes.len() - rest.len();
            sse.push(&bytes[..space], &mut |_| {});
        }
        let known = start.len();
        let rest = &bytes[space..];
        start.extend_from_slice(&rest[..rest.len().min(BodyFormat::MAX_START)]);
        let format = format(start)?;
        start.truncate(known);
        let (sse, start) = (mem::take(sse), mem::take(start));
        self.parser = match format {
            BodyFormat::Events => Parser::Events(sse),
            other => Parser::of(other),
        };
        Some((space, start))
    }

    fn read(&mut self, bytes: &[u8], emit: &mut dyn FnMut(StreamEvent<'_>)) {
        let (interpreter, inline, end) = (&mut self.interpreter, &mut self.inline, &mut self.end);
        match &mut self.parser {
            Parser::Undetermined { .. } => {}
            Parser::Events(sse) => {
                sse.push(bytes, &mut |item| read_item(item, interpreter, inline, &mut until_end(end, emit)));
            }
            Parser::Json(values) | Parser::JsonLines(values) => {
                values.push(bytes, &mut |value| interpreter.value(value, &mut until_end(end, emit)));
            }
            Parser::AwsEvents(aws) => {
                aws.push(bytes, &mut |item| read_aws_item(item, interpreter, &mut until_end(end, emit)));
            }
            Parser::Page => interpreter.page(&mut until_end(end, emit)),
            Parser::Opaque(opaque) => opaque.push(bytes, emit),
        }
    }
}

impl StreamReader for Reader {
    fn push(&mut self, bytes: &[u8], emit: &mut dyn FnMut(StreamEvent<'_>)) {
        if self.end.is_some() {
            return;
        }
        if let Some((space, earlier)) = self.determine(bytes) {
            if !earlier.is_empty() {
                self.read(&earlier, emit);
            }
            self.read(&bytes[space..], emit);
        }
    }

    fn finish(&mut self, emit: &mut dyn FnMut(StreamEvent<'_>)) -> StreamEnd {
        if let Some(end) = &self.end {
            return end.as_stream_end();
        }
        if let Parser::Undetermined { start, declared: Some(declared), .. } = &mut self.parser {
            let (start, declared) = (mem::take(start), *declared);
            self.parser = Parser::of(declared);
            self.read(&start, emit);
        }
        let (interpreter, inline, end) = (&mut self.interpreter, &mut self.inline, &mut self.end);
        let may_end = match &mut self.parser {
            // Too few bytes to show the format, or none.
            Parser::Undetermined { start, .. } => {
                if !start.is_empty() {
                    emit(StreamEvent::Content(None));
                }
                !start.is_empty()
            }
            Parser::Events(sse) => {
                let is_cut = sse.is_in_oversized_line();
                sse.finish(&mut |item| read_item(item, interpreter, inline, &mut until_end(end, emit)));
                !is_cut && interpreter.may_end_here()
            }
            Parser::Json(values) => {
                let is_complete = values.is_complete();
                values.finish(&mut |value| interpreter.value(value, &mut until_end(end, emit)));
                // A single value need not say that nothing follows it.
                is_complete
                    && !interpreter.is_malformed()
                    && (values.is_single() || !interpreter.lacks_last_chunk())
            }
            Parser::JsonLines(values) => {
                let is_complete = values.is_complete();
                values.finish(&mut |value| interpreter.value(value, &mut until_end(end, emit)));
                is_complete && !interpreter.is_malformed() && !interpreter.lacks_last_chunk()
            }
            Parser::AwsEvents(aws) => aws.is_complete() && interpreter.may_end_here(),
            Parser::Page | Parser::Opaque(_) => true,
        };
        if let Some(end) = &self.end {
            return end.as_stream_end();
        }
        if let Some(headers) = &self.usage {
            let reported = self.interpreter.usage().unwrap_or_default();
            let both = headers.updated_by(reported);
            if both != reported {
                emit(StreamEvent::Usage(both));
            }
        }
        if may_end {
            StreamEnd::Complete
        } else {
            StreamEnd::Truncated
        }
    }
}

fn read_item(
    item: SseItem<'_>,
    interpreter: &mut Interpreter,
    inline: &mut InlineJson,
    emit: &mut dyn FnMut(StreamEvent<'_>),
) {
    match item {
        // Some servers send an error as a field.
        SseItem::Other(line)
            if line.starts_with(b"error:") && line[6..].trim_ascii_start().starts_with(b"{") =>
        {
            interpreter.event("error", Some(&line[6..]), true, emit);
        }
        SseItem::Other(line) => {
            return inline.push(line, &mut |value| interpreter.inline_value(value, emit));
        }
        SseItem::Comment => emit(StreamEvent::Ping),
        SseItem::Event { name, data, is_terminated } => interpreter.event(name, data, is_terminated, emit),
    }
    inline.reset();
}

fn read_aws_item(item: AwsItem<'_>, interpreter: &mut Interpreter, emit: &mut dyn FnMut(StreamEvent<'_>)) {
    match item {
        AwsItem::Event { name: "chunk", payload } => interpreter.wrapped_event(payload, emit),
        AwsItem::Event { name, payload } => {
            interpreter.event(converse_kind(name), Some(payload), true, emit);
        }
        AwsItem::Error { code, explanation } => interpreter.aws_error(code, explanation, emit),
        AwsItem::Oversized => interpreter.event("", None, true, emit),
        AwsItem::Damaged => interpreter.damaged(emit),
    }
}

/// The kind of an event of Bedrock's Converse API. Event streams of others use the same names for other events.
fn converse_kind(name: &str) -> &str {
    match name {
        "messageStart" => "converse.messageStart",
        "contentBlockStart" => "converse.contentBlockStart",
        "contentBlockDelta" => "converse.contentBlockDelta",
        "contentBlockStop" => "converse.contentBlockStop",
        "messageStop" => "converse.messageStop",
        "metadata" => "converse.metadata",
        _ => name,
    }
}

/// JSON between the events of an event stream: an error that a server wrote as it is. Few do.
#[derive(Debug, Default)]
struct InlineJson(Option<Box<JsonValues>>);

impl InlineJson {
    /// Reads a line that is not part of an event, and reports the values that it completes.
    fn push(&mut self, line: &[u8], emit: &mut dyn FnMut(JsonValue<'_>)) {
        if self.0.is_none() && !matches!(line.trim_ascii_start().first(), Some(b'{' | b'[')) {
            return;
        }
        let values = self.0.get_or_insert_default();
        values.push(line, emit);
        // A line end is white space between two tokens.
        values.push(b"\n", emit);
        if values.is_complete() {
            self.reset();
        }
    }

    /// Forgets an unfinished value: no value continues after an event.
    fn reset(&mut self) {
        self.0 = None;
    }
}

/// Passes events on up to the one that ends the stream.
fn until_end<'a>(
    end: &'a mut Option<End>,
    emit: &'a mut dyn FnMut(StreamEvent<'_>),
) -> impl FnMut(StreamEvent<'_>) + 'a {
    move |event: StreamEvent<'_>| {
        if end.is_some() {
            return;
        }
        match &event {
            StreamEvent::Done => *end = Some(End::Done),
            StreamEvent::Error(error) => *end = Some(End::Error(Box::new(error.clone()))),
            _ => {}
        }
        emit(event);
    }
}
