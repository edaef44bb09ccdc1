//! Requests whose body is a stream: recorded while it is sent.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::Request;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::Replay;
use super::recorded_tape::Tape;
use crate::BoxError;

/// Records the body of an HTTP request while it is sent, and plays it back.
///
/// The first attempt streams the body: nothing is read before it asks. What was read is kept up to a
/// limit, 64 KiB by default and at most 1,024 frames, and a further attempt begins with it, then
/// reads on where the one before stopped. Trailers are kept too. A body that grows past the limit
/// goes on untouched, and what was kept is let go: the request can not be sent again then. Neither
/// can one whose body announces more than the limit, or failed.
///
/// Where an attempt still reads while the next one has begun, as the task of a connection may, the
/// old one ends with [`Superseded`](crate::Superseded).
///
/// # Examples
///
/// ```
/// use aplomb_core::{Recorded, Replay};
/// use http::Request;
///
/// # fn check<B>(stream: B) where B: http_body::Body, B::Error: Into<aplomb_core::BoxError> {
/// let recorded = Recorded::new().limit(1024 * 1024);
/// let mut kept = None;
/// let sent = recorded.keep(Request::new(stream), &mut kept);
/// // `sent` is a `Request<ReplayBody<B>>`; should it fail:
/// let next = kept.and_then(|mut kept| Replay::<Request<B>>::again(&recorded, &mut kept));
/// # drop((sent, next));
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

    /// Sets how many bytes of a body are kept.
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

    fn keep(&self, request: Request<B>, kept: &mut Option<Self::Kept>) -> Self::Sent {
        if request.body().size_hint().lower() > self.limit as u64 {
            return self.once(request);
        }
        let (head, body) = request.into_parts();
        let tape = Arc::new(Tape::new(body, self.limit));
        *kept = Some(Recording { head: head.clone(), tape: Arc::clone(&tape) });
        Request::from_parts(head, ReplayBody::taped(tape, 0))
    }

    fn again(&self, recording: &mut Recording<B>) -> Option<Self::Sent> {
        let epoch = recording.tape.rewind()?;
        let body = ReplayBody::taped(Arc::clone(&recording.tape), epoch);
        Some(Request::from_parts(recording.head.clone(), body))
    }

    fn once(&self, request: Request<B>) -> Self::Sent {
        request.map(|body| ReplayBody { inner: Inner::Through { body } })
    }
}

/// What [`Recorded`] keeps of a request. Once it is dropped, nothing more is recorded.
pub struct Recording<B> {
    head: Parts,
    tape: Arc<Tape<B>>,
}

impl<B> Drop for Recording<B> {
    fn drop(&mut self) {
        // A body may be sent for long after the answer has come: nobody will ask for it again.
        self.tape.stop_recording();
    }
}

impl<B> fmt::Debug for Recording<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recording")
    }
}

pin_project! {
    /// The body of a request that [`Recorded`] sends.
    ///
    /// Its bytes and trailers are those of the body it was made of, for every attempt.
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
                let frame = frame?.map(|frame| frame.map_data(bytes_of));
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

/// The bytes of a piece of a body, without a copy where they are `Bytes` already.
pub(super) fn bytes_of<D: Buf>(mut data: D) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.inner {
            Inner::Through { .. } => "ReplayBody(through)",
            Inner::Taped { .. } => "ReplayBody(taped)",
        })
    }
}
