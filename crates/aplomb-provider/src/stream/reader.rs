//! Taking a body apart: into events, or into JSON values; or not at all.

use std::mem;

use super::json::Values;
use super::shape::Shape;
use super::sse::{Item, Sse};
use super::{StreamEnd, StreamEvent, StreamReader};
use crate::Head;
use crate::dialect::Dialect;

/// Begins to read a body in the form that its media type says, or where there is none, its first byte.
/// What is neither an event stream nor JSON is believed.
pub(crate) fn begin(head: &Head<'_>, dialect: &'static Dialect) -> Box<dyn StreamReader> {
    let form = match head.media_type().map(str::to_ascii_lowercase) {
        None => Form::Unknown(Sse::default()),
        Some(media_type) if media_type == "text/event-stream" => Form::Events(Sse::default()),
        Some(media_type) if is_json(&media_type) => Form::Json(Values::default()),
        Some(_) => return Box::new(Unread::default()),
    };
    Box::new(Reader { form, shape: Shape::new(dialect, head), end: None })
}

/// Whether a media type in lower case is one value of JSON or several.
pub(crate) fn is_json(media_type: &str) -> bool {
    let subtype = media_type.split_once('/').map_or("", |(_, subtype)| subtype);
    [
        "json",
        "x-ndjson",
        "ndjson",
        "jsonl",
        "x-jsonlines",
        "stream+json",
    ]
    .contains(&subtype)
        || subtype.ends_with("+json")
}

/// A body that is not looked into.
#[derive(Debug, Default)]
struct Unread {
    has_begun: bool,
}

impl StreamReader for Unread {
    fn push(&mut self, bytes: &[u8], tell: &mut dyn FnMut(StreamEvent)) {
        if !bytes.is_empty() && !mem::replace(&mut self.has_begun, true) {
            tell(StreamEvent::Content(None));
        }
    }

    fn finish(&mut self, _: &mut dyn FnMut(StreamEvent)) -> StreamEnd {
        StreamEnd::Complete
    }
}

/// A body that is taken apart.
#[derive(Debug)]
struct Reader {
    form: Form,
    shape: Shape,
    end: Option<StreamEnd>,
}

/// What a body is made of.
#[derive(Debug)]
enum Form {
    /// Nothing but space has come so far, which means something where it turns out to be events.
    Unknown(Sse),
    /// Server-sent events.
    Events(Sse),
    /// JSON: a list of chunks, one to a line, or a single answer.
    Json(Values),
}

impl StreamReader for Reader {
    fn push(&mut self, bytes: &[u8], tell: &mut dyn FnMut(StreamEvent)) {
        if self.end.is_some() {
            return;
        }
        if let Form::Unknown(sse) = &mut self.form {
            match bytes.trim_ascii_start().first() {
                None => {}
                Some(b'{' | b'[') => self.form = Form::Json(Values::default()),
                Some(_) => self.form = Form::Events(mem::take(sse)),
            }
        }
        let (shape, end) = (&mut self.shape, &mut self.end);
        match &mut self.form {
            Form::Unknown(sse) | Form::Events(sse) => {
                sse.push(bytes, &mut |item| event(item, shape, &mut until_the_end(end, tell)));
            }
            Form::Json(values) => {
                values.push(bytes, &mut |value| shape.document(value, &mut until_the_end(end, tell)));
            }
        }
    }

    fn finish(&mut self, tell: &mut dyn FnMut(StreamEvent)) -> StreamEnd {
        if let Some(end) = &self.end {
            return end.clone();
        }
        let (shape, end) = (&mut self.shape, &mut self.end);
        let may_end = match &mut self.form {
            Form::Unknown(_) => false,
            Form::Events(sse) => {
                sse.finish(&mut |item| event(item, shape, &mut until_the_end(end, tell)));
                shape.may_end_here()
            }
            Form::Json(values) => {
                let is_whole = values.is_whole();
                values.finish(&mut |value| shape.document(value, &mut until_the_end(end, tell)));
                is_whole && !shape.is_unfinished()
            }
        };
        self.end.clone().unwrap_or(if may_end {
            StreamEnd::Complete
        } else {
            StreamEnd::Truncated
        })
    }
}

fn event(item: Item<'_>, shape: &mut Shape, tell: &mut dyn FnMut(StreamEvent)) {
    match item {
        Item::Comment => tell(StreamEvent::Ping),
        Item::Event { name, data } => shape.event(name, data, tell),
    }
}

/// Passes on what is told, up to what ends it.
fn until_the_end<'a>(
    end: &'a mut Option<StreamEnd>,
    tell: &'a mut dyn FnMut(StreamEvent),
) -> impl FnMut(StreamEvent) + 'a {
    move |event| {
        if end.is_some() {
            return;
        }
        match &event {
            StreamEvent::Done => *end = Some(StreamEnd::Complete),
            StreamEvent::Error(judgement) => *end = Some(StreamEnd::Failed(judgement.clone())),
            _ => {}
        }
        tell(event);
    }
}
