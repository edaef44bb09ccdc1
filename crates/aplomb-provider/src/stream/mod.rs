//! Reading an answer while it streams by.

mod reader;
mod shape;
mod shapes;
mod sse;
mod stray;
mod values;

pub(crate) use reader::begin;
pub(crate) use shapes::whole_text;

use std::fmt;

use aplomb_core::Usage;

use crate::{Judgement, Text};

/// Reads an answer while it streams by, and tells what is in it.
///
/// It takes bytes split anywhere and buffers no more than the event or value that is coming in, 1 MiB
/// at most; what is longer counts as content and is not looked into.
pub trait StreamReader: fmt::Debug + Send {
    /// Takes the next bytes and tells the events they complete.
    ///
    /// Nothing is told after [`StreamEvent::Done`] or [`StreamEvent::Error`].
    fn push(&mut self, bytes: &[u8], tell: &mut dyn FnMut(StreamEvent<'_>));

    /// Takes note that the body has ended: tells an event that was left without its line end, and
    /// says how the answer ended.
    fn finish(&mut self, tell: &mut dyn FnMut(StreamEvent<'_>)) -> StreamEnd;
}

/// What an event of a stream says.
///
/// It looks at the bytes that were pushed, and is made to outlive them by
/// [`into_owned`](Self::into_owned). `Debug` leaves the text out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent<'a> {
    /// A piece of the answer: its text, or `None` where it is no text (a tool call, reasoning, a
    /// piece too long to look into). Who does not read the text does not pay for it.
    Content(Option<Text<'a>>),
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

impl StreamEvent<'_> {
    /// Whether this is a piece of the answer: once it has reached the caller, nothing is retried.
    pub const fn is_content(&self) -> bool {
        matches!(self, Self::Content(_))
    }

    /// Lets it outlive the bytes it looks at.
    #[must_use]
    pub fn into_owned(self) -> StreamEvent<'static> {
        match self {
            Self::Content(text) => StreamEvent::Content(text.map(Text::into_owned)),
            Self::Ping => StreamEvent::Ping,
            Self::Usage(usage) => StreamEvent::Usage(usage),
            Self::Error(judgement) => StreamEvent::Error(judgement),
            Self::Done => StreamEvent::Done,
            Self::Other => StreamEvent::Other,
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
