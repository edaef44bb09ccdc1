//! How long a call lasts: until the head of its response, or until the end of its body.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// Learns how a call ends. Dropping it before the end means that the caller went away.
pub trait ResponseGuard: Sized {
    /// The first content of the response has arrived.
    fn first_byte(&mut self);

    /// The response has ended. Nothing follows, also not when this is dropped.
    fn end(&mut self, end: BodyEnd);
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyEnd {
    /// It arrived whole.
    Complete,
    /// It broke off with an error.
    Broken,
}

/// When a call is over.
pub trait Completion<Res, G: ResponseGuard> {
    /// The response that the caller gets.
    type Response;

    /// True if the call is over when the head of the response has arrived.
    const AT_HEAD: bool;

    /// Holds `guard` until the call is over. `None`: it is over already.
    fn guard(&self, response: Res, guard: Option<G>) -> Self::Response;
}

/// The call is over when the head of the response has arrived. Works with any response.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnHead;

/// The call is over when the body has ended or was dropped. Works with HTTP responses, whose body is
/// wrapped in a [`GuardedBody`].
#[derive(Clone, Copy, Debug, Default)]
pub struct OnBodyEnd;

impl<Res, G: ResponseGuard> Completion<Res, G> for OnHead {
    type Response = Res;
    const AT_HEAD: bool = true;

    #[inline]
    fn guard(&self, response: Res, guard: Option<G>) -> Res {
        // Nothing to drop, where it is known that there is none.
        if let Some(guard) = guard {
            drop(guard);
        }
        response
    }
}

impl<B: Body, G: ResponseGuard> Completion<http::Response<B>, G> for OnBodyEnd {
    type Response = http::Response<GuardedBody<B, G>>;
    const AT_HEAD: bool = false;

    #[inline]
    fn guard(&self, response: http::Response<B>, guard: Option<G>) -> Self::Response {
        response.map(|body| GuardedBody::new(body, guard))
    }
}

pin_project! {
    /// A body that tells a [`ResponseGuard`] how it ends. Frames, trailers and size pass unchanged.
    pub struct GuardedBody<B, G> {
        // Before the guard: where bodies are nested, the inner guard learns of a drop first.
        #[pin]
        body: B,
        guard: GuardSlot<G>,
    }
}

impl<B: Body, G: ResponseGuard> GuardedBody<B, G> {
    /// Holds `guard` until `body` has ended or is dropped.
    #[inline]
    pub fn new(body: B, guard: Option<G>) -> Self {
        let mut slot = GuardSlot::empty();
        slot.hold(guard, body.is_end_stream());
        Self { body, guard: slot }
    }
}

/// Holds the guard of a response and shows it what passes: for a body that has a place for it already, where it need not
/// move with the response.
#[derive(Debug)]
pub struct GuardSlot<G> {
    guard: Option<G>,
    content: bool,
}

impl<G: ResponseGuard> GuardSlot<G> {
    /// No guard.
    pub const fn empty() -> Self {
        Self { guard: None, content: false }
    }

    /// Returns whether no guard is held.
    pub const fn is_empty(&self) -> bool {
        self.guard.is_none()
    }

    /// Holds `guard` until the body ends, which it may have done already: a caller that sees that a body is empty may
    /// never poll it.
    #[inline]
    pub fn hold(&mut self, guard: Option<G>, has_ended: bool) {
        self.guard = guard;
        if has_ended {
            self.finish(BodyEnd::Complete);
        }
    }

    /// Shows it what the body has returned. `has_ended` is asked after a frame, since many readers stop at the last one and
    /// never poll for the end.
    pub fn saw<D: Buf, E>(&mut self, frame: Option<&Result<Frame<D>, E>>, has_ended: impl FnOnce() -> bool) {
        match frame {
            Some(Ok(frame)) => {
                let content = frame.data_ref().is_some_and(Buf::has_remaining);
                if content && !std::mem::replace(&mut self.content, true) {
                    self.guard.iter_mut().for_each(ResponseGuard::first_byte);
                }
                if has_ended() {
                    self.finish(BodyEnd::Complete);
                }
            }
            Some(Err(_)) => self.finish(BodyEnd::Broken),
            None => self.finish(BodyEnd::Complete),
        }
    }

    fn finish(&mut self, end: BodyEnd) {
        if let Some(held) = &mut self.guard {
            held.end(end);
            self.guard = None;
        }
    }
}

impl<B: Body, G: ResponseGuard> Body for GuardedBody<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        this.guard.saw(frame.as_ref(), || this.body.is_end_stream());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: fmt::Debug, G> fmt::Debug for GuardedBody<B, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.guard.guard.is_some();
        f.debug_struct("GuardedBody")
            .field("body", &self.body)
            .field("held", &held)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty, Full};
    use std::io;
    use std::sync::{Arc, Mutex};

    type Log = Arc<Mutex<Vec<&'static str>>>;

    struct Logged(Log, bool);

    impl ResponseGuard for Logged {
        fn first_byte(&mut self) {
            self.0.lock().unwrap().push("content");
        }

        fn end(&mut self, end: BodyEnd) {
            self.1 = true;
            self.0.lock().unwrap().push(if end == BodyEnd::Complete {
                "complete"
            } else {
                "broken"
            });
        }
    }

    impl Drop for Logged {
        fn drop(&mut self) {
            if !self.1 {
                self.0.lock().unwrap().push("dropped");
            }
        }
    }

    fn held<B: Body>(body: B) -> (GuardedBody<B, Logged>, Log) {
        let log = Log::default();
        let guard = Logged(Arc::clone(&log), false);
        let response = OnBodyEnd.guard(http::Response::new(body), Some(guard));
        (response.into_body(), log)
    }

    /// Gives its frames one by one and does not know its end in advance.
    struct Frames(std::vec::IntoIter<Result<Frame<Bytes>, io::Error>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            Poll::Ready(self.0.next())
        }
    }

    fn frames<const N: usize>(frames: [Result<&'static str, io::Error>; N]) -> Frames {
        let frame = |text| Frame::data(Bytes::from_static(str::as_bytes(text)));
        Frames(Vec::from(frames.map(|text| text.map(frame))).into_iter())
    }

    #[test]
    fn an_empty_body_has_ended_when_it_arrives() {
        let (_body, log) = held(Empty::<Bytes>::new());
        assert_eq!(*log.lock().unwrap(), ["complete"]);
    }

    #[tokio::test]
    async fn a_reader_that_stops_at_the_last_frame_has_read_all() {
        let (mut body, log) = held(Full::new(Bytes::from_static(b"all")));
        assert!(body.frame().await.is_some());
        assert_eq!(*log.lock().unwrap(), ["content", "complete"]);
    }

    #[tokio::test]
    async fn content_is_told_once_and_the_end_once() {
        let (mut body, log) = held(frames([Ok(""), Ok("a"), Ok("b")]));
        while body.frame().await.is_some() {}
        assert!(body.frame().await.is_none());
        drop(body);
        assert_eq!(*log.lock().unwrap(), ["content", "complete"]);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_broken() {
        let (mut body, log) = held(frames([Ok("a"), Err(io::Error::other("cut"))]));
        while body.frame().await.is_some() {}
        assert_eq!(*log.lock().unwrap(), ["content", "broken"]);
    }

    #[tokio::test]
    async fn a_body_that_is_dropped_is_abandoned() {
        let (mut body, log) = held(frames([Ok("a"), Ok("b")]));
        assert!(body.frame().await.is_some());
        drop(body);
        assert_eq!(*log.lock().unwrap(), ["content", "dropped"]);
    }
}
