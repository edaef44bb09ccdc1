//! Reading an answer while it is received.

mod aws;
mod interpreter;
#[cfg(test)]
mod interpreter_tests;
mod json_values;
mod last_event;
mod reader;
mod shapes;
mod sse;

pub use reader::AnyReader;
pub(crate) use reader::reader;
pub(crate) use shapes::answer_text;

use std::fmt;

use aplomb_core::{Classification, Reason, Usage};

use crate::Text;

/// Reads an answer while it is received, and reports its events.
///
/// It accepts bytes split anywhere. It buffers only the event or value that is being received, up to 1 MiB;
/// a longer one counts as content and is not parsed.
pub trait StreamReader: fmt::Debug + Send {
    /// Reads the next bytes and reports the events that they complete.
    ///
    /// Nothing is reported after [`StreamEvent::Done`] or [`StreamEvent::Error`].
    fn push(&mut self, bytes: &[u8], emit: &mut dyn FnMut(StreamEvent<'_>));

    /// Ends the body: reports an event that lacks its line end, and says how the answer ended.
    fn finish(&mut self, emit: &mut dyn FnMut(StreamEvent<'_>)) -> StreamEnd;
}

/// An event of a stream.
///
/// It borrows from the bytes that were pushed; [`into_owned`](Self::into_owned) makes it outlive them.
/// `Debug` omits the text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StreamEvent<'a> {
    /// A piece of the answer: its text, or `None` if it is not text (a tool call, reasoning, a piece too long
    /// to parse). The text is decoded only when it is read.
    Content(Option<Text<'a>>),
    /// A sign of life.
    Ping,
    /// The usage so far.
    Usage(Usage),
    /// The answer failed.
    Error(Classification),
    /// The answer is complete.
    Done,
    /// Anything else: the start of an answer, a role, the end of a part.
    Other,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StreamEnd {
    /// With its end marker, as far as its format has one.
    Complete,
    /// Before its end.
    Truncated,
    /// With an error.
    Failed(Classification),
}

impl StreamEvent<'_> {
    /// Returns whether this is a piece of the answer: once the caller has received one, nothing is retried.
    pub const fn is_content(&self) -> bool {
        matches!(self, Self::Content(_))
    }

    /// Copies what the event borrows.
    #[must_use]
    pub fn into_owned(self) -> StreamEvent<'static> {
        match self {
            Self::Content(text) => StreamEvent::Content(text.map(Text::into_owned)),
            Self::Ping => StreamEvent::Ping,
            Self::Usage(usage) => StreamEvent::Usage(usage),
            Self::Error(error) => StreamEvent::Error(error),
            Self::Done => StreamEvent::Done,
            Self::Other => StreamEvent::Other,
        }
    }
}

impl StreamEnd {
    /// How an attempt with this ending is classified.
    pub fn classification(&self) -> Classification {
        match self {
            Self::Complete => Reason::Answered.into(),
            Self::Truncated => Reason::Truncated.into(),
            Self::Failed(error) => error.clone(),
        }
    }
}
