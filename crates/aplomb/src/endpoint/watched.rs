//! A body that is looked at as it flows, and may be read ahead.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{BoxError, Classification, Exchange, Outcome};
use aplomb_provider::StreamEnd;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::calibration::{Calibration, Guessed};
use super::kept::Kept;
use super::observer::{Observer, join};
use super::timeouts::{Awaited, Due, Stopwatch};
use super::{BrokenAnswer, DeadlinePassed};
use crate::Report;

pin_project! {
    /// A client's body, who looks at it, and what limits its time.
    pub(super) struct Watched<B> {
        // Gone when it has ended, or was given up: the connection is of no use any more.
        #[pin]
        body: Option<B>,
        ahead: Kept,
        bytes_ahead: usize,
        grace_until: Option<Option<Instant>>,
        tail: Tail,
        observer: Observer,
        watch: Stopwatch,
        report: Report,
        lesson: Option<Lesson>,
    }
}

/// How long the end of a body is waited for behind the end marker of its answer.
const GRACE: Duration = Duration::from_secs(1);

/// What the prompt was taken for, and who wants to know what it came to.
type Lesson = (Guessed, Arc<Calibration>);

/// What comes after the frames that were read ahead.
enum Tail {
    Rest,
    Error(BoxError),
    End,
}

/// What is read before the caller is handed a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    /// How far.
    pub(super) to: To,
    /// And no further than until there are more bytes than this,
    pub(super) bytes: usize,
    /// or than to this instant.
    pub(super) until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// The end of what an error's body says.
    Explanation,
    /// The first content.
    Content,
    /// The end of the answer.
    End,
}

enum Next {
    Frame(Frame<Bytes>),
    End,
    Error(BoxError),
    Enough,
}

impl<B> Watched<B> {
    pub(super) fn new(body: B, observer: Observer, watch: Stopwatch, report: Report) -> Self {
        Self {
            body: Some(body),
            ahead: Kept::default(),
            bytes_ahead: 0,
            grace_until: None,
            tail: Tail::Rest,
            observer,
            watch,
            report,
            lesson: None,
        }
    }

    /// Has the end of the answer teach what its prompt came to.
    pub(super) fn teaches(self, lesson: Option<Lesson>) -> Self {
        Self { lesson, ..self }
    }

    pub(super) const fn exchange(&self) -> &Exchange {
        self.observer.exchange()
    }

    /// The error inside the answer, if one was seen.
    pub(super) fn error(&self) -> Option<&Classification> {
        self.observer.error()
    }

    /// The error the body ended with, if it was read so far.
    pub(super) fn take_failure(self: Pin<&mut Self>) -> Option<BoxError> {
        let tail = self.project().tail;
        match mem::replace(tail, Tail::End) {
            Tail::Error(error) => Some(error),
            other => {
                *tail = other;
                None
            }
        }
    }

    /// Whether there is more than was read ahead.
    pub(super) const fn has_rest(&self) -> bool {
        matches!(self.tail, Tail::Rest)
    }

    /// What was read ahead.
    pub(super) fn data(&self) -> Bytes {
        join(self.ahead.data())
    }
}

