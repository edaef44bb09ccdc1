//! The body of an endpoint's response.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aplomb_admission::{Completion, PermitGuard};
use aplomb_core::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::gates::EndpointGates;
use super::in_progress::InProgress;
use super::inspected_body::{AttemptGuard, BoxErrorOf, InspectedBody};

pin_project! {
    /// The body of an [`Endpoint`](crate::Endpoint)'s response: the client's body, read as it passes.
    ///
    /// Bytes, trailers and errors are the client's, in order. Small frames that were read ahead may be joined. Errors
    /// are added at the end: [`BrokenAnswer`](crate::BrokenAnswer) if the response ends early or contains an error,
    /// [`TimedOut`](crate::TimedOut) or [`DeadlinePassed`](crate::DeadlinePassed) if it takes too long. **Dropping** it
    /// drops the client's body and ends the call.
    pub struct EndpointBody<B>
    where
        B: Body,
    {
        #[pin]
        body: Inner<B>,
        in_progress: Option<InProgress>,
    }
}

pin_project! {
    // A client's body: as it is, or read as it passes.
    #[project = InnerProj]
    enum Inner<B>
    where
        B: Body,
    {
        Untouched { #[pin] body: B, boxed: BoxErrorOf<B>, guard: Option<Box<AttemptGuard>> },
        Inspected { body: Pin<Box<InspectedBody<B>>> },
    }
}

impl<B: Body> EndpointBody<B> {
    /// A body that is passed as it is.
    pub(super) fn untouched(body: B) -> Self
    where
        B::Error: Into<BoxError>,
    {
        Self {
            body: Inner::Untouched { body, boxed: Into::into, guard: None },
            in_progress: None,
        }
    }

    /// A body that is read as it passes.
    pub(super) const fn inspected(body: Pin<Box<InspectedBody<B>>>) -> Self {
        Self { body: Inner::Inspected { body }, in_progress: None }
    }

    /// A body that is not read on its way.
    pub(crate) fn unwatched(response: http::Response<B>) -> http::Response<Self>
    where
        B::Error: Into<BoxError>,
    {
        response.map(Self::untouched)
    }
}

impl<B: Body<Data = Bytes>> EndpointBody<B> {
    /// The call goes on until this body has ended.
    pub(super) fn follow(&mut self, in_progress: Option<InProgress>) {
        self.in_progress = in_progress.filter(|_| !self.is_end_stream());
    }

    /// Holds the guard of the attempt until this body has ended or is dropped.
    fn hold(&mut self, guard: Option<PermitGuard<EndpointGates>>) {
        match &mut self.body {
            Inner::Untouched { body, guard: place, .. } => {
                let mut slot = AttemptGuard::empty();
                slot.hold(guard, body.is_end_stream());
                *place = (!slot.is_empty()).then(|| Box::new(slot));
            }
            Inner::Inspected { body } => {
                let has_ended = body.is_end_stream();
                body.as_mut().guard().hold(guard, has_ended);
            }
        }
    }
}

/// An attempt is complete when the body that the caller gets has ended or was dropped. It has a place for the guard, so
/// the response is not wrapped once more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UntilRead;

impl<B: Body<Data = Bytes>> Completion<http::Response<EndpointBody<B>>, PermitGuard<EndpointGates>>
    for UntilRead
{
    type Response = http::Response<EndpointBody<B>>;
    const AT_HEAD: bool = false;

    #[inline]
    fn guard(
        &self,
        mut response: http::Response<EndpointBody<B>>,
        guard: Option<PermitGuard<EndpointGates>>,
    ) -> Self::Response {
        response.body_mut().hold(guard);
        response
    }
}

// There is no bound on the error: with one, a future that holds this body across an `.await` could not be spawned if
// the client's error is a `BoxError`.
impl<B: Body<Data = Bytes>> Body for EndpointBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let (frame, has_ended) = match this.body.project() {
            InnerProj::Untouched { mut body, boxed, guard } => {
                let frame = ready!(body.as_mut().poll_frame(cx)).map(|frame| frame.map_err(*boxed));
                if let Some(guard) = guard {
                    guard.saw(frame.as_ref(), || body.is_end_stream());
                }
                (frame, body.is_end_stream())
            }
            InnerProj::Inspected { body } => {
                let frame = ready!(body.as_mut().poll_frame(cx));
                let has_ended = body.is_end_stream();
                body.as_mut().guard().saw(frame.as_ref(), || has_ended);
                (frame, has_ended)
            }
        };
        if !matches!(frame, Some(Ok(_))) || has_ended {
            *this.in_progress = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Inner::Untouched { body, .. } => body.is_end_stream(),
            Inner::Inspected { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Inner::Untouched { body, .. } => body.size_hint(),
            Inner::Inspected { body } => body.size_hint(),
        }
    }
}

/// Without what was read: it may contain a prompt or a completion.
impl<B: Body> fmt::Debug for EndpointBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.body {
            Inner::Untouched { .. } => "EndpointBody(untouched)",
            Inner::Inspected { .. } => "EndpointBody(inspected)",
        })
    }
}
