//! Reading an answer while it streams by.

mod json;
mod reader;
mod shape;
mod shapes;
mod sse;

pub(crate) use reader::{begin, is_json};
pub(crate) use shapes::whole_text;

use std::fmt;

use aplomb_core::Usage;

use crate::Judgement;

/// Reads an answer while it streams by, and tells what is in it.
///
/// It takes bytes split anywhere and buffers no more than the event or value that is coming in, 1 MiB
/// at most; what is longer counts as content and is not looked into.
pub trait StreamReader: fmt::Debug + Send {
    /// Takes the next bytes and tells the events they complete.
    ///
    /// Nothing is told after [`StreamEvent::Done`] or [`StreamEvent::Error`].
    fn push(&mut self, bytes: &[u8], tell: &mut dyn FnMut(StreamEvent));

    /// Takes note that the body has ended: tells an event that was left without its line end, and
    /// says how the answer ended.
    fn finish(&mut self, tell: &mut dyn FnMut(StreamEvent)) -> StreamEnd;
}

/// What an event of a stream says.
///
/// `Debug` leaves the text out.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent {
    /// A piece of the answer: its text, or `None` where it is no text (a tool call, reasoning, a
    /// piece too long to look into).
    Content(Option<String>),
    /// A sign of life.
    Ping,
    /// What was consumed so far.
    Usage(Usage),
    /// The answer failed.
    Error(Judgement),
    /// The answer is whole.
    Done,
    /// Anything else: that an answer begins, a role, the end of a part.
    Other,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEnd {
    /// As it should.
    Complete,
    /// Before its end.
    Truncated,
    /// With an error.
    Failed(Judgement),
}

impl StreamEvent {
    /// Whether this is a piece of the answer: once it has reached the caller, nothing is retried.
    pub const fn is_content(&self) -> bool {
        matches!(self, Self::Content(_))
    }
}

impl fmt::Debug for StreamEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(Some(text)) => write!(f, "Content({} bytes)", text.len()),
            Self::Content(None) => f.write_str("Content"),
            Self::Ping => f.write_str("Ping"),
            Self::Usage(usage) => f.debug_tuple("Usage").field(usage).finish(),
            Self::Error(judgement) => f.debug_tuple("Error").field(judgement).finish(),
            Self::Done => f.write_str("Done"),
            Self::Other => f.write_str("Other"),
        }
    }
}

impl StreamEnd {
    /// What the attempt came to.
    pub fn judgement(&self) -> Judgement {
        match self {
            Self::Complete => Judgement::answered(),
            Self::Truncated => Judgement::truncated(),
            Self::Failed(judgement) => judgement.clone(),
        }
    }
}