impl<B> Watched<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Reads ahead. The frames are kept as they come, and so is the error, if there is one.
    pub(super) fn poll_ahead(mut self: Pin<&mut Self>, ahead: Ahead, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let has_content = self.observer.has_content();
            let reached = ahead.to == To::Content && (has_content || self.error().is_some());
            if reached || !self.has_rest() || self.bytes_ahead > ahead.bytes {
                return Poll::Ready(());
            }
            // Behind the end marker comes nothing but the end, unless the connection is left open.
            let until = match ahead.to {
                To::End if self.observer.exchange().is_whole() => self.as_mut().grace(),
                _ => ahead.until,
            };
            let awaited = match ahead.to {
                To::Explanation => Awaited::Explanation { until },
                To::Content | To::End => Awaited::Ahead { has_content, until },
            };
            let next = ready!(self.as_mut().poll_next(awaited, cx));
            let this = self.as_mut().project();
            match next {
                Next::Frame(frame) => {
                    // A frame costs something even where it is empty.
                    *this.bytes_ahead += frame.data_ref().map_or(0, Bytes::len).max(1);
                    this.ahead.push(frame);
                }
                Next::End => *this.tail = Tail::End,
                Next::Error(error) => *this.tail = Tail::Error(error),
                Next::Enough => return Poll::Ready(()),
            }
        }
    }

    /// Until when the end of the body is waited for where its answer is whole.
    fn grace(self: Pin<&mut Self>) -> Option<Instant> {
        *self.project().grace_until.get_or_insert_with(|| Instant::now().checked_add(GRACE))
    }

    /// The next frame for the caller.
    pub(super) fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.as_mut().project();
        if let Some(frame) = this.ahead.pop() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match mem::replace(this.tail, Tail::End) {
            Tail::End => return Poll::Ready(None),
            Tail::Error(error) => return Poll::Ready(Some(Err(error))),
            Tail::Rest => *this.tail = Tail::Rest,
        }
        let awaited = Awaited::Body { has_content: this.observer.has_content() };
        let next = ready!(self.as_mut().poll_next(awaited, cx));
        let tail = self.project().tail;
        Poll::Ready(match next {
            Next::Frame(frame) => Some(Ok(frame)),
            Next::Error(error) => {
                *tail = Tail::End;
                Some(Err(error))
            }
            Next::End | Next::Enough => {
                *tail = Tail::End;
                None
            }
        })
    }

    /// Takes the next frame from the client and looks at it.
    fn poll_next(self: Pin<&mut Self>, awaited: Awaited, cx: &mut Context<'_>) -> Poll<Next> {
        let mut this = self.project();
        let Some(mut body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(Next::End);
        };
        let Poll::Ready(frame) = body.as_mut().poll_frame(cx) else {
            let exchange = this.observer.exchange();
            let due = ready!(this.watch.poll(awaited, cx));
            if due != Due::Enough || exchange.is_whole() {
                this.body.set(None);
            }
            return Poll::Ready(match due {
                // Nothing is missing: the connection was left open behind the end marker.
                _ if exchange.is_whole() => Next::End,
                Due::Enough => Next::Enough,
                Due::Timeout(timed_out) => {
                    exchange.set_outcome(Outcome::transient().mark_unanswered());
                    Next::Error(timed_out.into())
                }
                Due::Deadline => {
                    exchange.set_outcome(Outcome::local());
                    Next::Error(DeadlinePassed::now(this.report).into())
                }
            });
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let content = frame.data_ref().is_some_and(|data| this.observer.see(data));
                this.watch.arrived(content);
                // Many readers stop here and never poll for the end.
                if body.is_end_stream() {
                    *this.tail = end(this.observer, this.lesson).map_or_else(Tail::Error, |()| Tail::End);
                }
                Next::Frame(frame)
            }
            Some(Err(error)) => {
                this.observer.exchange().set_outcome(Outcome::transient());
                Next::Error(error.into())
            }
            None => end(this.observer, this.lesson).map_or_else(Next::Error, |()| Next::End),
        })
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && matches!(self.tail, Tail::End)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.data().map(|data| data.len() as u64).sum();
        match self.tail {
            Tail::End => SizeHint::with_exact(ahead),
            // An error may stand for what was still to come.
            Tail::Error(_) => SizeHint::default(),
            Tail::Rest => {
                let mut hint = self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint);
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper.saturating_add(ahead));
                }
                hint.set_lower(hint.lower().saturating_add(ahead));
                hint
            }
        }
    }
}

/// The end of the body: an error where it is not that of the answer.
fn end(observer: &mut Observer, lesson: &mut Option<Lesson>) -> Result<(), BoxError> {
    match observer.finish() {
        StreamEnd::Complete => {}
        end => return Err(BrokenAnswer::ended(end).into()),
    }
    if let Some(((guessed, calibration), usage)) = lesson.take().zip(observer.exchange().usage()) {
        calibration.told(guessed, usage);
    }
    Ok(())
}

/// Without the frames: they may repeat a prompt or hold a completion.
impl<B> fmt::Debug for Watched<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("frames_ahead", &self.ahead.len()).finish_non_exhaustive()
    }
}
