//! A body that is looked at as it flows, and may be read ahead.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{BoxError, Exchange, Outcome};
use aplomb_provider::{Judgement, StreamEnd};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::body::BoxErrorOf;
use super::calibration::{Calibration, Guessed};
use super::frame_buffer::FrameBuffer;
use super::observer::Observer;
use super::timeouts::{Awaited, Due, Stopwatch};
use super::{BrokenAnswer, DeadlinePassed};
use crate::Report;

pin_project! {
    /// A client's body, who looks at it, and what limits its time.
    pub(super) struct Watched<B>
    where
        B: Body,
    {
        // Gone when it has ended, or was given up: the connection is of no use any more.
        #[pin]
        body: Option<B>,
        boxed: BoxErrorOf<B>,
        ahead: FrameBuffer,
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

impl<B: Body> Watched<B> {
    pub(super) fn new(body: B, observer: Observer, watch: Stopwatch, report: Report) -> Self
    where
        B::Error: Into<BoxError>,
    {
        Self {
            body: Some(body),
            boxed: Into::into,
            ahead: FrameBuffer::default(),
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
    pub(super) fn error(&self) -> Option<&Judgement> {
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

    /// Takes back the error that was seen in the answer: it was judged to be none.
    pub(super) fn forgive(self: Pin<&mut Self>) {
        let this = self.project();
        if this.observer.forgive() && matches!(this.tail, Tail::Error(_)) {
            *this.tail = Tail::End;
        }
    }

    /// Whether the bytes are those of an answer that a provider can read: JSON, or a stream.
    pub(super) const fn is_legible(&self) -> bool {
        self.observer.is_legible()
    }

    /// Whether there is more than was read ahead.
    pub(super) const fn has_rest(&self) -> bool {
        matches!(self.tail, Tail::Rest)
    }

    /// What was read ahead.
    pub(super) fn data(&self) -> Bytes {
        self.ahead.data()
    }
}

impl<B: Body<Data = Bytes>> Watched<B> {
    /// Reads ahead. The frames are kept as they come, and so is the error, if there is one.
    pub(super) fn poll_ahead(mut self: Pin<&mut Self>, ahead: Ahead, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let has_content = self.observer.has_content();
            let reached = ahead.to == To::Content && (has_content || self.error().is_some());
            if reached || !self.has_rest() || self.bytes_ahead > ahead.bytes {
                return Poll::Ready(());
            }
            let awaited = match ahead.to {
                To::Explanation => Awaited::Optional { until: ahead.until },
                To::End if self.observer.exchange().is_whole() => self.as_mut().only_the_end(),
                To::Content | To::End => Awaited::Ahead { has_content, until: ahead.until },
            };
            let next = ready!(self.as_mut().poll_next(awaited, cx));
            let this = self.as_mut().project();
            match next {
                Next::Frame(frame) => {
                    *this.bytes_ahead += cost(&frame);
                    this.ahead.push(frame);
                }
                Next::End => *this.tail = Tail::End,
                Next::Error(error) => *this.tail = Tail::Error(error),
                Next::Enough => return Poll::Ready(()),
            }
        }
    }

    /// After the end marker of an answer only the end of its body is to come. A connection that stays open is
    /// not waited for.
    fn only_the_end(self: Pin<&mut Self>) -> Awaited {
        let until = *self.project().grace_until.get_or_insert_with(|| Instant::now().checked_add(GRACE));
        Awaited::Optional { until }
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
        let awaited = if this.observer.exchange().is_whole() {
            self.as_mut().only_the_end()
        } else {
            Awaited::Body { has_content: this.observer.has_content() }
        };
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
    fn poll_next(mut self: Pin<&mut Self>, awaited: Awaited, cx: &mut Context<'_>) -> Poll<Next> {
        let mut this = self.as_mut().project();
        let Some(mut body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(Next::End);
        };
        let frame = match body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let due = ready!(this.watch.poll(awaited, cx));
                return Poll::Ready(self.stop(due));
            }
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let content = frame.data_ref().is_some_and(|data| this.observer.see(data));
                this.watch.arrived(content);
                // Many readers stop here and never poll for the end.
                if body.is_end_stream() {
                    *this.tail = end(this.observer, this.lesson).map_or_else(Tail::Error, |()| Tail::End);
                } else if let Some(due) = this.watch.overdue(awaited) {
                    // Where enough was read ahead, that is for its reader to see: no frame is lost.
                    if due != Due::Enough || this.observer.exchange().is_whole() {
                        return Poll::Ready(self.stop(due));
                    }
                }
                Next::Frame(frame)
            }
            Some(Err(error)) => {
                this.observer.exchange().set_outcome(Outcome::transient());
                Next::Error((this.boxed)(error))
            }
            None => end(this.observer, this.lesson).map_or_else(Next::Error, |()| Next::End),
        })
    }

    /// Enough has been waited: the body is dropped, unless more of it may be read later.
    fn stop(self: Pin<&mut Self>, due: Due) -> Next {
        let mut this = self.project();
        let exchange = this.observer.exchange();
        if due == Due::Enough && !exchange.is_whole() {
            return Next::Enough;
        }
        this.body.set(None);
        match due {
            // Nothing is missing: the connection was left open after the end marker.
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
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && matches!(self.tail, Tail::End)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.bytes() as u64;
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

/// What a frame counts for: something also where it is empty.
fn cost(frame: &Frame<Bytes>) -> usize {
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| name.as_str().len() + value.len();
    match (frame.data_ref(), frame.trailers_ref()) {
        (Some(data), _) => data.len().max(1),
        (None, Some(trailers)) => TRAILERS + trailers.iter().map(header).sum::<usize>(),
        (None, None) => 1,
    }
}

/// What the map of trailers counts for, without its headers.
const TRAILERS: usize = 256;

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
impl<B: Body> fmt::Debug for Watched<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("frames_ahead", &self.ahead.len()).finish_non_exhaustive()
    }
}
