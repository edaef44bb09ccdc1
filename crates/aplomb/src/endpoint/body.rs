//! The body of an endpoint's response.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aplomb_admission::{Completion, GuardedBody, PermitGuard};
use aplomb_core::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::gates::EndpointGates;
use super::shared::Running;
use super::watched::Watched;

pin_project! {
    /// The body of an [`Endpoint`](crate::Endpoint)'s response: the client's, watched until it ends.
    ///
    /// Bytes, trailers and errors are the client's, in their order. Small frames that were read ahead may be
    /// joined.
    /// Two errors are added: [`BrokenAnswer`](crate::BrokenAnswer) where the answer ends too early or with an
    /// error in it, after everything there is of it; and [`TimedOut`](crate::TimedOut) or
    /// [`DeadlinePassed`](crate::DeadlinePassed) where it takes too long. **Dropping** it drops the client's
    /// body, and ends the call.
    pub struct EndpointBody<B>
    where
        B: Body,
    {
        #[pin]
        body: GuardedBody<ReadBody<B>, PermitGuard<EndpointGates>>,
        running: Option<Running>,
    }
}

impl<B: Body<Data = Bytes>> EndpointBody<B> {
    /// The call goes on until this body has ended.
    pub(super) fn follow(&mut self, running: Option<Running>) {
        self.running = running.filter(|_| !self.body.is_end_stream());
    }

    /// A body that nobody watches.
    pub(crate) fn unwatched(response: http::Response<B>) -> http::Response<Self>
    where
        B::Error: Into<BoxError>,
    {
        UntilRead.hold(response.map(ReadBody::untouched), None)
    }
}

/// An attempt is over when its body has ended or was dropped: that which its caller is handed, so that a
/// response is wrapped once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UntilRead;

impl<B: Body<Data = Bytes>> Completion<http::Response<ReadBody<B>>, PermitGuard<EndpointGates>>
    for UntilRead
{
    type Response = http::Response<EndpointBody<B>>;
    const AT_HEAD: bool = false;

    #[inline]
    fn hold(
        &self,
        response: http::Response<ReadBody<B>>,
        guard: Option<PermitGuard<EndpointGates>>,
    ) -> Self::Response {
        response.map(|body| EndpointBody { body: GuardedBody::new(body, guard), running: None })
    }
}

// Without a bound on the error: a future that holds this body across an `.await` could not be spawned where the
// client's error is a `BoxError`.
impl<B: Body<Data = Bytes>> Body for EndpointBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            *this.running = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body> fmt::Debug for EndpointBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointBody").field("body", &self.body).finish_non_exhaustive()
    }
}

/// Boxes the error of a client's body.
pub(super) type BoxErrorOf<B> = fn(<B as Body>::Error) -> BoxError;

pin_project! {
    /// A client's body: left alone where there is nothing to see, or looked at as it goes by.
    pub(crate) struct ReadBody<B>
    where
        B: Body,
    {
        #[pin]
        body: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProj]
    enum Inner<B>
    where
        B: Body,
    {
        Untouched { #[pin] body: B, boxed: BoxErrorOf<B> },
        Watched { body: Pin<Box<Watched<B>>> },
    }
}

impl<B: Body> ReadBody<B> {
    pub(super) fn untouched(body: B) -> Self
    where
        B::Error: Into<BoxError>,
    {
        Self { body: Inner::Untouched { body, boxed: Into::into } }
    }

    pub(super) const fn watched(body: Pin<Box<Watched<B>>>) -> Self {
        Self { body: Inner::Watched { body } }
    }
}

impl<B: Body<Data = Bytes>> Body for ReadBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().body.project() {
            InnerProj::Untouched { body, boxed } => {
                Poll::Ready(ready!(body.poll_frame(cx)).map(|frame| frame.map_err(*boxed)))
            }
            InnerProj::Watched { body } => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Inner::Untouched { body, .. } => body.is_end_stream(),
            Inner::Watched { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Inner::Untouched { body, .. } => body.size_hint(),
            Inner::Watched { body } => body.size_hint(),
        }
    }
}

/// Without what was read: it may repeat a prompt or hold a completion.
impl<B: Body> fmt::Debug for ReadBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.body {
            Inner::Untouched { .. } => "ReadBody(untouched)",
            Inner::Watched { .. } => "ReadBody(watched)",
        })
    }
}
