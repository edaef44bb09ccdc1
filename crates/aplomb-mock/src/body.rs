//! The body of an answer, which may pause or break.

use std::fmt;
use std::io;
use std::iter::Peekable;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

use crate::in_flight::InFlight;

pub(crate) type Steps = Box<dyn Iterator<Item = Step> + Send + Sync>;

/// One step in sending a body.
#[derive(Debug)]
pub(crate) enum Step {
    Data(Bytes),
    /// Data that carries one token of the answer.
    Word(Bytes),
    Pause(Duration),
    /// The connection breaks here.
    Cut,
    /// Nothing follows, not even the end.
    Stall,
}

/// The body of a mock's answer.
///
/// A truncated body fails with [`UnexpectedEof`](io::ErrorKind::UnexpectedEof); a stalled one is pending forever.
/// Dropping a body before its end counts as a client that went away.
pub struct Body {
    steps: Peekable<Steps>,
    /// The bytes left, if the length of the whole body is known. A body that breaks has fewer.
    left: Option<u64>,
    pause: Option<Pin<Box<Sleep>>>,
    cutting: bool,
    stalled: bool,
    in_flight: Option<InFlight>,
}

impl Body {
    /// A body that is known as a whole.
    pub(crate) fn whole(bytes: Bytes, in_flight: Option<InFlight>) -> Self {
        let left = u64::try_from(bytes.len()).ok();
        let steps: Steps = Box::new(std::iter::once(Step::Data(bytes)));
        Self { left, ..Self::steps(steps, in_flight) }
    }

    /// A body that fails in the middle of these bytes. Like that of a client, it goes by its `content-length`.
    pub(crate) fn cut(bytes: &Bytes, in_flight: Option<InFlight>) -> Self {
        Self::half(bytes, Step::Cut, in_flight)
    }

    /// A body that stalls in the middle of these bytes.
    pub(crate) fn stalled(bytes: &Bytes, in_flight: Option<InFlight>) -> Self {
        Self::half(bytes, Step::Stall, in_flight)
    }

    fn half(bytes: &Bytes, then: Step, in_flight: Option<InFlight>) -> Self {
        let left = u64::try_from(bytes.len()).ok();
        let steps: Steps = Box::new([Step::Data(first_half(bytes)), then].into_iter());
        Self { left, ..Self::steps(steps, in_flight) }
    }

    /// A body in steps.
    pub(crate) fn steps(steps: Steps, in_flight: Option<InFlight>) -> Self {
        Self {
            steps: steps.peekable(),
            left: None,
            pause: None,
            cutting: false,
            stalled: false,
            in_flight,
        }
    }

    fn send(&mut self, data: Bytes) -> Frame<Bytes> {
        if let Some(left) = &mut self.left {
            *left -= data.len() as u64;
        }
        // A reader who knows the length stops reading here, so this is the end.
        if self.steps.peek().is_none() {
            self.finish();
        }
        Frame::data(data)
    }

    fn finish(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.finish();
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        loop {
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(cx));
                this.pause = None;
            }
            if this.cutting {
                this.cutting = false;
                let why = "the connection was cut in mid-body";
                return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, why))));
            }
            if this.stalled {
                return Poll::Pending;
            }
            match this.steps.next() {
                Some(Step::Word(data)) => {
                    if let Some(in_flight) = &mut this.in_flight {
                        in_flight.produced(1);
                    }
                    return Poll::Ready(Some(Ok(this.send(data))));
                }
                Some(Step::Stall) => this.stalled = true,
                Some(Step::Data(data)) => return Poll::Ready(Some(Ok(this.send(data)))),
                Some(Step::Pause(pause)) => this.pause = Some(Box::pin(tokio::time::sleep(pause))),
                Some(Step::Cut) => {
                    // A server flushes when its body is pending, and must do so before the connection is cut.
                    this.cutting = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {
                    this.finish();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("left", &self.left).finish_non_exhaustive()
    }
}

/// The part of a body that arrives before the connection is cut.
pub(crate) fn first_half(whole: &Bytes) -> Bytes {
    whole.slice(..whole.len() / 2)
}
