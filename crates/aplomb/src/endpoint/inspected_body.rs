//! A response body that is read as it passes, and may be read ahead.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_admission::{GuardSlot, PermitGuard};
use aplomb_core::{BoxError, Classification, Outcome};
use aplomb_provider::StreamEnd;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::answer_reader::AnswerReader;
use super::broken_answer::BrokenAnswer;
use super::calibration::Calibration;
use super::deadline::DeadlinePassed;
use super::frame_buffer::FrameBuffer;
use super::gates::EndpointGates;
use super::timeouts::{Awaited, Due, Stopwatch};
use crate::context::CallContext;

/// Boxes the error of a client's body.
pub(super) type BoxErrorOf<B> = fn(<B as Body>::Error) -> BoxError;

/// The guard of an attempt. It is kept with the body: it is large, and would move with the response.
pub(super) type AttemptGuard = GuardSlot<PermitGuard<EndpointGates>>;

pin_project! {
    /// A client's body, with its reader and its time limits.
    pub(super) struct InspectedBody<B>
    where
        B: Body,
    {
        // `None` when it has ended or was given up: the connection is of no more use then.
        #[pin]
        body: Option<B>,
        boxed: BoxErrorOf<B>,
        ahead: FrameBuffer,
        bytes_ahead: usize,
        grace_until: Option<Option<Instant>>,
        tail: Tail,
        reader: AnswerReader,
        watch: Stopwatch,
        call: CallContext,
        // It learns the true size of the prompt, once.
        calibration: Option<Arc<Calibration>>,
        // After the reader, which tells the record how the response ended when it is dropped.
        guard: AttemptGuard,
    }
}

/// How long the end of a body is waited for after the end marker of its response.
const GRACE: Duration = Duration::from_secs(1);

/// The rest of a body, after the frames that were read ahead.
enum Tail {
    Rest,
    Error(BoxError),
    End,
}

/// How much is read before the caller gets the response.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookAhead {
    pub(super) to: ReadTo,
    /// Reading stops when there are more bytes than this,
    pub(super) bytes: usize,
    /// or at this instant.
    pub(super) until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadTo {
    /// The end of an error's body.
    ErrorEnd,
    /// The first content.
    Content,
    /// The end of the response.
    End,
}

enum Next {
    Frame(Frame<Bytes>),
    End,
    Error(BoxError),
    Enough,
}

impl<B: Body> InspectedBody<B> {
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "it is large, and made in its place instead of being moved, and so is its reader"
    )]
    pub(super) fn new(
        body: B,
        reader: impl FnOnce() -> AnswerReader,
        watch: Stopwatch,
        call: CallContext,
        calibration: &Arc<Calibration>,
    ) -> Self
    where
        B::Error: Into<BoxError>,
    {
        let calibration = call.estimate().map(|_| Arc::clone(calibration));
        Self {
            body: Some(body),
            boxed: Into::into,
            ahead: FrameBuffer::default(),
            bytes_ahead: 0,
            grace_until: None,
            tail: Tail::Rest,
            reader: reader(),
            watch,
            call,
            calibration,
            guard: AttemptGuard::empty(),
        }
    }

    /// The place of the guard.
    pub(super) fn guard(self: Pin<&mut Self>) -> &mut AttemptGuard {
        self.project().guard
    }

    /// The error inside the response, if one was seen.
    pub(super) fn error(&self) -> Option<&Classification> {
        self.reader.error()
    }

    /// The error that the body ended with, if it was read so far.
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

    /// Takes back the error that was seen in the response: it was judged not to be one.
    pub(super) fn forgive(self: Pin<&mut Self>) {
        let this = self.project();
        if this.reader.forgive() && matches!(this.tail, Tail::Error(_)) {
            *this.tail = Tail::End;
        }
    }

    /// Returns whether the body is one that a provider can read: JSON or a stream, not compressed.
    pub(super) const fn is_legible(&self) -> bool {
        self.reader.is_legible()
    }

    /// Returns whether the body was read to its end, and holds nothing where its content belongs.
    pub(super) fn is_empty_answer(&self) -> bool {
        matches!(self.tail, Tail::End) && self.reader.lacks_content()
    }

    /// Returns whether there is more than was read ahead.
    pub(super) const fn has_rest(&self) -> bool {
        matches!(self.tail, Tail::Rest)
    }

    /// The data that was read ahead.
    pub(super) fn data(&self) -> Bytes {
        self.ahead.data()
    }
}

