//! Taking a body apart: into events, or into JSON values; or not at all.

use std::mem;

use aplomb_core::Usage;
use smallvec::SmallVec;

use super::shape::Shape;
use super::sse::{Item, Sse};
use super::values::Values;
use super::{StreamEnd, StreamEvent, StreamReader};
use crate::Head;
use crate::dialect::Dialect;
use crate::media::Media;
use crate::usage;

/// Begins to read a body in the form that its media type says, or where there is none, its first bytes.
/// What is neither an event stream nor JSON is believed.
pub(crate) fn begin(head: &Head<'_>, dialect: &'static Dialect) -> Box<dyn StreamReader> {
    let form = match Media::of(head) {
        None => Form::Unknown(Sse::default(), Start::new()),
        Some(media) => Form::of(media),
    };
    if let Form::Unread(unread) = form {
        return Box::new(unread);
    }
    let usage = usage::in_headers(head);
    Box::new(Reader { form, shape: Shape::new(dialect, head), usage, end: None })
}

/// A body that is not looked into.
#[derive(Debug, Default)]
struct Unread {
    has_begun: bool,
}

impl StreamReader for Unread {
    fn push(&mut self, bytes: &[u8], tell: &mut dyn FnMut(StreamEvent<'_>)) {
        if !bytes.is_empty() && !mem::replace(&mut self.has_begun, true) {
            tell(StreamEvent::Content(None));
        }
    }

    fn finish(&mut self, _: &mut dyn FnMut(StreamEvent<'_>)) -> StreamEnd {
        StreamEnd::Complete
    }
}

/// A body that is taken apart.
#[derive(Debug)]
struct Reader {
    form: Form,
    shape: Shape,
    /// What the head says was consumed, which counts where the body says nothing.
    usage: Option<Usage>,
    end: Option<StreamEnd>,
}

/// What a body begins with: fewer bytes than tell, and those that do.
type Start = SmallVec<[u8; 2 * Media::MOST_TO_TELL]>;

/// What a body is made of.
#[derive(Debug)]
enum Form {
    /// What has come so far does not tell: space, which means something where it turns out to be events,
    /// and the beginning of an event's field.
    Unknown(Sse, Start),
    /// Server-sent events.
    Events(Sse),
    /// JSON: a list of chunks, or a single answer.
    Json(Values),
    /// JSON, one chunk to a line.
    Lines(Values),
    Unread(Unread),
}

impl Form {
    fn of(media: Media) -> Self {
        match media {
            Media::Events => Self::Events(Sse::default()),
            Media::Json => Self::Json(Values::default()),
            Media::Lines => Self::Lines(Values::default()),
            Media::Other => Self::Unread(Unread::default()),
        }
    }
}

impl Reader {
    /// Finds out what the body is made of by the bytes it begins with. Returns how many of these are space
    /// before it, and those that came earlier, once they tell it.
    fn begin(&mut self, bytes: &[u8]) -> Option<(usize, Start)> {
        let Form::Unknown(sse, start) = &mut self.form else {
            return Some((0, Start::new()));
        };
        let mut space = 0;
        if start.is_empty() {
            space = bytes.len() - bytes.trim_ascii_start().len();
            sse.push(&bytes[..space], &mut |_| {});
        }
        let known = start.len();
        let rest = &bytes[space..];
        start.extend_from_slice(&rest[..rest.len().min(Media::MOST_TO_TELL)]);
        let media = Media::starting(start)?;
        start.truncate(known);
        let (sse, start) = (mem::take(sse), mem::take(start));
        self.form = match media {
            Media::Events => Form::Events(sse),
            other => Form::of(other),
        };
        Some((space, start))
    }

    fn read(&mut self, bytes: &[u8], tell: &mut dyn FnMut(StreamEvent<'_>)) {
        let (shape, end) = (&mut self.shape, &mut self.end);
        match &mut self.form {
            Form::Unknown(..) => {}
            Form::Events(sse) => {
                sse.push(bytes, &mut |item| event(item, shape, &mut until_the_end(end, tell)));
            }
            Form::Json(values) | Form::Lines(values) => {
                values.push(bytes, &mut |value| shape.document(value, &mut until_the_end(end, tell)));
            }
            Form::Unread(unread) => unread.push(bytes, tell),
        }
    }
}

impl StreamReader for Reader {
    fn push(&mut self, bytes: &[u8], tell: &mut dyn FnMut(StreamEvent<'_>)) {
        if self.end.is_some() {
            return;
        }
        if let Some((space, earlier)) = self.begin(bytes) {
            self.read(&earlier, tell);
            self.read(&bytes[space..], tell);
        }
    }

    fn finish(&mut self, tell: &mut dyn FnMut(StreamEvent<'_>)) -> StreamEnd {
        if let Some(end) = &self.end {
            return end.clone();
        }
        let (shape, end) = (&mut self.shape, &mut self.end);
        let may_end = match &mut self.form {
            // Less came than would show what it is, or nothing.
            Form::Unknown(_, start) => {
                if !start.is_empty() {
                    tell(StreamEvent::Content(None));
                }
                !start.is_empty()
            }
            Form::Events(sse) => {
                sse.finish(&mut |item| event(item, shape, &mut until_the_end(end, tell)));
                shape.may_end_here()
            }
            Form::Json(values) => {
                let is_whole = values.is_whole();
                values.finish(&mut |value| shape.document(value, &mut until_the_end(end, tell)));
                // What stands alone needs not say that nothing follows it.
                is_whole && !shape.is_broken() && (values.is_one() || !shape.is_unfinished())
            }
            Form::Lines(values) => {
                let is_whole = values.is_whole();
                values.finish(&mut |value| shape.document(value, &mut until_the_end(end, tell)));
                is_whole && !shape.is_unfinished()
            }
            Form::Unread(_) => true,
        };
        if let Some(end) = &self.end {
            return end.clone();
        }
        if let (false, Some(usage)) = (self.shape.has_usage(), self.usage) {
            tell(StreamEvent::Usage(usage));
        }
        if may_end {
            StreamEnd::Complete
        } else {
            StreamEnd::Truncated
        }
    }
}

fn event(item: Item<'_>, shape: &mut Shape, tell: &mut dyn FnMut(StreamEvent<'_>)) {
    match item {
        Item::Comment => tell(StreamEvent::Ping),
        Item::Event { name, data } => shape.event(name, data, tell),
    }
}

/// Passes on what is told, up to what ends it.
fn until_the_end<'a>(
    end: &'a mut Option<StreamEnd>,
    tell: &'a mut dyn FnMut(StreamEvent<'_>),
) -> impl FnMut(StreamEvent<'_>) + 'a {
    move |event: StreamEvent<'_>| {
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
