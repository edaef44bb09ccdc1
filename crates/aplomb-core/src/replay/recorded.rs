//! Streaming bodies, recorded while they are sent.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::Replay;
use super::tape::{Tape, into_bytes};
use crate::BoxError;

/// Records the body of an HTTP request while it is sent, and plays it back for further attempts.
///
/// The first attempt streams the body; nothing is read ahead. What was read is kept, by default up to 64 KiB and
/// at most 1,024 frames; a further attempt begins with it and reads on where the one before stopped. Trailers
/// are kept too. If a body grows past the limit, it is sent on unharmed and what was kept is dropped: the
/// request cannot be sent again. The same is true of a body that announces more than the limit or fails.
///
/// If an attempt still reads when the next one has begun, as the task of a connection may, its body ends with
/// an error.
///
/// # Examples
///
/// ```
/// use aplomb_core::{Recorded, Replay};
/// use http::Request;
///
/// # fn check<B>(stream: B) where B: http_body::Body, B::Error: Into<aplomb_core::BoxError> {
/// let recorded = Recorded::new().limit(1024 * 1024);
/// let mut kept = recorded.keep(Request::new(stream));
/// let first = Replay::<Request<B>>::again(&recorded, &mut kept);
/// // Some `Request<ReplayBody<B>>`; should it fail:
/// let second = Replay::<Request<B>>::again(&recorded, &mut kept);
/// # drop((first, second));
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Recorded {
    limit: usize,
}

impl Recorded {
    /// Keeps up to 64 KiB of a body.
    pub const fn new() -> Self {
        Self { limit: 64 * 1024 }
    }

    /// Sets how many bytes of a body are kept. Default: 64 KiB.
    pub const fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }
}

impl Default for Recorded {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Body> Replay<Request<B>> for Recorded
where
    B::Error: Into<BoxError>,
{
    type Sent = Request<ReplayBody<B>>;
    type Kept = Recording<B>;

    fn keep(&self, request: Request<B>) -> Recording<B> {
        Recording(State::Fresh(request))
    }

    fn again(&self, recording: &mut Recording<B>) -> Option<Self::Sent> {
        recording.start(self.limit);
        let State::Taped { head, tape } = &recording.0 else {
            return None;
        };
        let body = ReplayBody::taped(Arc::clone(tape), tape.rewind()?);
        Some(Request::from_parts(head.clone(), body))
    }

    fn once(&self, mut recording: Recording<B>) -> Self::Sent {
        match std::mem::replace(&mut recording.0, State::Gone) {
            State::Fresh(request) => request.map(|body| ReplayBody { inner: Inner::Through { body } }),
            // It was sent before, against the contract: the body continues where it was, or ends with an
            // error.
            State::Taped { head, tape } => {
                let epoch = tape.rewind().unwrap_or_default();
                tape.stop_recording();
                Request::from_parts(head, ReplayBody::taped(tape, epoch))
            }
            State::Gone => unreachable!("a recording is consumed only here"),
        }
    }
}

/// The state that [`Recorded`] keeps of a request. Dropping it ends the recording.
pub struct Recording<B>(State<B>);

enum State<B> {
    Fresh(Request<B>),
    Taped { head: Parts, tape: Arc<Tape<B>> },
    Gone,
}

impl<B: Body> Recording<B> {
    /// Puts the body on a tape, unless it is on one or announces more than is kept.
    fn start(&mut self, limit: usize) {
        self.0 = match std::mem::replace(&mut self.0, State::Gone) {
            State::Fresh(request) if request.body().size_hint().lower() <= limit as u64 => {
                let (head, body) = request.into_parts();
                State::Taped { head, tape: Arc::new(Tape::new(body, limit)) }
            }
            state => state,
        };
    }
}

impl<B> Drop for Recording<B> {
    fn drop(&mut self) {
        // The body may be sent long after the response: it will not be played back any more.
        if let State::Taped { tape, .. } = &self.0 {
            tape.stop_recording();
        }
    }
}

impl<B> fmt::Debug for Recording<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recording")
    }
}

pin_project! {
    /// The body of a request sent by [`Recorded`].
    ///
    /// In every attempt, its bytes and trailers are those of the original body.
    pub struct ReplayBody<B> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProj]
    enum Inner<B> {
        // Sent once, untouched.
        Through { #[pin] body: B },
        // Read through the tape that all attempts share.
        Taped { tape: Arc<Tape<B>>, epoch: u64 },
    }
}

impl<B> ReplayBody<B> {
    fn taped(tape: Arc<Tape<B>>, epoch: u64) -> Self {
        Self { inner: Inner::Taped { tape, epoch } }
    }
}

impl<B: Body> Body for ReplayBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().inner.project() {
            InnerProj::Through { body } => body.poll_frame(cx).map(|frame| {
                let frame = frame?.map(|frame| frame.map_data(into_bytes));
                Some(frame.map_err(Into::into))
            }),
            InnerProj::Taped { tape, epoch } => tape.poll_frame(*epoch, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Through { body } => body.is_end_stream(),
            Inner::Taped { tape, epoch } => tape.is_end_stream(*epoch),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Through { body } => body.size_hint(),
            Inner::Taped { tape, epoch } => tape.size_hint(*epoch),
        }
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.inner {
            Inner::Through { .. } => "ReplayBody(through)",
            Inner::Taped { .. } => "ReplayBody(taped)",
        })
    }
}