impl<B: Body<Data = Bytes>> InspectedBody<B> {
    /// Reads ahead. The frames are kept, and so is the error, if there is one.
    pub(super) fn poll_ahead(mut self: Pin<&mut Self>, ahead: LookAhead, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let has_content = self.reader.has_content();
            let reached = ahead.to == ReadTo::Content && (has_content || self.error().is_some());
            if reached || !self.has_rest() || self.bytes_ahead > ahead.bytes {
                return Poll::Ready(());
            }
            let awaited = match ahead.to {
                ReadTo::ErrorEnd => Awaited::Optional { until: ahead.until },
                ReadTo::End if self.reader.is_done() => self.as_mut().only_the_end(),
                ReadTo::Content | ReadTo::End => Awaited::Ahead { has_content, until: ahead.until },
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

    /// After the end marker of a response only the end of its body is to come. A connection that stays open is not
    /// waited for.
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
        let awaited = if this.reader.is_done() {
            self.as_mut().only_the_end()
        } else {
            Awaited::Body { has_content: this.reader.has_content() }
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

    /// Takes the next frame from the client and reads it.
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
                let content = frame.data_ref().map_or(0, |data| this.reader.see(data));
                this.watch.arrived(content);
                // Many readers stop here and never poll for the end.
                if body.is_end_stream() {
                    *this.tail = end(this.reader, this.call, this.calibration)
                        .map_or_else(Tail::Error, |()| Tail::End);
                } else if let Some(due) = this.watch.overdue(awaited) {
                    // When enough was read ahead, this frame is still kept.
                    if due != Due::Enough || this.reader.is_done() {
                        return Poll::Ready(self.stop(due));
                    }
                }
                Next::Frame(frame)
            }
            Some(Err(error)) => {
                this.reader.exchange().set_outcome(Outcome::transient());
                Next::Error((this.boxed)(error))
            }
            None => end(this.reader, this.call, this.calibration).map_or_else(Next::Error, |()| Next::End),
        })
    }

    /// The time is up: drops the body, unless the rest of it will be read later.
    fn stop(self: Pin<&mut Self>, due: Due) -> Next {
        let mut this = self.project();
        let exchange = this.reader.exchange();
        if due == Due::Enough && !this.reader.is_done() {
            return Next::Enough;
        }
        this.body.set(None);
        match due {
            // Nothing is missing: the connection was left open after the end marker.
            _ if this.reader.is_done() => Next::End,
            Due::Enough => Next::Enough,
            Due::Timeout(timed_out) => {
                exchange.set_outcome(Outcome::transient().mark_unanswered());
                Next::Error(timed_out.into())
            }
            Due::Deadline => {
                exchange.set_outcome(Outcome::local());
                Next::Error(DeadlinePassed::now(this.call).into())
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
            // An error may take the place of the rest.
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

/// The cost of a frame against the limit of bytes. An empty frame counts too: a body may have any number of them.
fn cost(frame: &Frame<Bytes>) -> usize {
    let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    match (frame.data_ref(), frame.trailers_ref()) {
        (Some(data), _) => data.len().max(1),
        (None, Some(trailers)) => TRAILERS + trailers.iter().map(header).sum::<usize>(),
        (None, None) => 1,
    }
}

/// The cost of a map of trailers without its headers.
const TRAILERS: usize = 256;

/// The body has ended: an error if the response has not.
fn end(
    reader: &mut AnswerReader,
    call: &CallContext,
    calibration: &mut Option<Arc<Calibration>>,
) -> Result<(), BoxError> {
    match reader.finish() {
        StreamEnd::Complete => {}
        end => return Err(BrokenAnswer::ended(end).into()),
    }
    if let (Some(estimate), Some(calibration)) = (call.estimate(), calibration.take()) {
        if let Some(usage) = reader.exchange().usage() {
            calibration.learn(estimate, usage);
        }
    }
    Ok(())
}

/// Without the frames: they may contain a prompt or a completion.
impl<B: Body> fmt::Debug for InspectedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InspectedBody")
            .field("frames_ahead", &self.ahead.len())
            .finish_non_exhaustive()
    }
}
